"""A quarantined table is dropped for good, in the transaction in which its rows were compared."""

from __future__ import annotations

from functools import partial

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.sql import SQL, Identifier

from memops import sql
from memops.console.pg import catalogue, fingerprint
from memops.console.pg.fingerprint import Fingerprint
from memops.console.pg.sql import query

PURGES = "memops purges"
"""What the session is called on the server, from the lock on."""


def lock(connection: BaseDatabaseWrapper, *, table: str) -> None:
    """From here to the end of the transaction nobody reads or changes it: what is compared is what is dropped."""
    with connection.cursor() as cursor:
        cursor.execute(query("change", "name_session"), {"name": PURGES})
        cursor.execute(SQL(query("change", "lock_quarantined")).format(Identifier(table)))


def compare(connection: BaseDatabaseWrapper, *, table: str, algorithm: str | None) -> tuple[Fingerprint, int]:
    """The fingerprint of the locked table, and its size in bytes with indexes. ``algorithm``: None for the fastest."""
    with connection.wrap_database_errors:
        session = connection.connection
        take = partial(
            fingerprint.of,
            session,
            schema="memops_quarantine",
            name=table,
            algorithm=algorithm or fingerprint.algorithm_of(session),
        )
        try:
            with session.transaction():
                found = take()
        except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
            found = take(one_process=True)
        relation = catalogue.relation(session, "memops_quarantine", table)
    return found, relation.total_bytes if relation is not None else 0


def statements(*, table: str, oid: int) -> str:
    """What ``drop`` executes, as a person reads it."""
    chosen = f"set local memops.purge_table = '{table}';\nset local memops.purge_oid = '{oid}';"
    locked = f"lock table memops_quarantine.{table} in access exclusive mode;"
    compared = "-- Here every row is compared with the backup, and it is asked once more whether a hold was put on it."
    return f"{locked}\n{compared}\n{chosen}\n\n{sql.purge()}"


def drop(connection: BaseDatabaseWrapper, *, table: str, oid: int) -> None:
    """Drop it, without CASCADE, with its entry in the journal."""
    with connection.cursor() as cursor:
        cursor.execute(query("change", "choose_for_purge"), {"table": table, "oid": str(oid)})
        cursor.execute(sql.purge())
