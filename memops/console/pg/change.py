"""A change of the target's catalogue in one transaction, with bounded lock waits.

Every try waits for its locks no longer than ``lock_timeout`` (readers queue behind it no longer either), then gives
them all up and sleeps outside the transaction, with backoff and jitter, until the budget is spent.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import psycopg
from django.conf import settings
from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from memops.console.errors import ChangeFailed, ConnectionLost, LockBudgetSpent, OutcomeUnknown
from memops.console.pg import blockers, catalogue, ending, outcome, session
from memops.console.pg.beside import TICK, hang_up
from memops.console.pg.blockers import Blocker
from memops.console.pg.catalogue import JournalEntry
from memops.console.pg.ending import Ending
from memops.console.pg.outcome import Outcome
from memops.console.pg.patience import ServerSilent, Watch
from memops.console.pg.sql import query

LONGEST_PAUSE = timedelta(seconds=1)
FIRST_PAUSE = timedelta(milliseconds=50)

DEADLOCK_TIMEOUT = timedelta(milliseconds=50)
"""PostgreSQL cancels an autovacuum that is in the way only after deadlock_timeout; at its default of 1 s a shorter
lock_timeout would always be first, and the change would wait for the autovacuum to end by itself."""

ABOVE_DEADLOCK_TIMEOUT = timedelta(milliseconds=200)

MOST_LOCK_WAITS = 5
"""For how many of its locks a change may wait, each for all of lock_timeout, before it is taken for silent."""

IDLE_FOR_TOO_LONG = "25P03"
"""The SQLSTATE with which the server ends a transaction whose client does not go on."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Budget:
    lock_timeout: timedelta
    total: timedelta


@dataclass(frozen=True, kw_only=True)
class Change:
    """What the change cost. ``took`` is its transaction, from begin to commit, without the tries before it."""

    entry: JournalEntry | None
    xid: str
    took: timedelta
    tries: int
    waited: timedelta
    before: list[JournalEntry] = field(default_factory=list)
    """Entries of the same transaction for what had to make room first."""


@dataclass(frozen=True, kw_only=True)
class Tell:
    """Whom to tell: ``xid`` is called before a change begins, from the caller's thread, and what it writes is safe."""

    line: Callable[[str], None]
    xid: Callable[[str], None]


Work = Callable[[BaseDatabaseWrapper], None]


@dataclass(frozen=True, kw_only=True)
class Beforehand:
    """What comes before the work, in its transaction. ``lock`` takes the locks, and calls the session ``session_name``;
    ``look`` may take hours; ``agree`` is called from the caller's thread. What one of them raises ends the transaction,
    and nothing was changed."""

    lock: Work
    look: Work
    agree: Callable[[], None]
    session_name: str


