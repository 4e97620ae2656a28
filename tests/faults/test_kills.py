"""Whatever is killed, between two steps or in the middle of one: the run ends in a state that is true, no row is lost,
nothing is left behind."""

import random
from itertools import cycle

import pytest

from tests.faults import ground, pauses, victims
from tests.faults.places import BETWEEN_STEPS, BOUNDARIES, EVERY_ONE, HAS_ENDED, INSIDE

WITH_A_PROGRAM = ("backup has begun", "verify restores")


@pytest.mark.parametrize(("kind", "place"), BOUNDARIES + INSIDE)
def test_a_process_that_is_killed_leaves_a_true_state(console, executor, fault, kind, place):
    where = "in the middle of a step" if place in pauses.INSIDE else "at a step boundary"
    with console() as before, fault(f"kill -9 of the process {where}"):
        run = ground.ask_for(kind)
        executor.begin(str(run.pk), pause_at=place)
        executor.until(place)

        executor.kill()

        assert executor.end() == "SIGKILL"
        ground.settle(run)
        assert run.state == ("done" if place in HAS_ENDED else "interrupted")
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


ON_THE_SERVER = (victims.every_session, victims.a_backend, victims.the_server)
PLACES = BETWEEN_STEPS + INSIDE


@pytest.mark.parametrize(
    ("kind", "place", "victim"),
    [(*place, victim) for place in PLACES for victim in ON_THE_SERVER]
    if EVERY_ONE
    else [(*place, victim) for place, victim in zip(PLACES, cycle(ON_THE_SERVER), strict=False)],
)
def test_what_dies_on_the_server_leaves_a_true_state(console, executor, fault, kind, place, victim):
    """The process lives on, and says itself how its run ended."""
    chance = random.Random(f"{kind} {place}")
    with console() as before, fault(f"ended while a step is paused: {victim.__name__.replace('_', ' ')}"):
        run = ground.ask_for(kind)
        executor.begin(str(run.pk), pause_at=place)
        executor.until(place)

        assert victim(executor, chance)

        executor.go_on()
        assert executor.end() == "0"
        ground.settle(run)
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


@pytest.mark.parametrize("victim", [victims.the_process, victims.every_session, victims.the_server])
@pytest.mark.parametrize("place", pauses.MIGRATING)
def test_a_bare_migrate_zero_that_is_killed_leaves_a_secured_table_and_can_be_repeated(
    console, executor, fault, place, victim
):
    with console() as before, fault(f"a bare migrate memops zero: {victim.__name__.replace('_', ' ')}"):
        executor.begin("migrate memops zero", pause_at=place)
        executor.until(place)

        assert victim(executor, random.Random(place))

        executor.go_on()
        executor.end()
        ground.assert_secured(before)
        executor.begin("migrate memops zero")
        assert executor.end() == "0"
        assert ground.is_quarantined(before)


@pytest.mark.parametrize("place", WITH_A_PROGRAM)
def test_a_program_that_is_killed_fails_the_run_by_itself(console, executor, fault, place):
    with console() as before, fault("kill -9 of pg_dump or pg_restore in the middle of its work"):
        run = ground.ask_for("guided")
        executor.begin(str(run.pk), pause_at=place)
        executor.until(place)

        assert victims.its_program(executor, random.Random(place))

        executor.go_on()
        assert executor.end() == "0"
        run.refresh_from_db()
        assert (run.state, "killed by SIGKILL" in run.error) == ("failed", True)
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)
