"""Sessions that idle in a transaction and hold the table are ended where a plan says so; nobody else ever is."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from threading import Thread

import psycopg
import pytest
from django.db import connections

from memops import sql
from memops.console.errors import LockBudgetSpent
from memops.console.pg import change, ending, session
from memops.console.pg.change import Budget, Tell
from memops.console.pg.ending import Ended, Ending, IdleSession
from tests import holders
from tests.databases import alias_of
from tests.postgres.conftest import until

AT_ONCE = timedelta(milliseconds=50)
LATER = timedelta(hours=1)
LOCK_TIMEOUT = timedelta(milliseconds=100)
SHORT = Budget(lock_timeout=LOCK_TIMEOUT, total=timedelta(milliseconds=600))
LONG = Budget(lock_timeout=LOCK_TIMEOUT, total=timedelta(seconds=60))


class Told:
    """What is said of sessions before they are ended, and afterwards, in this order."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str]] = []

    def announce(self, one: IdleSession) -> None:
        self.events.append((one.pid, "announced"))

    def tell(self, one: IdleSession, what: Ended) -> None:
        self.events.append((one.pid, what.name))

    def ending(self, *, limit: timedelta = AT_ONCE, announce: Callable[[IdleSession], None] | None = None) -> Ending:
        return Ending(limit=limit, announce=announce or self.announce, tell=self.tell)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Others, until the test ends."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def looker(target: str) -> Iterator[psycopg.Connection]:
    with session.connect(target, application_name="memops looks for blockers") as connection:
        yield connection


def oid_of(connection: psycopg.Connection, table: str = "public.memory_chunks") -> int:
    return connection.execute("select %s::regclass::oid::bigint", [table]).fetchall()[0][0]


def state_of(other: holders.Other, dba: psycopg.Connection) -> str:
    return dba.execute("select coalesce(state, '') from pg_stat_activity where pid = %s", [other.pid]).fetchall()[0][0]


def for_long(dba: psycopg.Connection, other: holders.Other, state: str) -> None:
    """Wait until it has been in this state for longer than ``AT_ONCE``."""
    until(
        lambda: (
            dba.execute(
                "select clock_timestamp() - state_change > %s and state like %s from pg_stat_activity where pid = %s",
                [2 * AT_ONCE, f"{state}%", other.pid],
            ).fetchall()
            == [(True,)]
        )
    )


def idle_for_long(dba: psycopg.Connection, *others: holders.Other) -> None:
    for other in others:
        for_long(dba, other, "idle in transaction")


def commit(alias: str, idle: Ending | None, *, budget: Budget = LONG, lines: list[str] | None = None) -> change.Change:
    def take_away(connection) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql.down())

    with session.connect(alias) as connection:
        oid = oid_of(connection)
    tell = Tell(line=(lines if lines is not None else []).append, xid=lambda xid: None)
    return change.commit_within_budget(
        alias, take_away, key="run 9", relation_oid=oid, budget=budget, tell=tell, idle=idle
    )


class TestTheChange:
    def test_who_idles_for_longer_than_the_limit_is_ended_and_it_goes_through(
        self, target, dba, three_rows, stack, told
    ):
        other = stack.enter_context(holders.idle(target))
        idle_for_long(dba, other)

        done = commit(target, told.ending())

        assert done.entry.action == "quarantine"
        assert done.tries == 2
        assert told.events == [(other.pid, "announced"), (other.pid, "GONE")]
        with pytest.raises(psycopg.errors.AdminShutdown):
            other.execute("select 1")

    def test_without_the_option_nobody_is_ended_and_the_error_says_that_there_is_one(
        self, target, dba, three_rows, stack
    ):
        other = stack.enter_context(holders.idle(target))
        idle_for_long(dba, other)

        with pytest.raises(LockBudgetSpent, match="ask for a plan that ends idle transactions \\(--end-idle"):
            commit(target, None, budget=SHORT)

        assert holders.is_alive(other)

    def test_where_nobody_is_idle_the_option_is_not_suggested(self, target, dba, three_rows, stack):
        for_long(dba, stack.enter_context(holders.active(target)), "active")

        with pytest.raises(LockBudgetSpent) as spent:
            commit(target, None, budget=SHORT)

        assert "--end-idle" not in str(spent.value)

    def test_an_error_says_how_many_were_ended_all_the_same(self, target, dba, three_rows, stack, told):
        idle, busy = stack.enter_context(holders.idle(target)), stack.enter_context(holders.active(target))
        idle_for_long(dba, idle)

        with pytest.raises(LockBudgetSpent, match="ended before that, as the plan says: 1") as spent:
            commit(target, told.ending(), budget=SHORT)

        assert f"pid {busy.pid} of memops_owner ('reporting'), active" in str(spent.value)
        assert f"pid {idle.pid}" not in str(spent.value)
        assert holders.SECRET not in str(spent.value)

    def test_what_was_committed_stays_and_what_was_not_is_rolled_back(
        self, target, owner, dba, three_rows, stack, told
    ):
        other = stack.enter_context(holders.idle(target, holders.WRITES))
        other.commit()
        other.execute(holders.WRITES)
        idle_for_long(dba, other)

        done = commit(target, told.ending())

        rows = owner.execute(f"select count(*) from memops_quarantine.{done.entry.table_name}").fetchone()
        assert rows == (3 + 1,)

    def test_a_spent_budget_ends_nobody_for_nothing(self, target, dba, three_rows, stack, told):
        """After the last try there is no other that could use it."""
        other = stack.enter_context(holders.idle(target))
        idle_for_long(dba, other)

        with pytest.raises(LockBudgetSpent):
            commit(target, told.ending(), budget=Budget(lock_timeout=LOCK_TIMEOUT, total=LOCK_TIMEOUT / 2))

        assert (told.events, holders.is_alive(other)) == ([], True)


