"""Whatever is killed, and whenever: the run ends in a state that is true, no row is lost, nothing is left behind."""

import os
import random
import signal
import time
from contextlib import suppress

import psutil
import pytest

from memops.console.runs import kinds
from tests.faults import ground, pauses

RANDOM_KILLS = int(os.environ.get("RANDOM_KILLS", "40"))
SEED = os.environ.get("RANDOM_SEED", "memops")
"""The moments are random and the same every time; another seed gives others."""

GUIDED = [step.name for step in kinds.GUIDED]
EMERGENCY = [step.name for step in kinds.EMERGENCY]
BOUNDARIES = [
    (emergency, f"{name} {when}")
    for emergency, names in ((False, GUIDED), (True, EMERGENCY))
    for name in names
    for when in (pauses.BEFORE, pauses.AFTER)
]


@pytest.mark.parametrize(("emergency", "boundary"), BOUNDARIES)
def test_a_process_killed_at_any_step_boundary_leaves_a_true_state(console, executor, fault, emergency, boundary):
    with console() as before, fault("kill -9 at a step boundary"):
        run = ground.ask_for_rollback(emergency=emergency)
        executor.begin(str(run.pk), pause_at=boundary)
        executor.until(boundary)

        executor.kill()

        assert executor.end() == "SIGKILL"
        ground.settle(run)
        assert run.state == "interrupted"
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(run, before)


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


def kill_the_process(executor, chance: random.Random) -> bool:
    return executor.kill()


def kill_its_program(executor, chance: random.Random) -> bool:
    """pg_dump or pg_restore, where one is at work; it is the process's business to notice."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(executor.pid).children(recursive=True):
            child.kill()
            return True
    return False


def end_a_session(executor, chance: random.Random) -> bool:
    pids = ground.backends()
    return bool(pids) and ground.terminate_backend(chance.choice(pids))


def kill_a_backend(executor, chance: random.Random) -> bool:
    """The server takes it for a crash, ends every session, and recovers."""
    pids = ground.backends()
    try:
        pid = chance.choice(pids)
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, IndexError):
        return False
    # Until the server has noticed, it answers as if nothing had happened.
    ground.until(lambda: not psutil.pid_exists(pid), "the server notices the death of its process")
    ground.wait_for_server()
    return True


def kill_the_server(executor, chance: random.Random) -> bool:
    ground.kill_server()
    ground.start_server()
    return True


KILLS = [kill_the_process, kill_its_program, kill_the_process, end_a_session, kill_the_process] * 4
KILLS[6], KILLS[16] = kill_the_server, kill_a_backend


@pytest.mark.parametrize("number", range(RANDOM_KILLS))
def test_a_guided_run_that_is_killed_at_any_moment_ends_in_a_true_state(
    console, executor, fault, takes_seconds, number
):
    chance = random.Random(f"{SEED} {number}")
    if not takes_seconds:
        takes_seconds.append(undisturbed(console, executor))
    kill = KILLS[number % len(KILLS)]
    moment = chance.uniform(0, takes_seconds[0])
    with console() as before, fault(f"random moment: {kill.__name__.replace('_', ' ')}") as hit:
        run = ground.ask_for_rollback()
        executor.begin(str(run.pk))
        time.sleep(moment)

        # A moment at which there is no program to kill is the process's.
        hit.something = kill(executor, chance) or (kill is kill_its_program and executor.kill())

        executor.end()
        ground.settle(run)
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(run, before)


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
