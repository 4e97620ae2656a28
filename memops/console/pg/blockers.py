"""Who is in the way: the sessions and prepared transactions that hold a lock on a table. Never what they execute."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from memops.console.pg.session import Connection
from memops.console.pg.sql import query


@dataclass(frozen=True, kw_only=True)
class Blocker:
    """``kind`` is session, autovacuum or prepared transaction; ``since`` the begin of its transaction."""

    kind: str
    pid: int | None
    gid: str | None
    role: str | None
    application: str | None
    state: str | None
    since: datetime | None
    age: timedelta | None

    @property
    def is_idle(self) -> bool:
        """Does it keep its transaction open and do nothing, as far as this role is shown?"""
        return self.kind == "session" and (self.state or "").startswith("idle in transaction")

    def __str__(self) -> str:
        age = f", for {self.age.total_seconds():.0f} s" if self.age is not None else ""
        if self.kind == "prepared transaction":
            return f"prepared transaction {self.gid!r} of {self.role}{age}"
        if self.kind == "autovacuum":
            return f"autovacuum (pid {self.pid}{age})"
        application = f" ({self.application!r})" if self.application else ""
        return f"pid {self.pid} of {self.role}{application}, {self.state or 'state not shown'}{age}"


def of_relation(connection: Connection, oid: int) -> list[Blocker]:
    """Everybody who holds a lock that an access exclusive lock would wait for, the oldest first."""
    return of_relations(connection, [oid])


def of_relations(connection: Connection, oids: list[int]) -> list[Blocker]:
    """The same for several tables."""
    with connection.cursor(row_factory=class_row(Blocker)) as cursor:
        return cursor.execute(query("blockers", "of_relations"), {"oids": oids}).fetchall()
