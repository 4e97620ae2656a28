"""Sessions that idle in a transaction and hold the table can be ended, where the caller's plan says so. No other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import psycopg
from psycopg.rows import class_row

from memops.console.pg.blockers import Blocker
from memops.console.pg.session import Connection
from memops.console.pg.sql import query

PATIENCE = timedelta(seconds=2)
"""How long a session that was told to end may take to be gone. An idle one takes milliseconds."""


class Ended(StrEnum):
    """What became of a session that was to be ended."""

    GONE = "ended"
    NOT_IDLE = "left alone: it was not idle any more, or had ended"
    NO_RIGHT = "left alone: memops' role has no right to end it"
    STAYS = "told to end, and still there"
    UNSAID = "not known: the server did not answer"


@dataclass(frozen=True, kw_only=True)
class IdleSession:
    """A client that holds the table and does nothing. ``idle`` is since its last statement, by the server's clock; the
    three times after it say that it is still the same session, and has not stirred."""

    pid: int
    role: str | None
    application: str | None
    state: str
    idle: timedelta
    backend_start: datetime
    xact_start: datetime
    state_change: datetime
    may_be_ended: bool

    def __str__(self) -> str:
        application = f" ({self.application!r})" if self.application else ""
        return f"pid {self.pid} of {self.role}{application}, {self.state} for {self.idle.total_seconds():.0f} s"


@dataclass(kw_only=True)
class Ending:
    """Ends those who have been idle for longer than ``limit``.

    ``announce`` is called before a session is ended; if it raises, that one and all others live on. ``tell`` is called
    afterwards with what came of it. Both are called for each session once, also over many tries of a change.
    """

    limit: timedelta
    announce: Callable[[IdleSession], None]
    tell: Callable[[IdleSession, Ended], None]
    gone: int = 0
    without_right: dict[int, IdleSession] = field(default_factory=dict)
    _tried: set[tuple[int, datetime, datetime]] = field(default_factory=set)

    def end_those(self, looker: Connection, oids: list[int]) -> bool:
        """End every session that idles on these tables at this moment. Returns whether one is gone.

        Who is not shown to be idle is left alone: active sessions, autovacuums, walsenders, prepared transactions,
        memops' own sessions, and all whose state the server hides from this role.
        """
        gone_before = self.gone
        for one in _idle(looker, oids, self.limit):
            if not one.may_be_ended:
                if one.pid not in self.without_right:
                    self.without_right[one.pid] = one
                    self.tell(one, Ended.NO_RIGHT)
            elif (known := (one.pid, one.backend_start, one.state_change)) not in self._tried:
                self._tried.add(known)
                self.announce(one)
                what = _end(looker, one)
                self.gone += what == Ended.GONE
                self.tell(one, what)
        return self.gone > gone_before


def advice(in_the_way: list[Blocker], ending: Ending | None) -> str:
    """What to do about those who were in the way until the end."""
    if ending is None and any(blocker.is_idle for blocker in in_the_way):
        return (
            "Try again when they have ended, or ask for a plan that ends idle transactions (--end-idle, or Idle"
            " transactions on the plan's page): there are some among them."
        )
    told = ["Try again when they have ended."]
    if ending is not None:
        if ending.gone:
            told.append(f"Idle sessions that were ended before that, as the plan says: {ending.gone}.")
        still = {blocker.pid for blocker in in_the_way}
        if spared := [one for pid, one in ending.without_right.items() if pid in still]:
            told.append(
                f"The plan would end {'; '.join(map(str, spared))}; memops' role lacks the right (pg_signal_backend)."
            )
    return " ".join(told)


def _idle(looker: Connection, oids: list[int], limit: timedelta) -> list[IdleSession]:
    try:
        with looker.cursor(row_factory=class_row(IdleSession)) as cursor:
            return cursor.execute(query("ending", "idle"), {"oids": oids, "limit": limit}).fetchall()
    except psycopg.Error:
        return []  # Who cannot look ends nobody.


def _end(looker: Connection, one: IdleSession) -> Ended:
    """Check and end in one statement.

    What remains is the instant between the server's reading of what the session does and its signal: a statement that
    arrives in it is ended with its session, and its transaction rolled back whole. A COMMIT that arrives in it is done
    or not done, as with any connection that breaks; it is never half done.
    """
    parameters = {
        "pid": one.pid,
        "backend_start": one.backend_start,
        "xact_start": one.xact_start,
        "state_change": one.state_change,
        "patience_ms": int(PATIENCE / timedelta(milliseconds=1)),
    }
    try:
        answer = looker.execute(query("ending", "end"), parameters).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return Ended.NO_RIGHT
    except psycopg.Error:
        return Ended.UNSAID
    if not answer:
        return Ended.NOT_IDLE
    return Ended.GONE if answer[0][0] else Ended.STAYS
