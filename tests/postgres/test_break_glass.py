"""Without approvals in an incident: people are told, every check is made, and somebody else has to look at it."""

import json
from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from memops.console.errors import IncidentMissing, NeedsReview, NotAnApprover, NotReviewable, OwnRequest, PlanRefused
from memops.console.models import AuditEvent, Run
from memops.console.runs import advance, approvals
from memops.console.runs.plan import plan_rollback
from tests.postgres.people import TWO, ask_for, person, request_backup
from tests.postgres.test_anchors import hook  # noqa: F401
from tests.postgres.test_audit import actions


@pytest.fixture
def rita(console_db, settings):
    settings.MEMOPS_APPROVALS = TWO
    return person("rita", "requester", "approver")


@pytest.fixture
def broken(rita) -> Run:
    run = request_backup(rita, break_glass=True, incident="INC-4711")
    advance.advance(run.pk)
    run.refresh_from_db()
    return run


def test_it_is_queued_at_once_and_does_its_work(broken):
    assert (broken.state, broken.break_glass, broken.incident) == ("done", True, "INC-4711")
    assert "run.glass_broken" in actions(run=broken.pk)


@pytest.mark.parametrize("incident", ["", "  ", "x" * 101, "INC\u202e1"])
def test_it_needs_an_incident_that_can_be_read(rita, incident):
    with pytest.raises(IncidentMissing):
        request_backup(rita, break_glass=True, incident=incident)
    assert not Run.objects.exists()


def test_it_waives_people_and_no_check(rita, tamperer):
    tamperer.execute("create view newest as select id from memory_chunks")

    with pytest.raises(PlanRefused, match="newest"):
        ask_for(plan_rollback("default"), rita, break_glass=True, incident="INC-1")


def test_the_target_takes_no_other_run_until_somebody_else_has_reviewed_it(broken, rita):
    with pytest.raises(NeedsReview, match=f"Run {broken.pk}"):
        request_backup(rita)
    with pytest.raises(OwnRequest):
        approvals.review(broken, by=rita, note="fine by me")
    with pytest.raises(NotAnApprover):
        approvals.review(broken, by=person("zoe", "executor"), note="fine by me")

    approvals.review(broken, by=person("ann", "approver"), note="It could not wait.")

    assert request_backup(rita).state == "awaiting"
    assert approvals.unreviewed() == []
    with pytest.raises(NotReviewable):
        approvals.review(broken, by=person("bob", "approver"), note="again")


def test_a_review_is_kept_and_not_the_requesters_by_plain_sql_either(broken, rita, tamperer):
    insert = (
        "insert into memops_console_glassreview (run_id, requester_key, reviewer_id, reviewer_key, reviewer_name, note)"
        " values (%s, %s, %s, %s, 'x', 'x')"
    )
    with pytest.raises(psycopg.errors.CheckViolation):
        tamperer.execute(insert, [broken.pk, broken.requester_key, rita.pk, broken.requester_key])
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        tamperer.execute(insert, [broken.pk, "user:0", rita.pk, broken.requester_key])
    approvals.review(broken, by=person("ann", "approver"), note="It could not wait.")
    for statement in ("update memops_console_glassreview set note = 'x'", "delete from memops_console_glassreview"):
        with pytest.raises(psycopg.errors.CheckViolation):
            tamperer.execute(statement)


def test_a_review_is_overdue_after_three_days(broken):
    assert not approvals.is_overdue(broken)
    broken.requested_at = timezone.now() - timedelta(hours=73)
    assert approvals.is_overdue(broken)


def test_people_are_told_at_once(rita, hook, settings):  # noqa: F811
    settings.MEMOPS_NOTIFY_WEBHOOK = settings.MEMOPS_ANCHOR_WEBHOOK

    run = request_backup(rita, break_glass=True, incident="INC-4711")

    (told,) = hook.taken
    assert (told["event"], told["run"], told["requester"], told["incident"]) == (
        "break-glass", run.pk, "rita", "INC-4711",
    )  # fmt: skip
    assert "run.notified" in actions(run=run.pk)


def test_a_webhook_that_fails_holds_nothing_up_and_is_kept_without_its_address(rita, settings):
    settings.MEMOPS_NOTIFY_WEBHOOK = "http://127.0.0.1:1/planted-secret"

    run = request_backup(rita, break_glass=True, incident="INC-4711")

    assert run.state == "queued"
    kept = AuditEvent.objects.get(run=run.pk, action="run.not_notified")
    assert "cannot be reached" in json.loads(kept.details)["problem"]
    assert "planted-secret" not in kept.details


def test_where_no_approval_is_needed_there_is_no_glass_to_break(rita, settings):
    settings.MEMOPS_APPROVALS = [TWO[0] | {"needed": 0}]

    run = request_backup(rita, break_glass=True)

    assert (run.state, run.break_glass) == ("queued", False)
