"""However often the bell rings, for whatever, and whoever hears it: a run is executed once, or not at all."""

import time
from contextlib import ExitStack

from django_q.models import OrmQ

from memops.console.models import AuditEvent, Run
from memops.console.runs import queue, reconcile
from memops.console.runs.request import cancel
from tests.faults import browserless, executions, ground, processes, rings, strange

SOON = {"taken_for_seconds": 2}


class TestRingsAgain:
    def test_while_its_run_is_at_work_and_after_it(self, console, fault, tmp_path):
        with console() as before, fault("bell that rings again"):
            with processes.worker(tmp_path, pause_at="backup after") as one:
                run = ground.ask_for_rollback()
                ground.until(lambda: one.has_said("backup after"), "the run pauses")

                for _ in range(5):
                    queue.ring(run)

                ground.until(lambda: OrmQ.objects.count() <= 1, "the other bells are heard")
                one.go_on()
                ground.until(executions.has_ended(run), "the run ends")
                queue.ring(run)
                ground.until(executions.nothing_rings, "the late bell is heard")
            executions.assert_executed_once(run)
            assert one.complaints == []
            ground.assert_consistent(run, before)

    def test_as_django_q_delivers_it_with_a_retry_that_is_shorter_than_the_task(self, console, fault, tmp_path):
        """Its own broker, which the system checks refuse, hands the same entry on while the run is at work."""
        queue_of_others = {"broker_class": None, "retry": 2, "timeout": None}
        with console() as before, fault("redelivery: retry shorter than the task"):
            with processes.worker(tmp_path, pause_at="reverse after", strange={"queue": queue_of_others}) as one:
                run = ground.ask_for_rollback()

                ground.until(lambda: one.has_said("reverse after"), "the run pauses")

                # Who does the run has not acknowledged it: it was delivered to another process, which did.
                ground.until(executions.nothing_rings, "the same entry is delivered again")
                assert not executions.has_ended(run)()
                one.go_on()
                ground.until(executions.has_ended(run), "the run ends")
            executions.assert_executed_once(run)
            assert one.complaints == []
            ground.assert_consistent(run, before)

    def test_when_whoever_took_the_entry_was_killed_before_the_claim(self, console, fault, tmp_path):
        with console() as before, fault("kill -9 between the entry and the claim"):
            with processes.worker(tmp_path, pause_at=strange.CLAIM, strange=SOON) as first:
                run = ground.ask_for_rollback()
                ground.until(lambda: first.has_said(strange.CLAIM), "the entry is taken")
                first.kill()

            with processes.worker(tmp_path, strange=SOON) as second:
                ground.until(executions.has_ended(run), "another worker goes on")

            executions.assert_executed_once(run)
            assert second.complaints == []
            ground.assert_consistent(run, before)


def test_entries_that_ring_for_nothing_are_removed_and_harm_neither_worker_nor_pages(console, fault, tmp_path):
    trace = tmp_path / "executed"
    with console() as before, ExitStack() as faults:
        cancelled = cancel(executions.ask_for_backup(), requester=ground.ME)
        OrmQ.objects.all().delete()
        entries = [*rings.unreadable(), *rings.for_other_functions(trace), *rings.with_wrong_arguments()]
        for entry in [*entries, rings.bell(cancelled.pk), rings.bell(cancelled.pk + 7)]:
            faults.enter_context(fault("entry of the queue that rings for nothing"))
            rings.put(entry)

        assert "a worker will pass it over" in browserless.shown_on("memops_console_queue")
        assert "No worker is alive" in browserless.shown_on("index")
        assert processes.memops("status").returncode == 0

        with processes.worker(tmp_path) as one:
            ground.until(executions.nothing_rings, "the worker has removed them all")
            everybody = one.processes
            run = ground.ask_for_rollback()
            ground.until(executions.has_ended(run), "the worker is as it was")
            assert one.processes == everybody
        assert not trace.exists()
        assert set(Run.objects.filter(origin="command")) == {cancelled, run}
        assert set(AuditEvent.objects.filter(action="run.claimed").values_list("run", flat=True)) == {run.pk}
        assert sum("rings for no run is removed" in line for line in one.complaints) == len(entries)
        assert "Traceback" not in one.log
        run.refresh_from_db()
        ground.assert_consistent(run, before)


class TestNoBell:
    def test_after_the_key_has_changed_the_worker_rings_with_its_own(self, console, fault, tmp_path):
        with console() as before, fault("rotated SECRET_KEY"):
            run = ground.ask_for_rollback()

            with processes.worker(tmp_path, SECRET_KEY=rings.OTHER_KEY) as one:
                ground.until(executions.has_ended(run), "the run is executed")

                assert "No worker is alive" in browserless.shown_on("index"), (
                    "one that cannot hear this console's bells is none"
                )
            executions.assert_executed_once(run)
            assert [*map(said, one.complaints)] == [
                "an entry of the queue that rings for no run is removed",
                "a queued run that nothing rang for",
            ]
            ground.assert_consistent(run, before)

    def test_that_can_be_read_is_told_on_the_page_and_reconcile_rings(self, console, fault, tmp_path):
        with console() as before, fault("rotated SECRET_KEY of the web server"):
            run = ground.ask_for_rollback()
            entry = OrmQ.objects.get()
            entry.payload = f"{entry.payload[:-1]}{'a' if entry.payload[-1] != 'a' else 'b'}"
            entry.save()
            assert 'id="run-reconcile"' in browserless.shown_on("memops_console_run_live", run.pk)

            [settled] = reconcile.reconcile(requester=ground.ME)

            assert "it is queued again" in settled.text
            with processes.worker(tmp_path):
                ground.until(executions.has_ended(run), "the run is executed")
            executions.assert_executed_once(run)
            ground.assert_consistent(run, before)

    def test_as_its_row_was_deleted_before_a_worker_came(self, console, fault, tmp_path):
        with console() as before, fault("deleted row of the queue"):
            run = ground.ask_for_rollback()
            OrmQ.objects.all().delete()

            with processes.worker(tmp_path) as one:
                ground.until(executions.has_ended(run), "the run is executed")

            executions.assert_executed_once(run)
            assert [*map(said, one.complaints)] == ["a queued run that nothing rang for"]
            ground.assert_consistent(run, before)

    def test_as_its_row_was_deleted_while_its_run_is_at_work(self, console, fault, tmp_path):
        with console() as before, fault("deleted row of the queue"):
            often = {"looks_every_seconds": 0.1}
            with processes.worker(tmp_path, pause_at="reverse after", strange=often) as one:
                run = ground.ask_for_rollback()
                ground.until(lambda: one.has_said("reverse after"), "the run pauses")

                OrmQ.objects.all().delete()

                time.sleep(1)  # It looks for queued runs that nothing rings for, and this is none.
                one.go_on()
                ground.until(executions.has_ended(run), "the run ends")
            executions.assert_executed_once(run)
            assert one.complaints == []
            ground.assert_consistent(run, before)


def said(line: str) -> str:
    return line.partition("]")[2].partition("[")[0].strip()
