"""One worker holds a run, one console a target, and a lock ends with the session that holds it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from memops.console.errors import TargetUnreachable
from memops.console.pg import claims
from tests.databases import alias_of
from tests.postgres.conftest import until


def test_of_sixteen_who_want_a_run_one_gets_it(target):
    ready, decided = Barrier(16, timeout=30), Barrier(16, timeout=30)

    def want(_: int) -> bool:
        ready.wait()
        with claims.hold_run(target, 7) as held:
            decided.wait()
            return held is not None

    with ThreadPoolExecutor(max_workers=16) as threads:
        winners = list(threads.map(want, range(16)))

    assert winners.count(True) == 1
    until(lambda: not claims.run_is_held(target, 7))


def test_a_run_is_held_while_the_block_lasts_and_no_longer(target):
    with claims.hold_run(target, 7) as held:
        assert held is not None
        assert held.is_held()
        assert claims.run_is_held(target, 7)
        assert not claims.run_is_held(target, 8)

    until(lambda: not claims.run_is_held(target, 7))


def test_runs_do_not_hinder_each_other_nor_the_target(target):
    with claims.hold_run(target, 0) as run, claims.hold_run(target, 8) as other, claims.hold_target(target) as whole:
        assert None not in (run, other, whole)
        with claims.hold_target(target) as second:
            assert second is None


def test_the_same_run_of_a_console_in_another_database_is_another_run(target):
    with (
        alias_of("elsewhere", NAME="postgres") as elsewhere,
        claims.hold_run(target, 7),
        claims.hold_run(elsewhere, 7) as other,
    ):
        assert other is not None
        assert other.is_held()


def test_a_lock_is_gone_when_its_session_is_ended(target, dba):
    with claims.hold_run(target, 7) as held:
        pid = held.connection.info.backend_pid
        dba.execute("select pg_terminate_backend(%s, 10000)", [pid])

        assert not held.is_held()
        assert not claims.run_is_held(target, 7)
        with claims.hold_run(target, 7) as successor:
            assert successor is not None


def test_a_target_that_does_not_answer_is_told_and_not_taken_for_free(target):
    with alias_of("away", HOST="/nowhere") as alias, pytest.raises(TargetUnreachable), claims.hold_target(alias):
        pass
