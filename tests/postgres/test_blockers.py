"""Who is in the way of a change is named: by process, role and application, never by what they execute."""

from datetime import timedelta

import psycopg
import pytest
from django.db import connections

from memops.console.pg import blockers, catalogue, session
from memops.console.pg.blockers import Blocker
from tests.databases import alias_of


@pytest.fixture
def others(target):
    """Opens sessions on the target that idle in a transaction; they end with the test."""
    opened: list[psycopg.Connection] = []

    def open_session(statement: str, **params: str) -> psycopg.Connection:
        connection = psycopg.connect(**session.libpq_params(target) | params)
        opened.append(connection)
        connection.execute(statement)
        return connection

    yield open_session
    for connection in opened:
        connection.close()


def found(alias: str, **parameters) -> list[Blocker]:
    with session.connect(alias, **parameters) as connection:
        oid = catalogue.relation(connection, "public", "memory_chunks").oid
        return blockers.of_relation(connection, oid)


def test_a_table_that_nobody_uses_has_no_blockers(target):
    assert found(target) == []


@pytest.mark.parametrize(
    "statement",
    [
        "select 'secret' from public.memory_chunks",
        "update public.memory_chunks set model = 'secret'",
        "lock table public.memory_chunks in share mode",
    ],
)
def test_every_kind_of_lock_is_in_the_way(target, others, statement):
    other = others(statement, application_name="reporting")

    [blocker] = found(target)

    assert (blocker.kind, blocker.pid, blocker.role, blocker.application, blocker.state) == (
        "session",
        other.info.backend_pid,
        "memops_owner",
        "reporting",
        "idle in transaction",
    )
    assert timedelta(0) <= blocker.age < timedelta(minutes=1)
    assert blocker.since.utcoffset() == timedelta(0)


def test_a_blocker_reads_as_a_sentence_without_its_query(target, others):
    other = others("select 'secret' from public.memory_chunks", application_name="reporting\n; secret?")

    [told] = map(str, found(target))

    assert told.startswith(f"pid {other.info.backend_pid} of memops_owner ('reporting")
    assert told.endswith("idle in transaction, for 0 s")
    assert "select" not in told
    assert "\n" not in told


def test_a_session_is_named_once_however_many_locks_it_holds(target, others):
    other = others("select from public.memory_chunks; update public.memory_chunks set model = 'x'")

    assert [blocker.pid for blocker in found(target)] == [other.info.backend_pid]


def test_the_oldest_comes_first(target, others):
    first = others("select from public.memory_chunks")
    second = others("select from public.memory_chunks")
    third = others("select from public.memory_chunks")
    second.rollback()
    second.execute("select from public.memory_chunks")

    assert [blocker.pid for blocker in found(target)] == [
        connection.info.backend_pid for connection in (first, third, second)
    ]


def test_who_waits_or_uses_another_table_is_not_in_the_way(target, others, owner):
    others("select from public.django_migrations")

    assert found(target) == []


def test_a_prepared_transaction_is_named_by_its_gid(target, owner):
    owner.execute("begin; select from public.memory_chunks; prepare transaction 'test blockers''s'")

    [blocker] = found(target)

    assert (blocker.kind, blocker.pid, blocker.gid, blocker.role) == (
        "prepared transaction",
        None,
        "test blockers's",
        "memops_owner",
    )
    assert str(blocker).startswith('prepared transaction "test blockers\'s" of memops_owner, for ')


def test_a_role_that_may_not_see_others_still_sees_who_holds_the_table(target, others, new_role):
    """Without pg_monitor the server hides state and times, not the process."""
    other = others("select from public.memory_chunks")
    database = connections[target].settings_dict["NAME"]
    with alias_of("blind", NAME=database, USER=new_role("blind")) as alias:
        [blocker] = found(alias)

    assert (blocker.pid, blocker.role) == (other.info.backend_pid, "memops_owner")
    assert "state not shown" in str(blocker)
