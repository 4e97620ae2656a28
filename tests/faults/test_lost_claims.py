"""A process that has lost its lock, and lives: whoever settles its run says what is true, and it stays true."""

import psycopg
import pytest
from django.db import connections

from memops.console.models import Run
from memops.console.runs import reconcile
from project import embedded
from tests.faults import ground, pauses, victims


@pytest.fixture
def reader(settings):
    """Opens a session that reads the table and does not end its transaction."""
    opened = []

    def begin() -> psycopg.Connection:
        name = connections.databases["default"]["NAME"]
        session = psycopg.connect(embedded.url(settings.MEMOPS_HOME, database=name))
        opened.append(session)
        session.execute("select from public.memory_chunks limit 1")
        return session

    yield begin
    for session in opened:
        session.close()


def end_its_locks() -> None:
    for pid in victims.backends(application_name="memops holds a lock"):
        victims.terminate_backend(pid)


def test_who_waits_for_the_table_moves_nothing_after_the_run_was_settled(console, executor, fault, reader):
    with console() as before, fault("the session of the lock is ended, and the process lives on"):
        run = ground.ask_for("emergency")
        blocker = reader()
        executor.begin(str(run.pk))
        ground.until(lambda: "Try 1" in run.steps.get(name="reverse").log, "the change waits for the table")

        end_its_locks()
        [settled] = reconcile.reconcile(requester=ground.ME)

        assert (settled.run.state, settled.run.outcome) == ("interrupted", "nothing")
        blocker.close()
        assert executor.end() == "0"
        ground.settle(run)
        assert (run.state, run.outcome) == ("interrupted", "nothing")
        assert run.steps.get(name="reverse").state == "interrupted"
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_a_change_that_is_on_its_way_is_not_settled_before_it_has_ended(console, executor, fault):
    place = "reverse has not committed"
    with console() as before, fault("the session of the lock is ended, and the process lives on"):
        run = ground.ask_for("emergency")
        executor.begin(str(run.pk), pause_at=place)
        executor.until(place)
        end_its_locks()

        [settled] = reconcile.reconcile(requester=ground.ME)

        assert settled.run.state == "unknown"
        executor.go_on()
        assert executor.end() == "0"
        ground.settle(run)
        assert (run.state, run.outcome) == ("interrupted", "quarantined")
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


@pytest.mark.parametrize("place", pauses.RECONCILING)
@pytest.mark.parametrize("lost_at", ["backup has its manifest", "verify has restored", "reverse has committed"])
def test_a_reconcile_that_is_killed_leaves_a_run_that_the_next_one_settles(console, executor, fault, lost_at, place):
    with console() as before, fault("kill -9 of reconcile"):
        run = ground.ask_for("guided")
        executor.begin(str(run.pk), pause_at=lost_at)
        executor.until(lost_at)
        executor.kill()
        executor.end()
        executor.begin("reconcile", pause_at=place)
        executor.until(place)

        executor.kill()

        assert executor.end() == "SIGKILL"
        run.refresh_from_db()
        assert run.state == "running"
        ground.settle(run)
        assert run.state == "interrupted"
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_what_is_settled_is_not_settled_again(console, executor, fault):
    with console() as before, fault("kill -9 of the process at a step boundary"):
        run = ground.ask_for("guided")
        executor.begin(str(run.pk), pause_at="reverse after")
        executor.until("reverse after")
        executor.kill()
        executor.end()
        ground.settle(run)
        then = Run.objects.values().get(pk=run.pk)

        assert reconcile.reconcile(requester=ground.ME) == []

        assert Run.objects.values().get(pk=run.pk) == then
        ground.assert_consistent(run, before)
