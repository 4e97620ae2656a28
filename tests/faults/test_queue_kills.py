"""Processes of the queue, or the web server's, are killed while a run is at work. Without who executes it a run is seen
to be lost, and can be settled; the others it does not need."""

import signal

import psutil
import pytest

from memops.console.models import Run
from memops.console.runs import queue, reconcile
from tests.faults import ground, pauses, processes
from tests.faults.browserless import GONE, Operator
from tests.faults.places import BETWEEN_STEPS, EVERY_ONE, HAS_ENDED, INSIDE, KINDS


def who_works(run: Run, among: list[psutil.Process]) -> psutil.Process:
    """The process that executes the run says so on it; it is one of the queue's."""
    run.refresh_from_db()
    [process] = [one for one in among if run.worker.endswith(f"process {one.pid}")]
    return process


def is_lost(run: Run) -> bool:
    run.refresh_from_db()
    return reconcile.is_lost(run)


def shows(operator: Operator, run: Run) -> bool:
    try:
        page = operator.get(run.get_absolute_url())[1]
        return "Running" in page and "Worker lost" not in page
    except GONE:
        return False


def assert_gone(everybody: list[psutil.Process]) -> None:
    """A process that was killed takes a moment to end."""
    for one in everybody:
        ground.until(lambda: not one.is_running() or one.status() == psutil.STATUS_ZOMBIE, f"{one} has ended")  # noqa: B023


@pytest.mark.parametrize("victim", ["worker", "every process"])
@pytest.mark.parametrize("pause_at", ["backup after", "reverse after"])
def test_a_killed_process_of_the_queue_leaves_a_run_that_can_be_settled(console, fault, tmp_path, pause_at, victim):
    with console() as before, fault(f"kill -9 of the queue: {victim}"):
        with processes.worker(tmp_path, pause_at=pause_at) as one:
            run = ground.ask_for_rollback()
            ground.until(lambda: one.has_said(pause_at), "the run pauses")
            everybody = one.processes

            for process in [who_works(run, everybody)] if victim == "worker" else everybody:
                process.send_signal(signal.SIGKILL)

            ground.until(lambda: is_lost(run), "the run is seen to be lost")
            ground.settle(run)
            assert run.state == "interrupted"
            assert queue.worker_is_alive() or victim == "every process"
        assert_gone(everybody)
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


@pytest.mark.parametrize(("kind", "place"), (BETWEEN_STEPS + INSIDE)[:: 1 if EVERY_ONE else 3])
def test_the_queues_main_process_takes_everything_along_wherever_it_is_killed(console, fault, tmp_path, kind, place):
    with console() as before, fault("kill -9 of the queue's main process"):
        with processes.worker(tmp_path, pause_at=place) as one:
            run = ground.ask_for(kind)
            ground.until(lambda: one.has_said(place), "the run pauses")
            everybody = one.processes

            everybody[0].kill()

            one.child.wait()  # As the supervisor does, which ends what the queue has left.
        assert_gone(everybody)
        ground.settle(run)
        assert run.state == ("done" if place in HAS_ENDED else "interrupted")
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_web_server_can_be_killed_at_every_boundary_and_the_run_goes_on(console, fault, tmp_path, kind):
    with console() as before:
        run = ground.ask_for(kind)
        with (
            processes.web(tmp_path) as web,
            processes.worker(tmp_path, pause_at=pauses.EACH_BOUNDARY) as one,
        ):
            operator = Operator(address=web.address)
            operator.sign_in_as_superuser("rita")
            for number, step in enumerate(KINDS[kind]):
                with fault("kill -9 of the web server's process between two steps"):
                    ground.until(lambda: one.has_said(f"{step.name} after"), f"{step.name} is over")  # noqa: B023
                    ground.until(lambda: shows(operator, run), "the web server shows the run")

                    (web.main if number == 0 else web.server).kill()

                    ground.until(lambda: shows(operator, run), "the web server shows the run again")
                    assert not is_lost(run)
                    one.go_on()
            ground.until(lambda: Run.objects.get(pk=run.pk).state == "done", "the run ends")
        run.refresh_from_db()
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)
