"""Killed at moments that nobody has chosen: complete guided rollbacks, and the bare migration."""

import os
import random
import time

import pytest

from tests.faults import ground, victims

RANDOM_KILLS = int(os.environ.get("RANDOM_KILLS", "40"))
SEED = os.environ.get("RANDOM_SEED", "memops")
"""The moments are random and the same every time; another seed gives others."""

VICTIMS = [victims.the_process, victims.its_program, victims.the_process, victims.a_session, victims.the_process] * 4
VICTIMS[6], VICTIMS[16] = victims.the_server, victims.a_backend


@pytest.fixture(scope="module")
def takes_seconds(executor) -> list[float]:
    """How long runs have taken that nobody killed, of this machine, at this moment."""
    return []


def undisturbed(console, executor) -> float:
    with console():
        run = ground.ask_for_rollback()
        began = time.monotonic()
        executor.begin(str(run.pk))
        assert executor.end() == "0"
        return time.monotonic() - began


@pytest.mark.parametrize("number", range(RANDOM_KILLS))
def test_a_guided_run_that_is_killed_at_any_moment_ends_in_a_true_state(
    console, executor, fault, takes_seconds, number
):
    chance = random.Random(f"{SEED} {number}")
    if not takes_seconds:
        takes_seconds.append(undisturbed(console, executor))
    victim = VICTIMS[number % len(VICTIMS)]
    is_hit = False
    while not is_hit:
        with console() as before, fault(f"random moment: {victim.__name__.replace('_', ' ')}") as hit:
            run = ground.ask_for_rollback()
            began = time.monotonic()
            executor.begin(str(run.pk))
            time.sleep(chance.uniform(0, takes_seconds[0]))

            # A moment at which there is no program to kill is the process's.
            is_hit = hit.something = victim(executor, chance) or (victim is victims.its_program and executor.kill())

            executor.end()
            if not is_hit:
                # It had ended, or had no session then: another moment, of a run as fast as this one was.
                takes_seconds[0] = min(takes_seconds[0], time.monotonic() - began)
            ground.settle(run)
            ground.assert_consistent(run, before)
            ground.assert_the_way_back(before)


@pytest.mark.parametrize("number", range(20))
def test_a_bare_migrate_zero_that_is_killed_never_leaves_a_table_without_row_security(console, executor, fault, number):
    """Django deletes its own record after the change has committed: run again, it agrees with what is there."""
    moment = random.Random(f"{SEED} bare {number}").uniform(0, 0.25)
    with console() as before, fault("kill -9 of a bare migrate memops zero"):
        executor.begin("migrate memops zero")
        time.sleep(moment)

        executor.kill()

        executor.end()
        ground.assert_secured(before)
        executor.begin("migrate memops zero")
        assert executor.end() == "0"
        assert ground.is_quarantined(before)
