"""A maintenance window: a run begins in it or not at all, and the database says what time it is."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from memops.console.errors import OutsideWindow, WindowInvalid, WindowWithoutApprovals
from memops.console.models import Run
from memops.console.runs import advance, approvals
from memops.console.runs.window import Window, read_moment
from tests.databases import guard_off
from tests.postgres.people import ONE, TWO, as_requester, person, request_backup

HOUR = timedelta(hours=1)


@pytest.fixture
def rita(console_db):
    return person("rita", "requester", "executor")


def tonight() -> Window:
    return Window(not_before=timezone.now() + HOUR, not_after=timezone.now() + 2 * HOUR)


def moved(run: Run, **ends: datetime) -> Run:
    """The clock is not ours to turn, so the window is, by somebody who takes the guard away first."""
    with guard_off("memops_console_run", "memops_run_guard"):
        Run.objects.filter(pk=run.pk).update(**ends)
    run.refresh_from_db()
    return run


def test_before_its_window_nobody_starts_it(rita, settings):
    settings.MEMOPS_APPROVALS = ONE
    run = request_backup(rita, window=tonight())
    approvals.approve(run, by=person("ann", "approver"))

    with pytest.raises(
        OutsideWindow, match=f"only in its maintenance window, from {run.not_before:%Y-%m-%d %H:%M} UTC"
    ):
        approvals.start(run, requester=as_requester(rita))
    with pytest.raises(IntegrityError, match="maintenance window"):
        Run.objects.filter(pk=run.pk).update(state="queued")
    run.refresh_from_db()
    assert run.state == "awaiting"


def test_in_its_window_it_is_started(rita):
    run = moved(request_backup(rita, window=tonight()), not_before=timezone.now() - HOUR)

    approvals.start(run, requester=as_requester(rita))
    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.starter_name) == ("done", "rita")


def test_without_a_beginning_and_without_approvals_it_is_queued_at_once(rita):
    run = request_backup(rita, window=Window(not_after=timezone.now() + HOUR))

    assert (run.state, run.expires_at) == ("queued", None)


def test_a_worker_that_comes_after_the_window_refuses_it(rita):
    run = request_backup(rita, window=Window(not_after=timezone.now() + HOUR))
    moved(run, not_after=timezone.now() - timedelta(seconds=1))

    assert advance.advance(run.pk) is None

    run.refresh_from_db()
    assert (run.state, run.outcome) == ("refused", "nothing")
    assert "only in its maintenance window" in run.error


@pytest.mark.parametrize(
    ("begins_in", "ends_in", "expires_in"),
    [(24 * HOUR, None, 28 * HOUR), (24 * HOUR, 25 * HOUR, 25 * HOUR), (None, 24 * HOUR, 4 * HOUR)],
)
def test_a_request_is_good_until_its_window_ends_or_four_hours_after_it_begins(
    rita, settings, begins_in, ends_in, expires_in
):
    settings.MEMOPS_APPROVALS = TWO
    now = timezone.now()
    run = request_backup(
        rita, window=Window(not_before=begins_in and now + begins_in, not_after=ends_in and now + ends_in)
    )

    assert abs(run.expires_at - now - expires_in) < timedelta(minutes=1)


def test_the_window_is_part_of_what_was_approved(rita, settings):
    settings.MEMOPS_APPROVALS = ONE
    run = request_backup(rita, window=tonight())

    with pytest.raises(IntegrityError, match="not changed afterwards"):
        Run.objects.filter(pk=run.pk).update(not_before=None)


def test_what_is_started_without_approvals_has_none(rita, settings):
    settings.MEMOPS_APPROVALS = ONE

    with pytest.raises(WindowWithoutApprovals):
        request_backup(rita, window=tonight(), break_glass=True, incident="INC-1")
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("begins_in", "ends_in", "problem"),
    [
        (None, -HOUR, "it is over"),
        (2 * HOUR, HOUR, "it ends before it begins"),
        (HOUR, HOUR, "it ends before it begins"),
        (timedelta(days=91), None, "more than 90 days away"),
    ],
)
def test_a_window_that_nothing_can_begin_in_is_refused(rita, begins_in, ends_in, problem):
    now = timezone.now()

    with pytest.raises(WindowInvalid, match=problem):
        request_backup(
            rita, window=Window(not_before=begins_in and now + begins_in, not_after=ends_in and now + ends_in)
        )
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "text", ["2027-01-31T02:00", " 2027-01-31 02:00\n", "2027-01-31T02:00Z", "2027-01-31T04:00+02:00"]
)
def test_a_time_is_utc_unless_it_says_otherwise(text):
    assert read_moment(text) == datetime(2027, 1, 31, 2, tzinfo=UTC)


@pytest.mark.parametrize("text", ["tonight", "02:00", "2027-02-30T02:00", "", "9" * 5000])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(WindowInvalid, match="is not written as 2027-01-31T02:00"):
        read_moment(text)
