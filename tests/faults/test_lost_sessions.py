"""The server ends sessions of a run, one or all of them: what happened is read, and nothing is lost."""

import subprocess
import sys

import psycopg
import pytest
from django.conf import settings
from django.db import connections

from memops.console.models import Run
from project import embedded
from tests.environment import CLONE
from tests.faults import ground
from tests.faults.line import COMMIT, DUMP, RESTORE, RUN

BETWEEN_STEPS = ("memops", "memops writes the audit trail")

AT_WORK = {"memops holds a snapshot": DUMP, "memops holds a scratch database": RESTORE}
"""Sessions that there are only during a step, and what is said while they are there."""

RESTART = """
import sys
from pathlib import Path
from project import embedded
embedded.stop(Path(sys.argv[1]))
embedded.start(Path(sys.argv[1]))
"""


def end_sessions(name: str) -> None:
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME), autocommit=True) as server:
        ended = server.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = %s", [name]
        ).fetchall()
    assert ended
    assert set(ended) == {(True,)}


def restart_server() -> None:
    """As an administrator does it: every session is ended. By a process of its own: this one believes that it runs."""
    subprocess.run([sys.executable, "-c", RESTART, str(settings.MEMOPS_HOME)], cwd=CLONE, check=True)


@pytest.mark.parametrize("name", BETWEEN_STEPS)
def test_a_session_that_is_ended_between_two_steps_leaves_a_true_state(console, executor, fault, name):
    with console() as before, fault("a session ended between two steps"):
        run = ground.ask_for_rollback(emergency=True)
        executor.begin(str(run.pk), pause_at="reverse before")
        executor.until("reverse before")
        connections.close_all()
        end_sessions(name)

        executor.go_on()

        executor.end()
        ground.settle(run)
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_a_run_that_has_lost_its_lock_does_not_go_on(console, executor, fault):
    """Somebody else may have taken over, with the same right."""
    with console() as before, fault("a session ended between two steps"):
        run = ground.ask_for_rollback(emergency=True)
        executor.begin(str(run.pk), pause_at="baseline after")
        executor.until("baseline after")
        end_sessions("memops holds a lock")

        executor.go_on()

        assert executor.end() == "0"
        assert run.steps.get(name="reverse").state == "waiting"
        ground.settle(run)
        assert (run.state, run.outcome) == ("interrupted", "nothing")
        ground.assert_consistent(run, before)


def test_a_command_that_has_lost_its_lock_does_not_call_the_run_done(far_console, line, memops, fault):
    with far_console() as before, fault("a session ended at its work"):
        line.when(*DUMP, at="question", then=lambda: end_sessions("memops holds a lock"))

        lost = memops("rollback", "--target", "far", "--confirm", "far", "--reason", "x", address=line.address)

        assert lost.returncode == 4, lost.stderr
        assert "Its worker is lost: manage.py memops reconcile" in lost.stdout
        run = ground.settle(Run.objects.get(kind="rollback"))
        assert (run.state, run.outcome) == ("interrupted", "nothing")
        ground.assert_consistent(run, before)


@pytest.mark.parametrize("name", AT_WORK)
def test_a_session_that_is_ended_at_its_work_leaves_a_true_state(far_console, line, executor, fault, name):
    with far_console() as before, fault("a session ended at its work"):
        run = ground.ask_for_rollback(target="far")
        line.when(*AT_WORK[name], at="answer", then=lambda: end_sessions(name))

        executor.begin(str(run.pk), aliases={"far": line.address})

        executor.end()
        assert line.has_happened.is_set()
        ground.settle(run)
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_a_server_that_is_restarted_between_two_steps_leaves_a_true_state(console, executor, fault):
    with console() as before, fault("server restarted between two steps"):
        run = ground.ask_for_rollback(emergency=True)
        executor.begin(str(run.pk), pause_at="reverse before")
        executor.until("reverse before")
        connections.close_all()
        restart_server()

        executor.go_on()

        executor.end()
        ground.settle(run)
        assert (run.state, run.outcome) == ("interrupted", "nothing")
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_a_server_that_is_restarted_under_the_change_leaves_a_true_state(console, line, executor, fault):
    with console() as before, fault("server restarted when the COMMIT passes"):
        run = ground.ask_for_rollback(emergency=True)
        line.when(RUN, COMMIT, at="question", then=restart_server)

        executor.begin(str(run.pk), aliases={"default": line.address})

        executor.end()
        assert line.has_happened.wait(ground.PATIENCE_SECONDS)
        connections.close_all()
        ground.settle(run)
        assert run.outcome == "nothing"
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)
