"""Workers that die, that are two, or none, or of another release: what is queued is executed once, by a worker that
may, and the pages say whether there is one."""

import os
import re
import signal
import time
from contextlib import ExitStack

import psutil
import pytest
from django.db import connections
from django_q.models import OrmQ, Success

import memops
from memops.console.errors import Refused
from memops.console.models import AuditEvent, Run
from memops.console.runs import queue
from memops.console.runs.advance import advance
from tests.databases import alias_of, fresh_database
from tests.faults import browserless, executions, ground, processes

NEWER = "9999_of_another_release"


def pids(log: str, doing: str) -> list[int]:
    return [int(pid) for pid in re.findall(rf"{doing} at (\d+)", log)]


def is_up() -> bool:
    return queue.worker_is_alive()


def is_asleep(pid: int) -> bool:
    """For a while, in which it did nothing."""
    process = psutil.Process(pid)
    before = process.cpu_times()
    time.sleep(0.2)
    return process.status() == psutil.STATUS_SLEEPING and process.cpu_times() == before


class TestKilled:
    def test_those_that_wait_are_replaced_and_what_comes_is_heard(self, console, fault, tmp_path):
        """Who waits for a task holds a lock while waiting."""
        waiting = ("ready for work", "pushing tasks", "monitoring")
        with console() as before, ExitStack() as faults, processes.worker(tmp_path) as one:
            ground.until(lambda: all(pids(one.log, doing) for doing in waiting), "the worker is up")
            first = {doing: pids(one.log, doing) for doing in waiting}
            ground.until(lambda: all(map(is_asleep, first["ready for work"] + first["monitoring"])), "they wait")

            for doing in waiting:
                faults.enter_context(fault(f"kill -9 of a waiting process of the queue: {doing}"))
                for pid in first[doing]:
                    os.kill(pid, signal.SIGKILL)

            for doing in waiting:
                ground.until(lambda doing=doing: len(pids(one.log, doing)) == 2 * len(first[doing]), "it is replaced")
            run = ground.ask_for_rollback(emergency=True)
            ground.until(executions.has_ended(run), "the run is executed")
            ground.until(Success.objects.exists, "what became of its task is kept")
            one.child.terminate()
            one.child.wait()
            executions.assert_executed_once(run)
            ground.assert_consistent(run, before)

    def test_the_sentinel_ends_the_others_with_it(self, console, fault, tmp_path):
        with console() as before, fault("kill -9 of the queue's sentinel"):
            with processes.worker(tmp_path, pause_at="reverse after") as one:
                run = ground.ask_for_rollback()
                ground.until(lambda: one.has_said("reverse after"), "the run pauses")
                everybody = one.processes

                everybody[1].kill()

                one.child.wait()  # As the supervisor does, which starts it again then.
            assert [one for one in everybody if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
            ground.settle(run)
            assert run.state == "interrupted"
            ground.assert_consistent(run, before)
            ground.assert_the_way_back(before)


def test_two_clusters_execute_every_run_of_every_target_once(console, fault, tmp_path, settings, filled_console):
    template, _ = filled_console
    with console() as before, fresh_database(template) as second, fresh_database(template) as third:
        settings.MEMOPS_TARGETS = ["default", "staging", "production"]
        urls = {"STAGING_DATABASE_URL": processes.url_of(second), "PRODUCTION_DATABASE_URL": processes.url_of(third)}
        with (
            alias_of("staging", NAME=second),
            alias_of("production", NAME=third),
            fault("two clusters"),
        ):
            with processes.worker(tmp_path, **urls) as one, processes.worker(tmp_path, **urls) as other:
                ground.until(lambda: len(queue.state().clusters) == 2, "both are up")
                done = []
                for _ in range(2):
                    runs = [executions.ask_for_backup(target) for target in settings.MEMOPS_TARGETS]
                    for run in runs * 3:
                        queue.ring(run)
                    for run in runs:
                        ground.until(executions.has_ended(run), "the run ends")
                    done += runs
                last = ground.ask_for_rollback()
                ground.until(executions.has_ended(last), "the last run ends")
                ground.until(executions.nothing_rings, "every bell is heard")

            executions.assert_executed_once(*done, last)
            assert one.complaints == other.complaints == []
            ground.assert_consistent(last, before)


def test_without_a_worker_pages_and_commands_say_so_and_the_next_worker_goes_on(console, fault, tmp_path):
    with console() as before, fault("no worker at all"):
        with processes.worker(tmp_path) as one:
            ground.until(is_up, "the worker is up")
            assert "No worker is alive" not in browserless.shown_on("index")

            one.kill()

            run = ground.ask_for_rollback()
            ground.until(lambda: says_that_no_worker_is_alive(run), "the pages say it")
        assert "No worker is alive" in processes.memops("status").stdout

        with processes.worker(tmp_path) as next_one:
            ground.until(executions.has_ended(run), "the run goes on by itself")

        executions.assert_executed_once(run)
        assert next_one.complaints == []
        ground.assert_consistent(run, before)


def says_that_no_worker_is_alive(run: Run) -> bool:
    shown = [
        browserless.shown_on("index"),
        browserless.shown_on("memops_console_queue"),
        browserless.shown_on("memops_console_run_live", run.pk),
    ]
    return all("No worker is alive" in page for page in shown)


class TestOtherRelease:
    def test_refuses_what_this_one_asked_for_and_names_both(self, console, fault, tmp_path):
        with console() as before, fault("worker of an older release"):
            run = ground.ask_for_rollback()

            with processes.worker(tmp_path, strange={"release": "0.0.1"}):
                ground.until(executions.has_ended(run), "the run ends")

            run.refresh_from_db()
            assert (run.state, run.outcome) == ("refused", "nothing")
            assert f"it was made by memops {memops.__version__}, and this process is memops 0.0.1" in run.error
            assert not AuditEvent.objects.filter(run=run.pk, action="step.begun").exists()
            ground.assert_consistent(run, before)
            ground.assert_the_way_back(before)

    def test_takes_nothing_while_the_tables_are_newer_than_it(self, console, fault, tmp_path):
        with console() as before, fault("tables of a newer release"):
            with processes.worker(tmp_path) as one:
                ground.until(is_up, "the worker is up")
                execute(f"insert into django_migrations values (999, 'memops_console', '{NEWER}', now())")
                run = ground.ask_for_rollback()

                ground.until(lambda: not is_up(), "it is no worker any more")

                assert "No worker is alive" in browserless.shown_on("memops_console_run_live", run.pk)
                assert f"they have {NEWER}, which it does not know" in one.log
                assert (OrmQ.objects.count(), run.steps.exclude(state="waiting").count()) == (1, 0)
                execute("delete from django_migrations where id = 999")
                ground.until(executions.has_ended(run), "with its own tables it goes on")
            executions.assert_executed_once(run)
            ground.assert_consistent(run, before)

    def test_does_not_begin_with_other_tables_than_its_own(self, console, fault):
        with console() as before:
            run = ground.ask_for_rollback()
            for statement, says in (
                (f"insert into django_migrations values (999, 'memops_console', '{NEWER}', now())", f"have {NEWER}"),
                ("delete from django_migrations where name like '0007%' or id = 999", "0007_checklists is not applied"),
                ("delete from django_migrations where app = 'memops_console'", "are not in the database"),
            ):
                with fault("worker that begins on the tables of another release"):
                    execute(statement)

                    ended = processes.manage("qcluster")

                    assert (ended.returncode, "Traceback" in ended.stderr) == (3, False)
                    assert says in ended.stderr
                    with pytest.raises(Refused):
                        advance(run.pk)
                    run.refresh_from_db()
                    assert (run.state, run.steps.exclude(state="waiting").count()) == ("queued", 0)
                    assert ground.look() == before


def execute(statement: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)