def commit_within_budget(
    alias: str,
    work: Work,
    *,
    prepare: Work | None = None,
    beforehand: Beforehand | None = None,
    key: str,
    relation_oid: int | None,
    also_oid: int | None = None,
    budget: Budget,
    tell: Tell,
    idle: Ending | None = None,
) -> Change:
    """Do ``work`` in one transaction on the target; its journal entry carries ``key``.

    ``prepare`` is done on the same connection before each transaction begins, ``beforehand`` at its beginning.
    ``relation_oid`` and ``also_oid`` are the tables that it locks: who holds them is named, and ended if ``idle`` says
    so.
    Raises LockBudgetSpent (with who is in the way), ConnectionLost, ChangeFailed: nothing was changed. Raises
    OutcomeUnknown if the target does not say.
    """
    began = time.monotonic()
    tries = 0
    pause = FIRST_PAUSE
    locked = [oid for oid in (relation_oid, also_oid) if oid]
    with _OwnThread(alias) as thread, session.connect(alias, application_name="memops looks for blockers") as looker:
        server = catalogue.server(looker)
        may_shorten = server.may_set_deadlock_timeout
        usual_deadlock_timeout = timedelta(
            milliseconds=looker.execute(query("change", "deadlock_timeout")).fetchall()[0][0]
        )
        lock_timeout = budget.lock_timeout
        while True:
            tries += 1
            xid = ""
            thread.patience = settings.MEMOPS_PATIENCE + MOST_LOCK_WAITS * lock_timeout
            try:
                thread.connect(prepare)
                started = time.monotonic()
                xid = thread.begin(key=key, lock_timeout=lock_timeout, shorten_deadlock_timeout=may_shorten)
                tell.xid(xid)
                if beforehand is not None:
                    thread.do(beforehand.lock)
                    thread.do_for_long(beforehand.look, session_name=beforehand.session_name)
                    beforehand.agree()
                thread.finish(work)
                took = timedelta(seconds=time.monotonic() - started)
            except DatabaseError as error:
                thread.abandon()
                if not _is_lock_wait(error):
                    return _after_error(alias, error, server.identity, key=key, xid=xid, tries=tries, began=began)
            else:
                found = outcome.read(alias, key=key, xid=xid, server=server.identity)
                if not found.known:
                    raise OutcomeUnknown(target=alias)
                return Change(
                    entry=found.entry,
                    before=found.before,
                    xid=xid,
                    took=took,
                    tries=tries,
                    waited=timedelta(seconds=started - began),
                )
            waited = timedelta(seconds=time.monotonic() - began)
            in_the_way = _blockers(looker, locked)
            if waited >= budget.total:
                raise LockBudgetSpent(
                    target=alias,
                    waited=f"{waited.total_seconds():.1f} s",
                    tries=tries,
                    blockers="; ".join(map(str, in_the_way)) or "sessions that had ended when memops looked",
                    advice=ending.advice(in_the_way, idle),
                )
            if tries == 1 or tries % 10 == 0:
                tell.line(
                    f"Try {tries}: the table is in use by"
                    f" {'; '.join(map(str, in_the_way)) or 'a session that has ended'}."
                )
            if idle is not None and idle.end_those(looker, locked):
                pause = FIRST_PAUSE
            lock_timeout = budget.lock_timeout
            if not may_shorten and any(one.kind == "autovacuum" for one in in_the_way):
                # The one case in which a longer wait is asked for on purpose; the next try is short again.
                lock_timeout = max(budget.lock_timeout, usual_deadlock_timeout + ABOVE_DEADLOCK_TIMEOUT)
                tell.line(
                    f"An autovacuum holds the table and this role may not set deadlock_timeout: the next try waits"
                    f" {lock_timeout.total_seconds():.1f} s, so that the server cancels it."
                )
            left = budget.total - waited
            time.sleep(min(pause, left).total_seconds() * random.uniform(0.5, 1))
            pause = min(pause * 2, LONGEST_PAUSE)


def _after_error(
    alias: str, error: DatabaseError, server: str, *, key: str, xid: str, tries: int, began: float
) -> Change:
    """An error that is no lock wait: the target says whether the change is there all the same."""
    cause = error.__cause__
    sqlstate = getattr(cause, "sqlstate", None)
    # Without a transaction number the work was never begun.
    found = outcome.read(alias, key=key, xid=xid, server=server) if xid else Outcome(entry=None, known=True)
    if found.entry is not None:
        waited = timedelta(seconds=time.monotonic() - began)
        return Change(entry=found.entry, before=found.before, xid=xid, took=timedelta(0), tries=tries, waited=waited)
    if not found.known:
        raise OutcomeUnknown(target=alias) from error
    if sqlstate is None or sqlstate.startswith(("08", "57P", IDLE_FOR_TOO_LONG)):
        raise ConnectionLost(target=alias) from error
    raise ChangeFailed(target=alias, problem=_message(cause)) from error


def _message(cause: BaseException | None) -> str:
    """The server's own words. Messages of the migration's SQL are ours; none of them holds a row's content."""
    if not isinstance(cause, psycopg.Error) or cause.diag.message_primary is None:
        return type(cause).__name__
    parts = [cause.diag.message_primary.removesuffix("Nothing was changed."), cause.diag.message_hint]
    return " ".join(part.strip().rstrip(".") + "." for part in parts if part)


def _is_lock_wait(error: DatabaseError) -> bool:
    return isinstance(
        error.__cause__,
        (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure),
    )


