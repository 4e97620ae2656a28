"""Applications write while the table is taken away and brought back: every row that was acknowledged is kept, once."""

import random
import subprocess

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from memops import sql
from memops.console.models import QuarantinedTable
from memops.console.runs import history
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_undo
from project import embedded
from tests.faults import ground, victims
from tests.faults.writers import Writers, assert_none_is_lost, kept_rows
from tests.prints import print_of

FAULT = "writers in a loop"


def carried_out(run) -> None:
    advance(run.pk)
    run.refresh_from_db()
    assert run.state == "done", run.error


def undo_of(run):
    table = QuarantinedTable.objects.get(run=run)
    return ground.submitted(plan_undo(table.run))


@pytest.mark.parametrize("kind", ["guided", "emergency"])
def test_rows_written_during_a_rollback_are_in_quarantine_and_in_the_backup(console, fault, kind):
    with console(), fault(FAULT), Writers() as writers:
        run = ground.ask_for(kind)

        carried_out(run)

        assert run.outcome == "quarantined"
        ground.until(lambda: writers.refused > 3, "the writers are told that the table is away")
        assert_none_is_lost(writers)
        table = run.quarantined_table
        assert print_of(table.relation) == table.fingerprint == table.backup.fingerprint
        assert table.backup.state == "verified"


def test_rows_written_around_a_rollback_and_its_undo_are_all_in_public(console, fault):
    with console(), fault(FAULT), Writers() as writers:
        run = ground.ask_for("emergency")
        carried_out(run)
        ground.until(lambda: writers.refused > 3, "the writers are told that the table is away")
        before = len(writers.acknowledged)

        carried_out(undo_of(run))

        ground.until(lambda: len(writers.acknowledged) > before + 20, "the writers write again")
        assert_none_is_lost(writers)
        assert not QuarantinedTable.objects.filter(state="kept").exists()


def test_rows_of_a_table_that_was_deployed_anew_are_kept_beside_the_old_ones(console, fault):
    with console(), fault(FAULT), Writers() as writers:
        first = ground.ask_for("emergency")
        carried_out(first)
        call_command("migrate", "memops", verbosity=0)
        history.notice(ground.TARGET)
        before = len(writers.acknowledged)
        ground.until(lambda: len(writers.acknowledged) > before + 20, "the writers write into the new table")

        assert [finding.code for finding in plan_undo(first).refusals] == ["newer table"]
        carried_out(ground.ask_for("emergency"))
        carried_out(undo_of(first))

        ground.until(lambda: len(writers.acknowledged) > before + 40, "the writers write into the old table again")
        assert_none_is_lost(writers)
        assert QuarantinedTable.objects.filter(state="kept").count() == 1


def pasted_into_psql() -> None:
    url = embedded.url(settings.MEMOPS_HOME, database=connections.databases[ground.TARGET]["NAME"])
    psql = embedded.bin_dir(embedded.MAJOR) / "psql"
    subprocess.run([psql, "-qX", "-v", "ON_ERROR_STOP=1", url], input=sql.rollback_by_hand(), text=True, check=True)


def migrated_back() -> None:
    call_command("migrate", "memops", "zero", verbosity=0)


@pytest.mark.parametrize("take_away", [pasted_into_psql, migrated_back])
def test_rows_written_while_it_is_done_by_hand_are_kept(console, fault, take_away):
    with console(), fault(FAULT), Writers() as writers:
        take_away()

        run = history.notice(ground.TARGET)[-1]
        assert run.outcome == "quarantined"
        assert_none_is_lost(writers)
        carried_out(undo_of(run))
        assert_none_is_lost(writers)


@pytest.mark.parametrize("victim", [victims.the_process, victims.a_backend, victims.the_server])
@pytest.mark.parametrize("place", ["backup has begun", "reverse has not committed", "reverse has committed"])
def test_rows_acknowledged_before_something_is_killed_are_kept(console, executor, fault, place, victim):
    with console(), fault(f"{FAULT}, and a kill"), Writers() as writers:
        run = ground.ask_for("guided")
        executor.begin(str(run.pk), pause_at=place)
        executor.until(place)

        assert victim(executor, random.Random(place))

        executor.go_on()
        executor.end()
        ground.settle(run)
        assert run.state in ground.SETTLED
        assert_none_is_lost(writers)
        if run.outcome == "quarantined":
            carried_out(undo_of(run))
        before = len(kept_rows())
        ground.until(lambda: len(kept_rows()) > before, "the writers write again")
        assert_none_is_lost(writers)
