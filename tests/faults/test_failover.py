"""An alias that leads elsewhere than it did: to a standby, a promoted one, a copy, another database. Nothing is done
there."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.db import connections

from memops.console.models import QuarantinedTable
from memops.console.pg import outcome
from memops.console.runs import history
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_rollback
from project import embedded
from tests.databases import fresh_database
from tests.faults import ground
from tests.faults.copies import copied, leave_behind

SOON = timedelta(milliseconds=300)


@pytest.fixture(scope="module")
def standby(embedded_server):
    """It follows the server, also to databases that are made later."""
    with copied(is_standby=True) as standby:
        yield standby


@contextmanager
def far_leads_to(address: dict[str, str]) -> Iterator[None]:
    """In this process, for a while."""
    entry = connections.databases["far"]
    before = {**entry}
    entry.update(address)
    yield
    entry.update(before)


@pytest.fixture
def executed_at(executor):
    """Executes a run in a process in which "far" leads elsewhere."""

    def execute(run, address: dict[str, str]) -> None:
        executor.begin(str(run.pk), aliases={"far": address})
        assert executor.end() == "0"
        run.refresh_from_db()

    return execute


def test_a_standby_is_refused_by_plan_and_run(far_console, executed_at, standby, fault):
    with far_console() as before, fault("failover to a standby"):
        run = ground.ask_for_rollback(emergency=True, target="far")
        standby.catch_up()

        executed_at(run, standby.address)

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert "server timeline: was 1, is none, for it is a standby" in run.error
        assert "Nothing was changed" in run.error
        with far_leads_to(standby.address):
            refusals = [finding.text for finding in plan_rollback("far").refusals if finding.code == "standby"]
        assert refusals == ['The target "far" is a standby: it can only be read. Use the primary\'s address.']
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_what_a_standby_has_not_heard_of_is_neither_undone_nor_missing(far_console, standby, fault):
    with far_console() as before, fault("a standby is asked what happened"):
        standby.catch_up()
        standby.stand_still()
        run = ground.ask_for_rollback(target="far", emergency=True)
        advance(run.pk)
        run.refresh_from_db()

        with far_leads_to(standby.address):
            found = outcome.read("far", key=str(run.key), xid=run.xid, server=run.server, patience=SOON)
            noticed = history.notice("far")

        standby.go_on()
        assert found == outcome.Outcome(entry=None, known=False)
        assert noticed == []
        assert QuarantinedTable.objects.get().state == "kept"
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_a_standby_that_was_promoted_after_the_plan_is_refused(far_console, executed_at, fault):
    """It may lack what the primary had committed, and has the same identity and the same tables."""
    with far_console() as before, copied(is_standby=True) as standby, fault("failover after the plan"):
        run = ground.ask_for_rollback(emergency=True, target="far")
        standby.catch_up()
        standby.promote()

        executed_at(run, standby.address)

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert "server timeline: was 1, is 2" in run.error
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_a_copy_from_before_the_plan_is_refused(far_console, executed_at, fault):
    """Of a virtual machine, say: nothing tells it from the server but that the server has come further."""
    with far_console() as before, copied(is_standby=False) as copy, fault("a copy behind the alias"):
        leave_behind()
        run = ground.ask_for_rollback(emergency=True, target="far")

        executed_at(run, copy.address)

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert "the server is where it was before the plan was made" in run.error
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_a_failover_between_two_steps_stops_the_run(far_console, executor, line, fault):
    """Its lock is held on the old server, which still answers: on the new one it would hold nothing."""
    with far_console() as before, copied(is_standby=True) as standby, fault("failover between two steps"):
        run = ground.ask_for_rollback(emergency=True, target="far")
        executor.begin(str(run.pk), pause_at="baseline after", aliases={"far": line.address})
        executor.until("baseline after")
        standby.catch_up()
        standby.promote()
        line.server = standby.socket

        executor.go_on()

        assert executor.end() == "0"
        ground.settle(run)
        assert (run.state, run.outcome) == ("interrupted", "nothing")
        assert run.steps.get(name="reverse").state == "waiting"
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_another_database_behind_the_alias_is_refused_with_what_differs(
    far_console, filled_console, executed_at, settings, fault
):
    with (
        far_console() as before,
        fresh_database(filled_console[0]) as other,
        fault("another database behind the alias"),
    ):
        run = ground.ask_for_rollback(emergency=True, target="far")

        executed_at(run, {"NAME": other})

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert f"server: was {run.server}, is {run.server.split('/')[0]}/" in run.error
        with psycopg.connect(embedded.url(settings.MEMOPS_HOME, database=other)) as database:
            assert database.execute("select count(*) from public.memory_chunks").fetchone() == (120,)
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)
