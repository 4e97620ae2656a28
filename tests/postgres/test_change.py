"""A change of the catalogue waits for its locks within a budget, holds nobody up, and happens whole or not at all."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

import psycopg
import pytest
from django.db import connections
from psycopg.sql import SQL, Identifier

from memops import sql
from memops.console.errors import ChangeFailed, ConnectionLost, LockBudgetSpent, TargetUnreachable
from memops.console.pg import catalogue, change, session
from memops.console.pg.change import Budget, Change, Tell
from tests import holders
from tests.databases import alias_of
from tests.postgres.conftest import until

KEY = "run 8"
LOCK_TIMEOUT = timedelta(milliseconds=100)
SHORT = Budget(lock_timeout=LOCK_TIMEOUT, total=timedelta(milliseconds=600))
LONG = Budget(lock_timeout=LOCK_TIMEOUT, total=timedelta(seconds=30))
TO_SPARE = timedelta(milliseconds=400)
"""What a machine that tests run on, with others beside them, may take longer than it should."""


class Told:
    """What a change tells while it is made."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.xids: list[str] = []

    def tell(self) -> Tell:
        return Tell(line=self.lines.append, xid=self.xids.append)


@pytest.fixture
def told() -> Told:
    return Told()


def take_away(connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.down())


def commit(alias: str, told: Told, *, work: Callable = take_away, budget: Budget = LONG) -> Change:
    with session.connect(alias) as connection:
        oid = connection.execute("select 'public.memory_chunks'::regclass::oid::bigint").fetchall()[0][0]
    return change.commit_within_budget(alias, work, key=KEY, relation_oid=oid, budget=budget, tell=told.tell())


def is_there(connection: psycopg.Connection) -> bool:
    return connection.execute("select to_regclass('public.memory_chunks') is not null").fetchone() == (True,)


@contextmanager
def held(alias: str, statement: str = "select 'secret' from public.memory_chunks", **params: str) -> Iterator[int]:
    """Somebody's transaction that holds the table and idles. Gives the pid of its server process."""
    with psycopg.connect(**session.libpq_params(alias) | params) as other:
        other.execute(statement)
        yield other.info.backend_pid
        other.rollback()


class TestCommit:
    def test_it_is_one_transaction_that_carries_the_key_and_costs_what_it_says(self, target, owner, three_rows, told):
        done = commit(target, told)

        assert not is_there(owner)
        assert (done.entry.action, done.entry.run_id, done.tries) == ("quarantine", KEY, 1)
        assert done.entry.xid == done.xid == told.xids[-1]
        assert timedelta(0) < done.took < timedelta(seconds=5)
        assert told.lines == []

    def test_the_transactions_number_is_stored_before_anything_is_done(self, target, owner, told):
        seen = []

        def work(connection) -> None:
            with connection.cursor() as cursor:
                cursor.execute("select pg_current_xact_id()::text")
                seen.append((list(told.xids), cursor.fetchone()[0]))

        commit(target, told, work=work)

        assert seen == [([seen[0][1]], seen[0][1])]

    def test_if_the_number_cannot_be_stored_nothing_is_done(self, target, owner, told):
        def refuse(xid: str) -> None:
            raise RuntimeError

        with pytest.raises(RuntimeError):
            change.commit_within_budget(
                target, take_away, key=KEY, relation_oid=None, budget=LONG, tell=Tell(line=print, xid=refuse)
            )

        assert is_there(owner)
        left = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'"
        until(lambda: owner.execute(left).fetchone() == (0,))

    def test_an_error_of_the_work_leaves_everything_as_it_was(self, target, owner, three_rows, told):
        def work(connection) -> None:
            take_away(connection)
            raise RuntimeError

        with pytest.raises(RuntimeError):
            commit(target, told, work=work)

        assert is_there(owner)
        with session.connect(target) as connection:
            assert [entry.action for entry in catalogue.journal(connection)] == ["deploy"]

    def test_what_the_target_refuses_is_told_in_its_words_and_not_tried_again(self, target, owner, three_rows, told):
        owner.execute("create view public.newest as select max(created_at) from public.memory_chunks")

        with pytest.raises(ChangeFailed, match=r'"target" refused the change: .*view public\.newest') as failed:
            commit(target, told)

        assert str(failed.value).count("Nothing was changed") == 1
        assert len(told.xids) == 1
        assert is_there(owner)

    def test_a_target_that_does_not_answer_is_told(self, target, told):
        with alias_of("away", HOST="/nowhere") as alias, pytest.raises(TargetUnreachable):
            change.commit_within_budget(
                alias, take_away, key=KEY, relation_oid=None, budget=LONG, tell=told.tell()
            )  # fmt: skip

    def test_limits_of_the_role_do_not_end_it(self, target, dba, three_rows, told, new_role):
        role = new_role("hampered", "login bypassrls")
        hand_over(dba, role)
        dba.execute(SQL("alter role {} set statement_timeout = '300ms'").format(Identifier(role)))

        def work(connection) -> None:
            with connection.cursor() as cursor:
                cursor.execute("select pg_sleep(0.5)")
            take_away(connection)

        with alias_of("hampered", NAME=connections[target].settings_dict["NAME"], USER=role) as alias:
            assert commit(alias, told, work=work).entry.action == "quarantine"

    def test_the_server_keeps_its_lock_no_longer_for_somebody_who_does_not_go_on(self, target, three_rows, told):
        seen: dict[str, str] = {}

        def work(connection) -> None:
            with connection.cursor() as cursor:
                cursor.execute("select name, setting from pg_settings where name ~ '^(idle_in|client_connection)'")
                seen.update(cursor.fetchall())
            take_away(connection)

        commit(target, told, work=work)

        assert seen == {"idle_in_transaction_session_timeout": "10000", "client_connection_check_interval": "500"}


