"""Agree to a run, or not; take it back; start it when enough people have agreed.

What is checked here is checked again by the database (``migrations/approvals.sql``), which also answers who came first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Func, IntegerField, QuerySet, When
from django.db.models.functions import Now

from memops.console.audit import SYSTEM, anchors, record, record_or_log
from memops.console.errors import (
    AlreadyDecided,
    AlreadyStarted,
    NoDecision,
    NotAnApprover,
    NotAwaiting,
    NotExecuted,
    NotReviewable,
    OutsideWindow,
    OwnRequest,
    TargetBusy,
)
from memops.console.models import RUN_ENDS, Approval, GlassReview, Run
from memops.console.pg import clock
from memops.console.runs import queue
from memops.console.runs.policy import REVIEW_WITHIN
from memops.console.runs.request import Requester, key_of, readable_note, readable_reason

PERMISSION = "memops_console.approve_run"
GUARDS = ("run_is_approved", "run_is_not_expired", "run_is_what_was_asked_for", "run_does_not_wait_again")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far the approvals of a run are. ``valid`` is the database's own count."""

    decisions: list[Approval]
    valid: int
    needed: int

    @property
    def is_approved(self) -> bool:
        return self.valid >= self.needed

    @property
    def missing(self) -> int:
        return max(0, self.needed - self.valid)


def standing(run: Run) -> Standing:
    return Standing(decisions=list(run.approvals.all()), valid=_valid(run), needed=run.approvals_needed)


def counted(runs: QuerySet[Run]) -> QuerySet[Any]:
    """Runs with ``valid_approvals``, as the database counts them, where they await some."""
    valid = Func(F("pk"), function="public.memops_valid_approvals", output_field=IntegerField())
    return runs.annotate(valid_approvals=Case(When(state=Run.State.AWAITING, then=valid), default=None))


def is_approved(run: Run) -> bool:
    """Have enough people agreed to a run that awaits them? In a list, ``counted`` has asked for all of them at once."""
    valid = getattr(run, "valid_approvals", None)
    return (_valid(run) if valid is None else int(valid)) >= run.approvals_needed


def _valid(run: Run) -> int:
    valid = Func(F("pk"), function="public.memops_valid_approvals", output_field=IntegerField())
    return int(Run.objects.filter(pk=run.pk).annotate(valid=valid).values_list("valid", flat=True).get())


def awaiting() -> list[Run]:
    """What waits for a decision, or to be started. Expired requests are closed first."""
    expire()
    return list(counted(Run.objects.filter(state=Run.State.AWAITING).select_related("target")))


def unreviewed() -> list[Run]:
    """Runs that were started without approvals, and that nobody else has looked at; the oldest first."""
    return list(Run.objects.filter(break_glass=True, glass_review=None).select_related("target").order_by("pk"))


def is_overdue(run: Run) -> bool:
    return clock.now() - run.requested_at > REVIEW_WITHIN


def approve(run: Run, *, by: User, comment: str = "") -> Approval:
    """Raises NotAwaiting, OwnRequest, NotAnApprover, AlreadyDecided, ReasonUnreadable, AuditUnwritable."""
    return _decide(run, by=by, decision=Approval.Decision.APPROVED, comment=readable_note(comment, what="comment"))


def reject(run: Run, *, by: User, comment: str) -> Approval:
    """One is enough: the run ends as rejected. Raises as ``approve``, and ReasonMissing."""
    return _decide(run, by=by, decision=Approval.Decision.REJECTED, comment=readable_reason(comment, what="comment"))


def revoke(run: Run, *, by: User, comment: str) -> None:
    """Take one's own approval back. It counts if it is committed before a worker has claimed the run.

    Raises NoDecision, NotAwaiting, ReasonMissing, ReasonUnreadable, AuditUnwritable.
    """
    comment = readable_reason(comment, what="comment")
    record("approval.revoke_asked", actor=by.get_username(), run=run, comment=comment)
    with transaction.atomic():
        now = Run.objects.select_for_update().get(pk=run.pk)
        if now.state not in (Run.State.AWAITING, Run.State.QUEUED):
            raise NotAwaiting(run=run.pk, state=now.get_state_display().lower())
        own = Approval.objects.filter(
            run=run, approver=by, decision=Approval.Decision.APPROVED, revoked_at__isnull=True
        )
        if not own.update(revoked_at=Now(), revoked_comment=comment):
            raise NoDecision(run=run.pk)
    record_or_log("approval.revoked", actor=by.get_username(), run=run, comment=comment)


def withdraw(run: Run, *, requester: Requester, comment: str = "") -> Run:
    """Take a request back that nobody has started. Raises NotAwaiting, ReasonUnreadable, AuditUnwritable."""
    comment = readable_note(comment, what="comment")
    record("run.withdraw_asked", actor=requester.name, run=run, comment=comment)
    said = f"Withdrawn by {requester.name}{f': {comment}' if comment else ''}."
    _close(run, Run.State.WITHDRAWN, said, actor=requester.name, action="run.withdrawn")
    return run