class TestWhoIsLeftAlone:
    def test_one_that_idles_for_less_than_the_limit(self, looker, target, dba, stack, told):
        other = stack.enter_context(holders.idle(target))
        idle_for_long(dba, other)

        assert not told.ending(limit=LATER).end_those(looker, [oid_of(looker)])

        assert (told.events, holders.is_alive(other)) == ([], True)

    def test_one_that_is_at_work_however_old_its_transaction_is(self, looker, target, dba, three_rows, stack, told):
        other = stack.enter_context(holders.active(target))
        for_long(dba, other, "active")

        assert not told.ending().end_those(looker, [oid_of(looker)])

        assert (told.events, state_of(other, dba)) == ([], "active")

    def test_one_that_becomes_active_after_it_was_seen_to_be_idle(self, looker, target, dba, stack, told):
        other = stack.enter_context(holders.idle(target))
        idle_for_long(dba, other)
        working = Thread(target=lambda: other.execute("select pg_sleep(3)"))

        def wakes_up(one: IdleSession) -> None:
            working.start()
            until(lambda: state_of(other, dba) == "active")

        assert not told.ending(announce=wakes_up).end_those(looker, [oid_of(looker)])

        working.join()
        assert told.events == [(other.pid, "NOT_IDLE")]
        assert holders.is_alive(other)

    def test_one_that_has_stirred_after_it_was_seen_to_be_idle(self, looker, target, dba, stack, told):
        """It is idle again, in the same transaction, but it is at work: its time begins anew."""
        other = stack.enter_context(holders.idle(target))
        idle_for_long(dba, other)

        def stirs(one: IdleSession) -> None:
            other.execute("select 1")

        assert not told.ending(announce=stirs).end_those(looker, [oid_of(looker)])

        assert told.events == [(other.pid, "NOT_IDLE")]
        assert holders.is_alive(other)

    def test_one_that_has_begun_another_transaction(self, looker, target, dba, stack, told):
        other = stack.enter_context(holders.idle(target))
        idle_for_long(dba, other)

        def commits(one: IdleSession) -> None:
            other.commit()
            other.execute(holders.READS)

        assert not told.ending(announce=commits).end_those(looker, [oid_of(looker)])

        assert holders.is_alive(other)

    def test_one_that_idles_on_another_table(self, looker, target, dba, stack, told):
        other = stack.enter_context(holders.idle(target, "select from public.django_migrations"))
        idle_for_long(dba, other)

        assert not told.ending().end_those(looker, [oid_of(looker)])

        assert (told.events, holders.is_alive(other)) == ([], True)

    def test_one_of_memops(self, looker, target, dba, stack, told):
        own = [stack.enter_context(holders.idle(target, application_name=name)) for name in ("memops", "memops seeds")]
        idle_for_long(dba, *own)

        assert not told.ending().end_those(looker, [oid_of(looker)])

        assert told.events == []
        assert all(map(holders.is_alive, own))

    def test_a_prepared_transaction(self, looker, target, owner, told):
        owner.execute("begin; select from public.memory_chunks; prepare transaction 'test ending'")

        assert not told.ending().end_those(looker, [oid_of(looker)])

        assert told.events == []
        assert owner.execute("select count(*) from pg_prepared_xacts where gid = 'test ending'").fetchone() == (1,)

    def test_an_autovacuum(self, looker, dba, told):
        with holders.busy_autovacuum(dba):
            until(lambda: holders.autovacuums(dba), within_seconds=60)
            before = holders.autovacuums(dba)

            assert not told.ending().end_those(looker, [oid_of(looker)])

            assert (told.events, holders.autovacuums(dba)) == ([], before)


