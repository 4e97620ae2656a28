"""Session advisory locks: who works on a run, and on a target. They need a direct connection and end with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import connections

from memops.console.pg import session
from memops.console.pg.sql import query

RUNS = 0x6D656D6F
"""First key of the locks on runs, in the console's database; the second is the number of the run."""

TARGETS = 0x6D656D70
"""First key of the lock on a target, in the target's database; the second is 0."""

HIGHEST_KEY = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Held:
    """A lock and the session that holds it."""

    alias: str
    connection: psycopg.Connection[Any]
    space: int
    key: int

    def is_held(self) -> bool:
        """And does a session that is opened now see it? The alias may have come to lead to another server meanwhile.

        Raises TargetUnreachable where none can be opened, and the lock is still held.
        """
        try:
            mine = self.connection.execute(query("claims", "mine"), {"space": self.space, "key": self.key}).fetchall()
        except psycopg.Error:
            return False
        return bool(mine) and _is_held(self.alias, self.space, self.key, pid=mine[0][0])


@contextmanager
def hold_run(alias: str, run_id: int) -> Iterator[Held | None]:
    """Hold a run; None if another session has it."""
    with _hold(alias, RUNS, run_id % HIGHEST_KEY) as held:
        yield held


@contextmanager
def hold_target(alias: str) -> Iterator[Held | None]:
    """Hold a target; None if another session, maybe another console's, has it."""
    with _hold(alias, TARGETS, 0) as held:
        yield held


def run_is_held(alias: str, run_id: int) -> bool:
    """Does a session hold this run? Every page that shows it asks, so this takes no session of its own: Django's sees
    the locks of all sessions as well. Raises DatabaseError."""
    with connections[alias].cursor() as cursor:
        cursor.execute(query("claims", "is_held"), {"space": RUNS, "key": run_id % HIGHEST_KEY, "pid": None})
        return bool(cursor.fetchone()[0])


def _is_held(alias: str, space: int, key: int, *, pid: int | None = None) -> bool:
    with session.connect(alias, application_name="memops looks for a worker") as connection:
        answer = connection.execute(query("claims", "is_held"), {"space": space, "key": key, "pid": pid})
        return bool(answer.fetchall()[0][0])


@contextmanager
def _hold(alias: str, space: int, key: int) -> Iterator[Held | None]:
    with session.connect(alias, application_name="memops holds a lock") as connection:
        answer = connection.execute(query("claims", "try"), {"space": space, "key": key})
        if answer.fetchall()[0][0]:
            # Closing the session releases the lock, also when it is closed by the death of this process.
            yield Held(alias=alias, connection=connection, space=space, key=key)
        else:
            yield None