def start(run: Run, *, requester: Requester) -> Run:
    """Queue a run that enough people have agreed to. Of many who press at once one wins; the others are told who.

    Raises AlreadyStarted, NotAwaiting, NotExecuted, OutsideWindow, TargetBusy, AuditUnwritable.
    """
    expire()
    record("run.start_asked", actor=requester.name, run=run)
    try:
        with transaction.atomic():
            won = Run.objects.filter(pk=run.pk, state=Run.State.AWAITING).update(
                state=Run.State.QUEUED, starter_name=requester.name, started_at=Now()
            )
            if won:
                queue.ring(run)
    except IntegrityError as error:
        raise refusal_of(error, run) from error
    run.refresh_from_db()
    if not won:
        state = run.get_state_display().lower()
        if run.starter_name:
            raise AlreadyStarted(run=run.pk, by=run.starter_name, state=state)
        raise NotAwaiting(run=run.pk, state=state)
    record_or_log("run.started", actor=requester.name, run=run)
    return run


def refusal_of(error: IntegrityError, run: Run) -> Exception:
    """What an error of the database's guards says, as one of ours."""
    diagnosis = getattr(error.__cause__, "diag", None)
    if diagnosis is not None and diagnosis.constraint_name == "run_is_in_its_window":
        return OutsideWindow(run=run.pk, target=run.target_id, window=run.window)
    if diagnosis is not None and diagnosis.constraint_name in GUARDS:
        found = standing(run)
        return NotExecuted(
            run=run.pk, target=run.target_id, problem=diagnosis.message_primary, valid=found.valid, needed=found.needed
        )
    active = Run.objects.filter(target=run.target_id, state__in=Run.ACTIVE).exclude(pk=run.pk).first()
    if active is None:
        return error
    return TargetBusy(target=run.target_id, run=active.pk, state=active.get_state_display().lower())


def review(run: Run, *, by: User, note: str) -> GlassReview:
    """Somebody else has looked at a run that was started without approvals.

    Raises NotReviewable, OwnRequest, NotAnApprover, ReasonMissing, ReasonUnreadable, AuditUnwritable.
    """
    note = readable_reason(note, what="note")
    _demand_another(run, by)
    if not by.has_perm(PERMISSION):
        raise NotAnApprover(name=by.get_username(), groups=run.approver_groups, run=run.pk)
    if not run.break_glass or run.is_open:
        raise NotReviewable(run=run.pk, state=run.get_state_display().lower())
    record("run.review_asked", actor=by.get_username(), run=run, note=note)
    try:
        with transaction.atomic():
            filed = GlassReview.objects.create(
                run=run,
                requester_key=run.requester_key,
                reviewer=by,
                reviewer_key=key_of(by),
                reviewer_name=by.get_username(),
                note=note,
            )
    except IntegrityError as error:
        raise NotReviewable(run=run.pk, state="reviewed") from error
    record_or_log("run.reviewed", actor=by.get_username(), run=run)
    return filed


def expire() -> list[int]:
    """Close requests whose time is over, by the database's clock; gives their numbers."""
    over = Run.objects.filter(state=Run.State.AWAITING, expires_at__lte=Now())
    closed = []
    for run in over:
        said = f"Nobody had started it by {run.expires_at:%Y-%m-%d %H:%M:%S} UTC. Ask for it again."
        try:
            _close(run, Run.State.EXPIRED, said, actor=SYSTEM, action="run.expired")
        except NotAwaiting:
            continue
        closed.append(run.pk)
    return closed


def _decide(run: Run, *, by: User, decision: Approval.Decision, comment: str) -> Approval:
    name = by.get_username()
    expire()
    run.refresh_from_db()
    if run.state != Run.State.AWAITING:
        raise NotAwaiting(run=run.pk, state=run.get_state_display().lower())
    _demand_another(run, by)
    if not by.has_perm(PERMISSION) or not by.groups.filter(name__in=run.approver_groups.split(",")).exists():
        raise NotAnApprover(name=name, groups=run.approver_groups.replace(",", ", "), run=run.pk)
    record("approval.asked", actor=name, run=run, decision=decision, comment=comment, digest=run.digest)
    try:
        with transaction.atomic():
            decided = Approval.objects.create(
                run=run,
                requester_key=run.requester_key,
                digest=run.digest,
                decision=decision,
                approver=by,
                approver_key=key_of(by),
                approver_name=name,
                comment=comment,
            )
            if decision == Approval.Decision.REJECTED:
                Run.objects.filter(pk=run.pk, state=Run.State.AWAITING).update(
                    state=Run.State.REJECTED,
                    ended_at=RUN_ENDS,
                    outcome=Run.Outcome.NOTHING,
                    error=f"Rejected by {name}: {comment}",
                )
    except IntegrityError as error:
        constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
        if constraint == "approval_one_a_person":
            raise AlreadyDecided(run=run.pk) from error
        run.refresh_from_db()
        raise NotAwaiting(run=run.pk, state=run.get_state_display().lower()) from error
    record_or_log(f"approval.{decision}", actor=name, run=run, comment=comment)
    if decision == Approval.Decision.REJECTED:
        anchors.anchor_or_log()
    run.refresh_from_db()
    return decided


def _demand_another(run: Run, by: User) -> None:
    if run.requester_key in (key_of(by), f"account:{by.get_username()}"):
        raise OwnRequest(run=run.pk, name=by.get_username())


def _close(run: Run, state: Run.State, said: str, *, actor: str, action: str) -> None:
    closed = Run.objects.filter(pk=run.pk, state=Run.State.AWAITING).update(
        state=state, ended_at=RUN_ENDS, outcome=Run.Outcome.NOTHING, error=said
    )
    run.refresh_from_db()
    if not closed:
        raise NotAwaiting(run=run.pk, state=run.get_state_display().lower())
    record_or_log(action, actor=actor, run=run)
    anchors.anchor_or_log()
