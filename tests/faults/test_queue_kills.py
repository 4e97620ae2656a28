"""The queue's own processes are killed while a run is at work: the run is seen to be lost, and can be settled."""

import signal

import psutil
import pytest
from django.db import connections

from memops.console.models import Run
from memops.console.runs import queue, reconcile
from project import embedded
from tests import console_process
from tests.faults import ground


@pytest.fixture
def paused_worker(console, settings, tmp_path):
    """A real ``qcluster`` on a console of its own, which will wait at a place in the run."""

    def start(pause_at: str):
        environment = {
            "DJANGO_SETTINGS_MODULE": "tests.faults.paused_settings",
            "PYTHONUNBUFFERED": "1",
            "PAUSE_AT": pause_at,
            "SAYS": str(tmp_path / "says"),
            "MEMOPS_HOME": str(settings.MEMOPS_HOME),
            "MEMOPS_BACKUP_DIR": str(settings.MEMOPS_BACKUP_DIR),
            "MEMOPS_ANCHORS": str(settings.MEMOPS_ANCHORS),
            "MEMOPS_APPROVALS": "*/*=0",
            "MEMOPS_SECOND_FACTOR": "off",
            "MEMOPS_PG_BIN": str(embedded.bin_dir(embedded.MAJOR)),
            "DATABASE_URL": embedded.url(settings.MEMOPS_HOME, database=connections.databases["default"]["NAME"]),
        }
        return console_process.worker(environment, tmp_path / "worker.log")

    return start


def has_said(tmp_path, what: str) -> bool:
    file = tmp_path / "says"
    return file.exists() and what in file.read_text().splitlines()


def who_works(main: psutil.Process) -> psutil.Process:
    """The process that executes the run says so on it; it is one of the queue's."""
    run = Run.objects.get(kind="rollback")
    [process] = [one for one in main.children(recursive=True) if run.worker.endswith(f"process {one.pid}")]
    return process


@pytest.mark.parametrize("victim", ["worker", "every process", "main process"])
@pytest.mark.parametrize("pause_at", ["backup after", "reverse after"])
def test_a_killed_process_of_the_queue_leaves_a_run_that_can_be_settled(
    console, paused_worker, fault, tmp_path, pause_at, victim
):
    with console() as before, paused_worker(pause_at) as child, fault(f"kill -9 of the queue: {victim}"):
        ground.until(queue.worker_is_alive, "the worker is up")
        run = ground.ask_for_rollback()
        ground.until(lambda: has_said(tmp_path, pause_at), "the run pauses")
        main = psutil.Process(child.pid)
        everybody = [main, *main.children(recursive=True)]

        for process in {"worker": [who_works(main)], "every process": everybody, "main process": [main]}[victim]:
            process.send_signal(signal.SIGKILL)

        if victim == "main process":
            child.wait()  # As the supervisor does, which ends what the queue has left.
        ground.until(lambda: is_lost(run), "the run is seen to be lost")
        ground.settle(run)
        assert run.state == "interrupted"
        if victim == "worker":
            assert queue.worker_is_alive()
            child.terminate()
            child.wait()
        assert [one for one in everybody if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def is_lost(run: Run) -> bool:
    run.refresh_from_db()
    return reconcile.is_lost(run)
