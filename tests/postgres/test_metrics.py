"""The baseline of runbook R10: a sample holds what the server says, and what it could not read, with the reason."""

import psycopg
import pytest

from memops.console.errors import TargetUnreachable
from memops.console.pg import metrics, session
from tests.databases import alias_of
from tests.postgres.conftest import until


def test_a_sample_tells_how_the_server_does(filled):
    found = metrics.sample(filled)

    assert found.not_known == {}
    assert found.newest_rows_ms is not None
    assert found.newest_rows_ms > 0 < found.round_trip_ms
    assert 0 < found.connections <= found.max_connections
    assert found.active >= 1
    assert found.database_bytes > 1024 * 1024
    assert 0 <= found.cache_hit_share <= 1
    assert found.replication_lag_bytes is None


def test_a_transaction_that_idles_is_counted_with_its_age(filled):
    with psycopg.connect(**session.libpq_params(filled)) as other:
        other.execute("select 1")

        found = metrics.sample(filled)

    assert found.idle_in_transaction == 1
    assert found.oldest_transaction_seconds > 0


def test_without_the_table_the_rest_is_sampled(target, owner):
    owner.execute("drop table public.memory_chunks")

    found = metrics.sample(target)

    assert found.newest_rows_ms is None
    assert found.not_known == {"newest_rows_ms": "there is no public.memory_chunks"}
    assert found.connections > 0


def test_a_table_that_is_locked_holds_the_sample_up_for_two_seconds_at_most(target, owner):
    with owner.transaction():
        owner.execute("lock table public.memory_chunks in access exclusive mode")

        found = metrics.sample(target)

    assert found.not_known == {"newest_rows_ms": "it took longer than 2 s"}


def test_rows_that_are_hidden_from_the_role_are_told(app_role):
    assert metrics.sample(app_role).not_known == {"newest_rows_ms": "the role may not read all rows"}


def test_a_server_that_is_not_there_is_told(target):
    with alias_of("away", HOST="/nowhere") as alias, pytest.raises(TargetUnreachable):
        metrics.sample(alias)


def test_commits_and_rollbacks_are_counted(target, owner):
    before = metrics.sample(target)

    for _ in range(3):
        owner.execute("select 1")
    with pytest.raises(psycopg.errors.DivisionByZero):
        owner.execute("select 1/0")

    def counted() -> bool:
        owner.execute("select pg_stat_force_next_flush()")
        now = metrics.sample(target)
        return now.commits >= before.commits + 3 and now.rollbacks >= before.rollbacks + 1

    until(counted)
