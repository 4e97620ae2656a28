"""Clocks differ and are set: what counts is the time of the console's database, and no time is behind another."""

from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connections
from django_q.models import OrmQ

from memops.console.models import QuarantinedTable, Run
from memops.console.pg import clock
from memops.console.runs import history, queue
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_rollback, plan_undo
from memops.console.runs.request import submit
from memops.console.runs.window import ANY_TIME, Window
from tests.databases import guard_off
from tests.faults import browserless, executions, ground, processes

FAR = timedelta(hours=30)
"""Further than a task may last, so that whatever goes by the wrong clock is over, or is far from due."""

HOUR = timedelta(hours=1)


def ask_for_rollback(window: Window = ANY_TIME) -> Run:
    plan = plan_rollback(ground.TARGET)
    return submit(plan, requester=ground.ME, reason="the clock jumps", seen_digest=plan.digest, window=window)


def later() -> datetime:
    return clock.now() + FAR


def execute(statement: str, *values: object) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement, values)


def assert_in_order(run: Run) -> None:
    assert run.took >= timedelta()
    assert all(step.took is None or step.took >= timedelta() for step in run.steps.all())


class TestWorkersClock:
    @pytest.mark.parametrize("ahead", [FAR, -FAR], ids=["ahead", "behind"])
    def test_neither_hides_the_worker_nor_holds_up_or_mixes_what_it_does(self, console, fault, tmp_path, ahead):
        with console() as before, fault("worker's clock hours away"):
            with processes.worker(tmp_path, strange={"ahead_seconds": ahead.total_seconds()}) as one:
                ground.until(queue.worker_is_alive, "the worker is seen")
                run = ask_for_rollback(Window(not_after=clock.now() + HOUR))
                ground.until(executions.has_ended(run), "the rollback is executed")
                executions.assert_executed_once(run)
                plan = plan_undo(run)
                undo = submit(plan, requester=ground.ME, reason="it was a drill", seen_digest=plan.digest)
                ground.until(executions.has_ended(undo), "the undo is executed")
                one.kill()
                ground.until(lambda: not queue.worker_is_alive(), "its end is seen")
            executions.assert_executed_once(run, undo)
            assert_in_order(run)
            assert_in_order(undo)
            assert QuarantinedTable.objects.get().state == "restored"
            assert ground.look() == before

    def test_that_is_behind_does_not_open_a_window_that_is_over(self, console, fault, tmp_path):
        with console() as before, fault("worker's clock hours away"):
            run = ask_for_rollback(Window(not_after=clock.now() + HOUR))
            with guard_off("memops_console_run", "memops_run_guard"):
                Run.objects.filter(pk=run.pk).update(not_after=clock.now() - HOUR)

            with processes.worker(tmp_path, strange={"ahead_seconds": -FAR.total_seconds()}):
                ground.until(executions.has_ended(run), "the run is refused")

            run.refresh_from_db()
            assert run.state == "refused"
            assert "maintenance window" in run.error
            ground.assert_consistent(run, before)


class TestDatabasesClock:
    def test_that_was_set_back_after_the_request_does_not_keep_a_run_from_its_end(self, console, fault, tmp_path):
        with console() as before, fault("database's clock set back"):
            run = ask_for_rollback()
            Run.objects.filter(pk=run.pk).update(requested_at=later())
            OrmQ.objects.update(lock=later())  # As a worker that took it then and died has left it.

            assert "No worker is alive" in browserless.shown_on("memops_console_run_change", run.pk)
            with processes.worker(tmp_path):
                ground.until(executions.has_ended(run), "the run ends")

            executions.assert_executed_once(run)
            assert_in_order(run)
            ground.assert_consistent(run, before)

    def test_that_was_set_back_while_a_run_was_at_work_does_not_keep_it_from_being_settled(
        self, console, executor, fault
    ):
        with console() as before, fault("database's clock set back"):
            run = ask_for_rollback()
            executor.begin(str(run.pk), pause_at="backup after")
            executor.until("backup after")
            executor.kill()
            executor.end()
            Run.objects.filter(pk=run.pk).update(requested_at=later(), claimed_at=later())
            run.steps.filter(state="running").update(started_at=later())

            ground.settle(run)

            assert run.state == "interrupted"
            assert_in_order(run)
            ground.assert_consistent(run, before)


class TestTargetsClock:
    def test_that_goes_before_the_consoles_hides_no_change_by_hand(self, console, fault):
        with console(), fault("target's clock ahead"):
            call_command("migrate", "memops", "zero", verbosity=0)
            execute("update memops_quarantine.journal set happened_at = %s where action = 'quarantine'", later())

            noticed = history.notice(ground.TARGET)

            assert [(run.origin, run.outcome) for run in noticed][-1] == ("by hand", "quarantined")
            assert QuarantinedTable.objects.get().state == "kept"

    def test_that_was_set_back_before_the_undo_does_not_lose_sight_of_the_table(self, console, fault):
        with console() as before, fault("target's clock set back"):
            run = ask_for_rollback()
            advance(run.pk)
            run.refresh_from_db()
            execute("update memops_quarantine.journal set happened_at = %s where action = 'quarantine'", later())
            QuarantinedTable.objects.update(since=later())

            ground.assert_the_way_back(before)

            assert QuarantinedTable.objects.get().state == "restored"