def _milliseconds(time: timedelta) -> str:
    return f"{time / timedelta(milliseconds=1):.0f}ms"


def _blockers(looker: psycopg.Connection[Any], locked: list[int]) -> list[Blocker]:
    try:
        return blockers.of_relations(looker, locked)
    except psycopg.Error:
        return []  # Who cannot look goes on trying: the change has a session of its own.


class _OwnThread:
    """A thread for the transaction: Django's connections are one a thread, and the caller's must stay free, even
    where target and console share a database, to write down what happens while the transaction is open.

    A server that says nothing for ``patience`` is hung up on. What the thread meets then is a lost connection, and
    what became of the change is asked as after any other.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.patience: timedelta = settings.MEMOPS_PATIENCE
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="memops-change")
        self.open = ExitStack()
        self.wrapper: BaseDatabaseWrapper | None = None

    def __enter__(self) -> _OwnThread:
        return self

    def __exit__(self, *ending: object) -> None:
        self._have_done(self._close)
        self.pool.shutdown()

    def connect(self, prepare: Work | None) -> None:
        self._have_done(self._connect, prepare)

    def begin(self, *, key: str, lock_timeout: timedelta, shorten_deadlock_timeout: bool) -> str:
        return self._have_done(self._begin, key, lock_timeout, shorten_deadlock_timeout)

    def do(self, work: Work) -> None:
        self._have_done(self._do, work)

    def do_for_long(self, work: Work, *, session_name: str) -> None:
        """The server is asked on another session whether it is at it, and hung up on when it is not."""
        future = self.pool.submit(self._do, work)
        asks = partial(session.is_at_work, session.libpq_params(self.alias), session_name)
        watch = Watch(patience=settings.MEMOPS_PATIENCE, asks=asks)
        while not future.done():
            try:
                watch.look()
            except ServerSilent:
                if self.wrapper is not None and self.wrapper.connection is not None:
                    hang_up(self.wrapper.connection)
            wait([future], timeout=TICK.total_seconds())
        future.result()

    def finish(self, work: Work) -> None:
        self._have_done(self._finish, work)

    def abandon(self) -> None:
        self._have_done(self._close)

    def _have_done(self, work: Callable[..., Result], *arguments: object) -> Result:
        future = self.pool.submit(work, *arguments)
        wait([future], timeout=self.patience.total_seconds())
        while not future.done():
            if self.wrapper is not None and self.wrapper.connection is not None:
                hang_up(self.wrapper.connection)
            wait([future], timeout=TICK.total_seconds())
        return future.result()

    def _connect(self, prepare: Work | None) -> None:
        self.wrapper = connections[self.alias]
        self.wrapper.ensure_connection()
        with self.wrapper.cursor() as cursor:
            cursor.execute(query("session", "notice_lost_client"), {"pid": None})
        if prepare is not None:
            prepare(self.wrapper)

    def _begin(self, key: str, lock_timeout: timedelta, shorten_deadlock_timeout: bool) -> str:
        connection = connections[self.alias]
        self.open.enter_context(transaction.atomic(using=self.alias, durable=True))
        with connection.cursor() as cursor:
            if shorten_deadlock_timeout:
                cursor.execute(
                    query("change", "shorten_deadlock_timeout"), {"deadlock_timeout": _milliseconds(DEADLOCK_TIMEOUT)}
                )
            cursor.execute(query("change", "begin"), {"key": key, "lock_timeout": _milliseconds(lock_timeout)})
            return str(cursor.fetchone()[-1])

    def _do(self, work: Work) -> None:
        work(connections[self.alias])

    def _finish(self, work: Work) -> None:
        with self.open.pop_all():
            work(connections[self.alias])

    def _close(self) -> None:
        """Give up whatever is open. Closing the connection ends its transaction on the server."""
        connection = connections[self.alias]
        abandoned = self.open.pop_all()
        with suppress(_Abandoned, DatabaseError), abandoned:
            raise _Abandoned
        connection.close()


class _Abandoned(Exception):
    """Ends a transaction that is not to be committed."""