class TestConnectionLost:
    @pytest.mark.parametrize("before", [True, False], ids=["before the work", "after the work"])
    def test_a_session_that_is_ended_before_the_commit_has_changed_nothing(
        self, target, owner, three_rows, told, before
    ):
        def work(connection) -> None:
            if not before:
                take_away(connection)
            with connection.cursor() as cursor:
                cursor.execute("select pg_terminate_backend(pg_backend_pid())")

        with pytest.raises(ConnectionLost, match="Nothing was changed"):
            commit(target, told, work=work)

        assert is_there(owner)

    def test_a_session_that_is_ended_at_the_commit_has_changed_nothing(self, target, owner, three_rows, told):
        def work(connection) -> None:
            with connection.cursor() as cursor:
                cursor.execute(
                    "create table public.last (a int); create function public.die() returns trigger language plpgsql"
                    " as 'begin perform pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid());"
                    " return null; end';"
                    " create constraint trigger die after insert on public.last deferrable initially deferred"
                    " for each row execute function public.die(); insert into public.last values (1)"
                )
            take_away(connection)

        with pytest.raises(ConnectionLost, match="Nothing was changed"):
            commit(target, told, work=work)

        assert is_there(owner)


class TestLockBudget:
    def test_a_table_that_is_free_in_time_is_taken(self, target, owner, three_rows, told):
        with held(target, application_name="reporting") as pid:
            release = Event()

            def line(text: str) -> None:
                told.lines.append(text)
                release.set()

            results: list[Change] = []
            worker = Thread(
                target=lambda: results.append(
                    change.commit_within_budget(
                        target,
                        take_away,
                        key=KEY,
                        relation_oid=owner_oid(target),
                        budget=LONG,
                        tell=Tell(line=line, xid=told.xids.append),
                    )
                )
            )
            worker.start()
            assert release.wait(20)
        freed = time.monotonic()
        worker.join()

        assert time.monotonic() - freed < 2
        assert results[0].tries > 1
        assert results[0].waited >= LOCK_TIMEOUT
        assert len(told.xids) == results[0].tries
        assert told.lines[0].startswith(f"Try 1: the table is in use by pid {pid} of memops_owner ('reporting')")
        assert not is_there(owner)

    def test_a_spent_budget_names_who_is_in_the_way_and_changes_nothing(self, target, owner, three_rows, told):
        began = time.monotonic()
        with held(target, application_name="reporting") as pid, pytest.raises(LockBudgetSpent) as spent:
            commit(target, told, budget=SHORT)

        message = str(spent.value)
        assert f"pid {pid} of memops_owner ('reporting'), idle in transaction, for " in message
        assert "secret" not in message
        assert "Nothing was changed" in message
        assert timedelta(seconds=time.monotonic() - began) < SHORT.total + 3 * (LOCK_TIMEOUT + TO_SPARE)
        assert is_there(owner)

    def test_a_prepared_transaction_is_named(self, target, owner, three_rows, told):
        owner.execute("begin; select from public.memory_chunks; prepare transaction 'test change'")

        with pytest.raises(LockBudgetSpent, match="prepared transaction 'test change' of memops_owner, for "):
            commit(target, told, budget=SHORT)

    def test_readers_stall_no_longer_than_one_lock_wait(self, target, owner, three_rows, told):
        stalls, stop = [], Event()

        def read() -> None:
            with psycopg.connect(**session.libpq_params(target), autocommit=True) as reader:
                while not stop.is_set():
                    began = time.monotonic()
                    reader.execute("select from public.memory_chunks").fetchall()
                    stalls.append(time.monotonic() - began)

        reader = Thread(target=read)
        with held(target):
            reader.start()
            try:
                with pytest.raises(LockBudgetSpent):
                    commit(target, told, budget=SHORT)
            finally:
                stop.set()
                reader.join()

        assert len(told.xids) > 1
        assert timedelta(seconds=max(stalls)) < LOCK_TIMEOUT + TO_SPARE

    def test_between_two_tries_it_holds_nothing(self, target, owner, three_rows, told):
        locks = (
            "select count(*) from pg_locks"
            " where relation = 'public.memory_chunks'::regclass and mode = 'AccessExclusiveLock'"
        )
        counts: list[int] = []

        def line(text: str) -> None:
            counts.append(owner.execute(locks).fetchone()[0])

        with held(target), pytest.raises(LockBudgetSpent):
            change.commit_within_budget(
                target,
                take_away,
                key=KEY,
                relation_oid=owner_oid(target),
                budget=SHORT,
                tell=Tell(line=line, xid=print),
            )

        assert counts == [0]


