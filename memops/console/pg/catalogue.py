"""What a server says of itself and of a table: read from its catalogue, as typed data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row, dict_row
from psycopg.sql import SQL, Identifier

from memops.console.errors import TableLocked
from memops.console.pg.relation import Column, Constraint, Grant, Index, Policy, Relation, Trigger
from memops.console.pg.session import Connection
from memops.console.pg.sql import query

PARAMETER_PRIVILEGES_SINCE = 150000

LOOK_WAIT = timedelta(seconds=1)
"""Who only looks does not wait longer than that for somebody who alters the table."""

Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class Server:
    """The server and database of a session, and what its role may do.

    A standby has no ``timeline`` of its own; one that is promoted begins another. ``wal_position`` only ever grows.
    """

    version_num: int
    version: str
    system_identifier: str
    database: str
    database_oid: int
    role: str
    is_standby: bool
    timeline: int | None
    wal_position: int | None
    bypasses_row_security: bool
    is_superuser: bool
    can_create_databases: bool
    started_at: datetime
    sees_all_sessions: bool = False
    may_end_sessions: bool = False
    may_set_deadlock_timeout: bool = False

    @property
    def identity(self) -> str:
        """Which database this is, whatever its name and address: a copy of the server's files shares the first part."""
        return f"{self.system_identifier}/{self.database_oid}"


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """What memops' SQL wrote in the transaction that changed the table. ``names``: index name since, and before."""

    id: int
    happened_at: datetime
    action: str
    table_name: str
    table_oid: int
    names: dict[str, str] = field(default_factory=dict)
    run_id: str = ""
    xid: str = ""
    by_role: str = ""
    application_name: str = ""


@dataclass(frozen=True, kw_only=True)
class QuarantinedRelation:
    schema: str
    name: str
    oid: int
    total_bytes: int
    estimated_rows: int


