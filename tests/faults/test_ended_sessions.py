"""Idle transactions in the way are ended if the approved plan says so: each one audited, nobody else, no row lost."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connections

from memops.console.models import AuditEvent, Run
from memops.console.runs.plan import plan_rollback, plan_undo
from memops.console.runs.request import submit
from tests import holders
from tests.databases import as_superuser
from tests.faults import beside, ground

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.fixture(autouse=True)
def limits(settings) -> None:
    settings.MEMOPS_END_IDLE_LEAST = SECOND
    settings.MEMOPS_LOCK_TIMEOUT = timedelta(milliseconds=100)
    settings.MEMOPS_LOCK_BUDGET = timedelta(minutes=5)


@pytest.fixture
def short_budget(settings) -> None:
    settings.MEMOPS_LOCK_BUDGET = timedelta(seconds=3)


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as others:
        yield others


def ask(*, end_idle: timedelta | None, emergency: bool = True) -> Run:
    plan = plan_rollback(ground.TARGET, emergency=emergency, end_idle=end_idle)
    return submit(plan, requester=ground.ME, reason="it has to survive this", seen_digest=plan.digest)


def events(run: Run) -> list[tuple[str, str]]:
    """What the trail has of sessions, in the order in which it was written."""
    found = AuditEvent.objects.filter(run=run.pk, action__startswith="session.").order_by("sequence")
    return [(event.action, event.object_id) for event in found]


def test_all_who_idle_are_ended_each_one_audited_and_no_committed_row_is_lost(console, fault, held):
    with console(), fault("idle transactions, ended"):
        others = [held.enter_context(holders.idle("default", holders.WRITES)) for _ in range(5)]
        for other in others:
            other.commit()
            other.execute(holders.WRITES)
        before = ground.look()
        reads = held.enter_context(beside.readers())
        run = ask(end_idle=SECOND, emergency=False)

        beside.carry_out(run)

        assert (run.state, run.outcome) == ("done", "quarantined"), run.error
        pids = {str(other.pid) for other in others}
        told = events(run)
        assert {pid for _, pid in told} == pids
        assert len(told) == 10
        for announced, done in zip(told[::2], told[1::2], strict=True):
            assert (announced[0], done[0], announced[1]) == ("session.end_begun", "session.ended", done[1])
        assert {str(one["pid"]) for one in run.ended_sessions} == pids
        assert beside.log_of(run).count("Ended, as the plan says: pid ") == 5
        assert holders.SECRET not in beside.everything_said(run)
        assert [error for one in reads for error in one.errors] == []
        assert not any(map(holders.is_alive, others))
        held.close()
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_what_an_event_says_of_a_session(console, fault, held):
    with console(), fault("idle transactions, ended"):
        other = held.enter_context(holders.idle("default", application_name="nightly report"))
        run = ask(end_idle=SECOND)

        beside.carry_out(run)

        event = AuditEvent.objects.get(run=run.pk, action="session.ended")
        assert (event.actor, event.object_type, event.object_id) == ("memops", "session", str(other.pid))
        for part in (
            '"application":"nightly report"',
            '"role":"memops_owner"',
            '"limit_seconds":1.0',
            '"idle_seconds":',
        ):
            assert part in event.details
        assert AuditEvent.objects.get(action="run.requested", run=run.pk).details.count('"end_idle_seconds":1.0') == 1
        [said] = run.ended_sessions
        assert (said["role"], said["application"], said["result"]) == ("memops_owner", "nightly report", "ended")


@pytest.mark.parametrize("who", ["idles for less than the limit", "is at work", "idles, and no plan says so"])
def test_nobody_else_is_ended(console, fault, held, short_budget, who):
    with console() as before, fault(f"lock: {who}"):
        hold = holders.active if who == "is at work" else holders.idle
        other = held.enter_context(hold("default"))
        end_idle = {"idles for less than the limit": HOUR, "is at work": SECOND}.get(who)
        run = ask(end_idle=end_idle)

        beside.carry_out(run)

        assert (run.state, run.outcome, events(run)) == ("refused", "nothing", [])
        assert f"pid {other.pid} of memops_owner" in run.error
        assert ("--end-idle" in run.error) is (end_idle is None)
        if who != "is at work":
            assert holders.is_alive(other)
        held.close()
        ground.assert_consistent(run, before)


def test_where_the_trail_cannot_be_written_nobody_is_ended(console, fault, held):
    with console() as before, fault("idle transaction, and no audit trail"):
        other = held.enter_context(holders.idle("default"))
        run = ask(end_idle=3 * SECOND)
        with beside.at_work(run, other):
            assert holders.is_alive(other)  # It has stirred, so there is time until it is to be ended.
            alter("alter table audit_event rename to audit_event_away")
        alter("alter table audit_event_away rename to audit_event")

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert "The audit trail in the database" in run.error
        assert holders.is_alive(other)
        held.close()
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def alter(statement: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def without_the_right() -> Iterator[None]:
    """memops may end sessions of its own role alone, as where nobody has granted more."""
    as_superuser("revoke pg_signal_backend from memops_owner")
    try:
        yield
    finally:
        as_superuser("grant pg_signal_backend to memops_owner")


def test_without_the_right_to_end_it_it_is_named_and_the_plan_has_said_so(console, fault, held, short_budget):
    with console() as before, fault("idle transaction, and no right"), without_the_right():
        other = held.enter_context(holders.idle("default", "select from public.memory_chunks", user="memops_app"))
        run = ask(end_idle=SECOND)

        beside.carry_out(run)

        [warned] = [one.text for one in run.planned().findings if one.code == "no right to end sessions"]
        assert "grant pg_signal_backend to memops_owner" in warned
        assert (run.state, run.outcome) == ("refused", "nothing")
        assert f"The plan would end pid {other.pid} of memops_app ('reporting')" in run.error
        assert events(run) == [("session.not_ended", str(other.pid))]
        assert holders.is_alive(other)
        held.close()
        ground.assert_consistent(run, before)


def test_with_the_right_a_session_of_the_application_is_ended(console, fault, held):
    with console() as before, fault("idle transactions, ended"):
        other = held.enter_context(holders.idle("default", "select from public.memory_chunks", user="memops_app"))
        run = ask(end_idle=SECOND)

        beside.carry_out(run)

        assert (run.state, run.outcome) == ("done", "quarantined"), run.error
        assert not holders.is_alive(other)
        ground.assert_consistent(run, before)


@pytest.mark.parametrize("end_idle", [SECOND, None])
def test_an_undo_meets_whoever_idles_on_the_empty_table_that_gives_way(console, fault, held, settings, end_idle):
    with console() as before, fault("lock: idle on the empty table of a deploy"):
        rollback = beside.carry_out(ground.ask_for_rollback(emergency=True))
        call_command("migrate", "memops", verbosity=0)
        other = held.enter_context(holders.idle("default"))
        if end_idle is None:
            settings.MEMOPS_LOCK_BUDGET = timedelta(seconds=2)
        plan = plan_undo(rollback, end_idle=end_idle)
        undo = submit(plan, requester=ground.ME, reason="it was the application", seen_digest=plan.digest)

        beside.carry_out(undo)

        if end_idle is None:
            assert undo.state == "refused"
            assert f"pid {other.pid} of memops_owner ('reporting')" in undo.error
            assert holders.is_alive(other)
        else:
            assert (undo.state, undo.outcome) == ("done", "restored"), undo.error
            assert [one["pid"] for one in undo.ended_sessions] == [other.pid]
            assert ground.look() == before
