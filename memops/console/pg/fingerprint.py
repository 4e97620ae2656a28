"""What the rows of a table come to: their number, and one hash over all of them that does not depend on their order.

A row's hash is taken over the hashes of its columns' binary values, so that nothing can move from one value to its
neighbour unseen; 128 bits of the rows' hashes are summed in two halves, so a row that is there twice counts twice.
Names and types of the columns go in as well; oids, schema and the table's own name do not.

It finds what differs between copies. It is no protection against somebody who makes a difference on purpose: that is
the archive's SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL, Composable, Identifier

from memops.console.pg.session import Connection
from memops.console.pg.sql import query

# By name, the SQL of a hash as hexadecimal text. md5 takes a third of the time; servers in FIPS mode refuse it.
HASHES = {
    "fp1-md5": "pg_catalog.md5({})",
    "fp1-sha256": "pg_catalog.encode(pg_catalog.sha256({}), 'hex')",
}

MOST_ROWS = 2**63


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """``algorithm`` is a name in HASHES, ``digest`` 64 hexadecimal digits; ``str`` writes it as one word."""

    algorithm: str
    rows: int
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.rows}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for anything that ``str`` has not made."""
        algorithm, rows, digest = text.split(":")
        if algorithm not in HASHES or len(digest) != 64 or not digest.isalnum() or not rows.isdecimal():
            raise ValueError("not a fingerprint")
        int(digest, 16)
        found = cls(algorithm=algorithm, rows=int(rows), digest=digest)
        if str(found) != text or found.rows >= MOST_ROWS:
            raise ValueError("not a fingerprint")
        return found


def algorithm_of(connection: Connection) -> str:
    """The fastest algorithm that the server has."""
    try:
        with connection.transaction():
            connection.execute(query("fingerprint", "has_md5"))
    except psycopg.Error:
        if connection.closed:
            raise
        return "fp1-sha256"
    return "fp1-md5"


def of(connection: Connection, *, schema: str, name: str, algorithm: str, one_process: bool = False) -> Fingerprint:
    """The fingerprint of a table, in the transaction or snapshot that the session is in.

    It changes settings of the session: how values are written, and when parallel workers are used. ``one_process``
    leaves the server's other cores to others; a server whose /dev/shm is full has no other way.

    Raises psycopg errors: UndefinedTable, and InsufficientPrivilege where row-level security would hide rows.
    """
    connection.execute(query("fingerprint", "configure"))
    if not one_process:
        try:
            return _of(connection, schema, name, algorithm)
        except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
            if connection.info.transaction_status != TransactionStatus.IDLE:
                raise
    connection.execute(query("fingerprint", "one_process"))
    return _of(connection, schema, name, algorithm)


def _of(connection: Connection, schema: str, name: str, algorithm: str) -> Fingerprint:
    columns = connection.execute(query("fingerprint", "columns"), {"schema": schema, "name": name}).fetchall()
    hashed = SQL(HASHES[algorithm])
    values = [_hashed(hashed, column, send) for column, _, send in columns]
    row = SQL(" || ").join(values) if values else SQL("''")
    summing = SQL(query("fingerprint", "sum")).format(
        hash=hashed.format(SQL("pg_catalog.convert_to({}, 'UTF8')").format(row)),
        schema=Identifier(schema),
        table=Identifier(name),
    )
    rows, first, second = connection.execute(summing).fetchall()[0]
    content = json.dumps([[[column, kind] for column, kind, _ in columns], rows, str(first), str(second)])
    return Fingerprint(algorithm=algorithm, rows=rows, digest=hashlib.sha256(content.encode()).hexdigest())


def _hashed(hashed: SQL, column: str, send: str | None) -> Composable:
    """A value's own hash, always of the same length, so no value can be taken for a part of its neighbour."""
    if send is None:
        value: Composable = SQL("pg_catalog.convert_to({}::text, 'UTF8')").format(Identifier(column))
    else:
        value = SQL("{}({})").format(SQL(send), Identifier(column))
    # What stands for NULL is no hexadecimal digit, so it cannot be a part of a hash.
    return SQL("coalesce({}, 'null')").format(hashed.format(value))