@dataclass(frozen=True, kw_only=True)
class Dependent:
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Function:
    """``name`` with its schema and the types of its arguments; ``definition`` is the SQL that makes it."""

    name: str
    schema: str
    definition: str


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A prepared transaction of this database: no session has it, and it keeps its locks until it is ended."""

    gid: str
    owner: str
    prepared_at: datetime
    holds_table: bool


@dataclass(frozen=True, kw_only=True)
class Replica:
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def server(connection: Connection) -> Server:
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(query("catalogue", "server")).fetchall()[0]
    may_set = found["is_superuser"] or (
        found["version_num"] >= PARAMETER_PRIVILEGES_SINCE and _one(connection, "may_set_deadlock_timeout")
    )
    return Server(**found, may_set_deadlock_timeout=bool(may_set))


def relation(connection: Connection, schema: str, name: str) -> Relation | None:
    """A table with everything that a copy of it has to have as well; None if there is none of this name.

    Raises TableLocked where another session keeps it for itself.
    """
    try:
        with _short_lock_waits(connection):
            return _relation(connection, schema, name)
    except psycopg.errors.LockNotAvailable as error:
        raise TableLocked(table=f"{schema}.{name}", waited=f"{LOOK_WAIT.total_seconds():g} s") from error


@contextmanager
def _short_lock_waits(connection: Connection) -> Iterator[None]:
    """Sizes and expressions are read under a share lock. Within a transaction its owner has said how long to wait."""
    if connection.info.transaction_status != TransactionStatus.IDLE:
        yield
        return
    with connection.transaction():
        limit = f"{LOOK_WAIT / timedelta(milliseconds=1):.0f}"
        connection.execute(query("session", "limit"), {"statement_timeout": "0", "lock_timeout": limit})
        yield


def _relation(connection: Connection, schema: str, name: str) -> Relation | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(query("catalogue", "relation"), {"schema": schema, "name": name}).fetchone()
    if found is None:
        return None
    oid = {"oid": found["oid"]}
    return Relation(
        **found,
        columns=_all(connection, Column, "columns", oid),
        policies=_all(connection, Policy, "policies", oid),
        constraints=_all(connection, Constraint, "constraints", oid),
        indexes=_all(connection, Index, "indexes", oid),
        triggers=_all(connection, Trigger, "triggers", oid),
        grants=_all(connection, Grant, "grants", oid),
    )


def exact_rows(connection: Connection, schema: str, name: str, *, within: timedelta | None = None) -> int:
    """Count the rows. Raises psycopg.errors.QueryCanceled if that takes longer than ``within``, and
    LockNotAvailable."""
    counting = SQL(query("catalogue", "count")).format(Identifier(schema), Identifier(name))
    limit = f"{within / timedelta(milliseconds=1):.0f}" if within else "0"
    with connection.transaction():
        connection.execute(query("session", "limit"), {"statement_timeout": limit, "lock_timeout": limit})
        return int(connection.execute(counting).fetchall()[0][0])


def quarantined(connection: Connection) -> list[QuarantinedRelation]:
    return _all(connection, QuarantinedRelation, "quarantined")


def dependents(connection: Connection, oid: int) -> list[Dependent]:
    """What the reverse migration refuses: it would be moved along silently, or be broken."""
    return _all(connection, Dependent, "dependents", {"oid": oid})


def functions(connection: Connection, oid: int) -> list[Function]:
    """The functions that the table needs and a dump of it alone leaves out."""
    return _all(connection, Function, "functions", {"oid": oid})


def prepared_transactions(connection: Connection, oid: int) -> list[Prepared]:
    return _all(connection, Prepared, "prepared_transactions", {"oid": oid})


def replication(connection: Connection, oid: int) -> list[Replica]:
    return _all(connection, Replica, "replication", {"oid": oid})


def migrations(connection: Connection, label: str) -> list[str]:
    """The migrations of an app that are recorded as applied; none where there is no history."""
    if not _one(connection, "has_history"):
        return []
    return [name for (name,) in connection.execute(query("catalogue", "migrations"), {"label": label})]


def journal(connection: Connection, *, after_id: int = 0) -> list[JournalEntry]:
    """What was done to the table since an entry, the oldest first; nothing where memops has never been."""
    if not _one(connection, "has_journal"):
        return []
    return _all(connection, JournalEntry, "journal", {"after_id": after_id})


def transaction_status(connection: Connection, xid: str) -> str | None:
    """committed, aborted or in progress; None for a transaction that is too old to be remembered."""
    try:
        status = _one(connection, "transaction_status", {"xid": xid})
    except psycopg.errors.InvalidParameterValue:
        return None  # It is in the future: this server, a copy from before, has never seen it.
    return str(status) if status is not None else None


def is_owner(connection: Connection, oid: int) -> bool:
    return bool(_one(connection, "is_owner", {"oid": oid}))


def other_tables(connection: Connection) -> dict[str, int]:
    """Every table that is not the system's, and its oid."""
    return dict(connection.execute(query("catalogue", "other_tables")).fetchall())


def extensions(connection: Connection) -> dict[str, str]:
    return dict(connection.execute(query("catalogue", "extensions")).fetchall())


def leftovers(connection: Connection, schema: str, name: str) -> dict[str, list[str]]:
    """What is left of a table's own names: kind, and the names of that kind."""
    left: dict[str, list[str]] = {}
    for kind, leftover in connection.execute(query("catalogue", "leftovers"), {"schema": schema, "name": name}):
        left.setdefault(kind, []).append(leftover)
    return left


def earlier_names(connection: Connection, oid: int) -> dict[str, str]:
    """The names that the indexes and sequences of a quarantined table have, and those they had before."""
    moved = [entry for entry in journal(connection) if entry.table_oid == oid and entry.action == "quarantine"]
    return moved[-1].names if moved else {}


def _one(connection: Connection, name: str, parameters: dict[str, Any] | None = None) -> Any:
    return connection.execute(query("catalogue", name), parameters or {}).fetchall()[0][0]


def _all(connection: Connection, kind: type[Row], name: str, parameters: dict[str, Any] | None = None) -> list[Row]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query("catalogue", name), parameters or {}).fetchall()