class TestWhoIsEnded:
    def test_everybody_who_idles_each_one_announced_before(self, looker, target, dba, stack, told):
        others = [stack.enter_context(holders.idle(target)) for _ in range(5)]
        idle_for_long(dba, *others)

        assert told.ending().end_those(looker, [oid_of(looker)])

        pids = [other.pid for other in others]
        assert told.events == [(pid, what) for pid in pids for what in ("announced", "GONE")]
        assert not any(map(holders.is_alive, others))

    def test_one_whose_transaction_has_failed_and_still_holds_the_table(self, looker, target, dba, stack, told):
        """After an error in a savepoint the locks from before it are kept."""
        other = stack.enter_context(holders.idle(target))
        other.execute("savepoint a")
        with pytest.raises(psycopg.errors.DivisionByZero):
            other.execute("select 1 / 0")
        idle_for_long(dba, other)
        assert state_of(other, dba) == "idle in transaction (aborted)"

        assert told.ending().end_those(looker, [oid_of(looker)])

        assert not holders.is_alive(other)

    def test_one_that_holds_the_other_table_of_the_change(self, looker, target, dba, stack, told):
        """An undo locks the empty table that gives way as well."""
        other = stack.enter_context(holders.idle(target, "select from public.django_migrations"))
        idle_for_long(dba, other)

        assert told.ending().end_those(looker, [oid_of(looker), oid_of(looker, "public.django_migrations")])

        assert not holders.is_alive(other)

    def test_if_it_cannot_be_announced_nobody_is_ended(self, looker, target, dba, stack, told):
        others = [stack.enter_context(holders.idle(target)) for _ in range(2)]
        idle_for_long(dba, *others)

        def refuses(one: IdleSession) -> None:
            raise RuntimeError

        with pytest.raises(RuntimeError):
            told.ending(announce=refuses).end_those(looker, [oid_of(looker)])

        assert told.events == []
        assert all(map(holders.is_alive, others))

    def test_one_that_does_not_go_is_told_and_not_told_again(self, looker, target, dba, stack, told, monkeypatch):
        monkeypatch.setattr(ending, "PATIENCE", timedelta(milliseconds=200))
        other = stack.enter_context(holders.idle(target))
        pid = other.pid
        idle_for_long(dba, other)
        doing = told.ending()
        os.kill(pid, signal.SIGSTOP)
        try:
            assert not doing.end_those(looker, [oid_of(looker)])
            assert not doing.end_those(looker, [oid_of(looker)])
        finally:
            os.kill(pid, signal.SIGCONT)

        assert told.events == [(pid, "announced"), (pid, "STAYS")]
        assert not holders.is_alive(other)


class TestRights:
    """memops connects as a role of its own, and others as memops_owner."""

    @pytest.fixture
    def looks_as(self, target, dba, new_role, stack) -> Callable[..., psycopg.Connection]:
        def connect(*granted: str) -> psycopg.Connection:
            role = new_role("manager")
            for group in granted:
                dba.execute(f'grant {group} to "{role}"')
            alias = stack.enter_context(alias_of("managed", NAME=connections[target].settings_dict["NAME"], USER=role))
            return stack.enter_context(session.connect(alias))

        return connect

    def test_without_the_right_others_are_left_alone_and_told_once(self, looks_as, target, dba, stack, told):
        other = stack.enter_context(holders.idle(target))
        looker, doing = looks_as("pg_monitor"), told.ending()
        idle_for_long(dba, other)

        assert not doing.end_those(looker, [oid_of(looker)])
        assert not doing.end_those(looker, [oid_of(looker)])

        assert told.events == [(other.pid, "NO_RIGHT")]
        assert holders.is_alive(other)

    def test_with_the_right_they_are_ended(self, looks_as, target, dba, stack, told):
        other = stack.enter_context(holders.idle(target))
        looker = looks_as("pg_monitor", "pg_signal_backend")
        idle_for_long(dba, other)

        assert told.ending().end_those(looker, [oid_of(looker)])

        assert not holders.is_alive(other)

    def test_a_superusers_session_is_left_alone_with_it_too(self, looks_as, target, dba, stack, told):
        other = stack.enter_context(holders.idle(target, user=dba.info.user))
        looker = looks_as("pg_monitor", "pg_signal_backend")
        idle_for_long(dba, other)

        assert not told.ending().end_those(looker, [oid_of(looker)])

        assert told.events == [(other.pid, "NO_RIGHT")]
        assert holders.is_alive(other)

    def test_who_cannot_be_seen_to_be_idle_is_not_ended(self, looks_as, target, dba, stack, told):
        """Without pg_monitor the server hides what others do, and even with the right to end them nobody knows."""
        other = stack.enter_context(holders.idle(target))
        looker = looks_as("pg_signal_backend")
        idle_for_long(dba, other)

        assert not told.ending().end_those(looker, [oid_of(looker)])

        assert (told.events, holders.is_alive(other)) == ([], True)
