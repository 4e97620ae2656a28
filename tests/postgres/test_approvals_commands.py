"""Request, approve, start, on the command line: by name and password, and with the exit codes of a refusal."""

import io
import sys
from datetime import UTC, datetime, timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User

from memops import demo
from memops.console.models import Approval, AuditEvent, GlassReview, Run
from tests.databases import guard_off
from tests.postgres.people import ONE, PASSWORD, person
from tests.postgres.test_audit import actions
from tests.postgres.test_commands import Ended, count, memops

ASK = ("rollback", "--emergency", "--confirm", "default", "--reason", "INC-1")


@pytest.fixture
def console(console_db, settings) -> str:
    settings.MEMOPS_APPROVALS = ONE
    demo.load("default", rows=20, tenants=3)
    return "default"


@pytest.fixture
def ann(console) -> User:
    return person("ann", "approver", password=PASSWORD)


@pytest.fixture
def run(ann) -> Run:
    assert memops(*ASK).code == 3
    return Run.objects.get(kind="rollback")


@pytest.fixture
def typed(monkeypatch):
    """What comes on standard input."""

    def given(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return given


@pytest.fixture
def as_ann(typed):
    def ended(*arguments: str, password: str = PASSWORD) -> Ended:
        typed(password + "\n")
        return memops(*arguments, "--as", "ann", "--password-stdin")

    return ended


def state(run: Run) -> str:
    run.refresh_from_db()
    return run.state


def test_a_request_says_what_it_waits_for_and_starts_nothing(ann):
    asked = memops(*ASK)

    run = Run.objects.get(kind="rollback")
    assert (asked.code, run.state) == (3, "awaiting")
    assert f"Run {run.pk} needs 1 approval by members of approver, by {run.expires_at:%Y-%m-%d %H:%M} UTC." in asked.out
    assert f"manage.py memops approve {run.pk} --as NAME" in asked.out
    assert f"manage.py memops start {run.pk}" in asked.out
    assert count("default") == 20
    assert f"Run {run.pk} on default waits for somebody until" in memops("status").out


def test_a_request_that_nobody_wants_to_wait_for_is_no_failure(ann):
    asked = memops(*ASK, "--detach", "--json")

    assert (asked.code, asked.data["run"]["state"], asked.data["run"]["approvals_needed"]) == (0, "awaiting", 1)


def test_approve_and_start_carry_it_through(run, as_ann):
    approved = as_ann("approve", str(run.pk), "--comment", "I read the plan.")
    assert approved.code == 0
    assert f"ann has approved run {run.pk}." in approved.out
    assert f"manage.py memops start {run.pk}" in approved.out

    started = memops("start", str(run.pk))

    assert (started.code, state(run), run.outcome) == (0, "done", "quarantined")
    event = AuditEvent.objects.get(run=run.pk, action="approval.approved")
    assert event.actor == "ann"


def test_before_it_is_approved_start_refuses(run):
    started = memops("start", str(run.pk))

    assert (started.code, state(run)) == (3, "awaiting")
    assert "It has 0 valid of 1 approvals that it needs." in started.err


def test_a_rejection_is_final(run, as_ann):
    rejected = as_ann("reject", str(run.pk), "--comment", "Not today.", "--json")

    assert rejected.code == 0
    assert rejected.data["run"]["state"] == "rejected"
    assert rejected.data["run"]["approvals"][0]["comment"] == "Not today."
    assert memops("start", str(run.pk)).code == 3


def test_an_approval_is_taken_back(run, as_ann):
    as_ann("approve", str(run.pk))
    assert as_ann("revoke", str(run.pk), "--comment", "Wait.").code == 0

    assert memops("start", str(run.pk)).code == 3
    assert Approval.objects.get().revoked_comment == "Wait."


def test_a_request_is_withdrawn(run):
    assert memops("withdraw", str(run.pk)).code == 0
    assert state(run) == "withdrawn"
    assert memops("withdraw", str(run.pk)).code == 3


@pytest.mark.parametrize("verb", ["approve", "reject", "revoke"])
@pytest.mark.parametrize("password", ["not this one", "", PASSWORD + " ", "x" * 10_000])
def test_without_the_password_nothing_is_decided(run, as_ann, verb, password):
    more = () if verb == "approve" else ("--comment", "no")

    refused = as_ann(verb, str(run.pk), *more, password=password)

    assert refused.code == 3
    assert "not the name and password of somebody who may sign in" in refused.err
    assert not Approval.objects.exists()
    assert password == "" or password not in refused.err + refused.out + str(list(AuditEvent.objects.values()))


def test_guesses_count_as_they_do_at_the_sign_in(run, as_ann):
    for _ in range(5):
        as_ann("approve", str(run.pk), password="wrong")

    assert as_ann("approve", str(run.pk)).code == 3
    assert AccessAttempt.objects.filter(username="ann").exists()
    assert not Approval.objects.exists()


@pytest.mark.parametrize("name", ["nobody", "", "a" * 10_000, "x' or 1=1 --"])
def test_an_unknown_name_is_refused_as_a_wrong_password_is(run, typed, name):
    typed(PASSWORD + "\n")
    refused = memops("approve", str(run.pk), "--as", name, "--password-stdin")

    assert refused.code == 3
    assert "not the name and password of somebody who may sign in" in refused.err
    assert "Traceback" not in refused.err


def test_whoever_may_not_decide_is_told_who_may(run, typed):
    person("rob", "requester", password=PASSWORD)
    typed(PASSWORD + "\n")

    refused = memops("approve", str(run.pk), "--as", "rob", "--password-stdin")

    assert refused.code == 3
    assert "is decided on by these groups: approver; rob may not decide" in refused.err


def test_somebody_who_was_deactivated_is_not_let_in(run, ann, as_ann):
    ann.is_active = False
    ann.save()

    assert as_ann("approve", str(run.pk)).code == 3


@pytest.mark.parametrize("verb", ["approve", "reject", "revoke", "start", "withdraw", "review"])
def test_a_run_that_is_not_there_is_bad_usage(ann, as_ann, verb):
    more = {"reject": ("--comment", "no"), "revoke": ("--comment", "no"), "review": ("--note", "no")}.get(verb, ())
    ended = memops(verb, "77") if verb in ("start", "withdraw") else as_ann(verb, "77", *more)

    assert ended.code == 2
    assert "There is no run 77" in ended.err


def test_breaking_the_glass_runs_at_once_and_needs_a_review(ann, as_ann):
    done = memops(*ASK, "--break-glass", "INC-4711")
    run = Run.objects.get(kind="rollback")
    assert (done.code, run.state, run.incident) == (0, "done", "INC-4711")
    assert "Started without approvals. Somebody else has to review it" in done.out

    refused = memops("undo", str(run.pk), "--confirm", "default", "--reason", "over")
    assert refused.code == 3
    assert f"manage.py memops review {run.pk}" in refused.err
    status = memops("status")
    assert status.code == 1
    assert "Until somebody else has reviewed it, default takes no new run" in status.out
    assert "overdue" not in status.out
    with guard_off("memops_console_run", "memops_run_guard"):
        Run.objects.filter(pk=run.pk).update(requested_at=run.requested_at - timedelta(hours=73))
    assert "The review is overdue." in memops("status").out
    reviewed = as_ann("review", str(run.pk), "--note", "It could not wait.", "--json")
    assert (reviewed.code, reviewed.data["run"]["review"]["by"]) == (0, "ann")
    assert memops("status").code == 0
    assert GlassReview.objects.get().reviewer_name == "ann"
    assert "run.reviewed" in actions(run=run.pk)


@pytest.mark.parametrize("incident", ["", "   ", "x" * 101])
def test_breaking_the_glass_without_an_incident_is_bad_usage(ann, incident):
    refused = memops(*ASK, "--break-glass", incident)

    assert refused.code == 2
    assert not Run.objects.filter(kind="rollback").exists()


def test_a_window_is_asked_for_and_kept_to(run, as_ann):
    memops("withdraw", str(run.pk))
    begins = datetime.now(UTC) + timedelta(hours=1)

    asked = memops(*ASK, "--not-before", begins.isoformat(timespec="minutes"), "--json")

    late = asked.data["run"]["id"]
    assert asked.data["run"]["not_before"].startswith(f"{begins:%Y-%m-%dT%H:%M}")
    as_ann("approve", str(late))
    refused = memops("start", str(late))
    assert refused.code == 3
    assert "only in its maintenance window" in refused.err


@pytest.mark.parametrize("when", ["tomorrow", "", "2020-01-01T00:00"])
def test_what_is_no_window_is_bad_usage(ann, when):
    refused = memops(*ASK, "--not-after", when)

    assert refused.code == 2
    assert "The maintenance window cannot be used" in refused.err
    assert not Run.objects.filter(kind="rollback").exists()