class TestAutovacuum:
    """A real autovacuum, made slow, works on the table; the server cancels it only after deadlock_timeout."""

    @pytest.fixture
    def autovacuum(self, target, dba) -> Iterator[int]:
        """The pid of an autovacuum that is at work on the table."""
        with holders.busy_autovacuum(dba):
            until(lambda: holders.autovacuums(dba), within_seconds=60)
            yield holders.autovacuums(dba)[0]

    @pytest.fixture
    def plain_role(self, target, dba, new_role) -> str:
        """An owner of the table who may neither set deadlock_timeout nor see what others do. To be had before
        ``autovacuum``, which an alter table would cancel."""
        role = new_role("plain", "login bypassrls")
        hand_over(dba, role)
        return role

    def test_it_is_cancelled_within_the_first_try(self, target, owner, autovacuum, told):
        done = commit(target, told)

        assert done.tries == 1
        assert done.entry.action == "quarantine"
        assert not is_there(owner)

    def test_it_is_cancelled_by_one_longer_wait_without_the_right(self, target, owner, plain_role, autovacuum, told):
        with alias_of("plain", NAME=connections[target].settings_dict["NAME"], USER=plain_role) as alias:
            done = commit(alias, told)

        assert 1 < done.tries <= 4
        assert any("this role may not set deadlock_timeout: the next try waits 1.2 s" in line for line in told.lines)
        assert not is_there(owner)


def owner_oid(alias: str) -> int:
    with session.connect(alias) as connection:
        return catalogue.relation(connection, "public", "memory_chunks").oid


def hand_over(dba: psycopg.Connection, role: str) -> None:
    """Make a role the owner of everything that a rollback touches."""
    dba.execute(
        SQL(
            "grant create on schema public to {0}; alter table public.memory_chunks owner to {0};"
            " alter schema memops_quarantine owner to {0}; alter table memops_quarantine.journal owner to {0}"
        ).format(Identifier(role))
    )
