"""Ask for a run: store it with its plan and steps, and ring the queue, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from memops.console import characters
from memops.console.audit import anchors, configuration, record, record_or_log
from memops.console.errors import (
    ConsoleError,
    IncidentMissing,
    NeedsReview,
    NeverWithoutApprovals,
    NonceUsed,
    NotCancellable,
    PlanRefused,
    ReasonMissing,
    ReasonUnreadable,
    StalePlan,
    TargetBusy,
    WindowWithoutApprovals,
)
from memops.console.models import RUN_ENDS, Run, Step
from memops.console.models.plans import Plan
from memops.console.pg import clock
from memops.console.runs import notify, queue
from memops.console.runs.policy import policy_for
from memops.console.runs.window import ANY_TIME, Window

LONGEST_REASON = 2000
LONGEST_INCIDENT = 100


@dataclass(frozen=True, kw_only=True)
class Requester:
    """Who asks, and through which door."""

    name: str
    origin: Run.Origin
    user: User | None = None

    @property
    def key(self) -> str:
        """What stands for this person where approvals are counted."""
        return key_of(self.user) if self.user is not None else f"account:{self.name}"


def key_of(user: User) -> str:
    return f"user:{user.pk}"


def submit(
    plan: Plan,
    *,
    requester: Requester,
    reason: str,
    seen_digest: str,
    nonce: str | None = None,
    break_glass: bool = False,
    incident: str = "",
    window: Window = ANY_TIME,
) -> Run:
    """Store the run that ``plan`` describes; the audit trail has it first. It is queued for a worker, or awaits
    approval where the policy says so, or its ``window``.

    ``break_glass`` waives the approvals, never the checks: somebody else has to review the run afterwards, and until
    then its target takes no other.

    ``seen_digest`` is the digest of the plan that the requester has read: if that is not this plan, nothing is started.
    Raises PlanRefused, StalePlan, ReasonMissing, ReasonUnreadable, TargetBusy, NonceUsed, ChainBroken, AuditUnwritable,
    NeedsReview, IncidentMissing, WindowInvalid, WindowWithoutApprovals, NeverWithoutApprovals.
    """
    try:
        run = _stored(
            plan,
            requester=requester,
            reason=reason,
            seen_digest=seen_digest,
            nonce=nonce,
            glass=_Glass(is_broken=break_glass, incident=incident),
            window=window,
        )
    except ConsoleError as error:
        record_or_log(
            "run.not_accepted",
            actor=requester.name,
            target=plan.target,
            kind=plan.kind,
            why=type(error).__name__,
            origin=requester.origin,
        )
        raise
    if run.break_glass:
        notify.glass_broken(run)
    return run


@dataclass(frozen=True, kw_only=True)
class _Glass:
    is_broken: bool
    incident: str

    def checked(self) -> str:
        """The incident, as it is kept: on one line. Raises IncidentMissing."""
        text = self.incident.strip()
        if not text or len(text) > LONGEST_INCIDENT or characters.hidden(text, lines=False):
            raise IncidentMissing()
        return text


def _stored(
    plan: Plan, *, requester: Requester, reason: str, seen_digest: str, nonce: str | None, glass: _Glass, window: Window
) -> Run:
    reason = readable_reason(reason)
    policy = policy_for(plan.target, plan.approved_as)
    if glass.is_broken and plan.purge is not None:
        raise NeverWithoutApprovals()
    waived = glass.is_broken and policy.needed > 0
    incident = glass.checked() if waived else ""
    awaits = (policy.needed > 0 and not waived) or window.not_before is not None
    if waived and window:
        raise WindowWithoutApprovals()
    window.check()
    if nonce and (first := Run.objects.filter(nonce=nonce).first()):
        raise NonceUsed(run=first.pk)
    if seen_digest != plan.digest:
        raise StalePlan(target=plan.target, changes="the plan that was shown is not the plan of now")
    if not plan.is_possible:
        raise PlanRefused(
            kind=plan.kind, target=plan.target, reasons=" ".join(finding.text for finding in plan.refusals)
        )
    unseen = Run.objects.filter(target=plan.target, break_glass=True, glass_review=None).first()
    if unseen is not None:
        raise NeedsReview(run=unseen.pk, target=plan.target)
    configuration.notice()
    anchors.demand_unbroken()
    try:
        with transaction.atomic():
            run = Run.objects.create(
                target_id=plan.target,
                kind=plan.kind,
                emergency=plan.emergency,
                origin=requester.origin,
                plan=plan.as_json(),
                digest=plan.digest,
                requester=requester.user,
                requester_name=requester.name,
                requester_key=requester.key,
                state=Run.State.AWAITING if awaits else Run.State.QUEUED,
                approvals_needed=policy.needed,
                approver_groups=",".join(policy.groups) if policy.needed else "",
                expires_at=window.until(policy.valid_for) if awaits else None,
                not_before=window.not_before,
                not_after=window.not_after,
                break_glass=waived,
                incident=incident,
                reason=reason,
                nonce=nonce,
                undoes_id=plan.undoes,
                subject_id=plan.subject,
                purges_id=plan.purge.table if plan.purge else None,
                server=plan.binding.get("server", ""),
            )
            Step.objects.bulk_create(
                Step(run=run, position=position, name=planned.name, title=planned.title)
                for position, planned in enumerate(plan.steps, 1)
            )
            if not awaits:
                queue.ring(run)
            record(
                "run.requested",
                actor=requester.name,
                run=run,
                kind=run.kind,
                emergency=run.emergency,
                digest=run.digest,
                end_idle_seconds=plan.binding.get("end_idle_seconds"),
                without_backup=plan.binding.get("without_backup"),
                subject=plan.subject,
                rows_choice=plan.rows_choice,
                origin=run.origin,
                approvals_needed=policy.needed,
                break_glass=waived,
                incident=incident,
                window=run.window,
            )
    except IntegrityError as error:
        if nonce and (first := Run.objects.filter(nonce=nonce).first()):
            raise NonceUsed(run=first.pk) from error
        active = Run.objects.filter(target_id=plan.target, state__in=Run.ACTIVE).first()
        if active is None:
            raise
        raise TargetBusy(target=plan.target, run=active.pk, state=active.get_state_display().lower()) from error
    run.refresh_from_db()
    return run


def cancel(run: Run, *, requester: Requester) -> Run:
    """Take back a run that no worker has claimed yet. Raises NotCancellable, AuditUnwritable."""
    record("run.cancel_asked", actor=requester.name, run=run)
    cancelled = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED).update(
        state=Run.State.CANCELLED,
        ended_at=RUN_ENDS,
        outcome=Run.Outcome.NOTHING,
        error=f"Cancelled by {requester.name} at {clock.now():%H:%M:%S} UTC, before a worker had claimed it.",
    )
    run.refresh_from_db()
    if not cancelled:
        raise NotCancellable(run=run.pk, state=run.get_state_display().lower())
    record_or_log("run.cancelled", actor=requester.name, run=run)
    anchors.anchor_or_log()
    return run


def readable_reason(reason: str, *, what: str = "reason") -> str:
    """A reason, a comment, a note (``what``), as it is kept. Control and direction characters would let it show as
    something else than it says. Raises ReasonMissing, ReasonUnreadable."""
    reason = reason.strip()
    if len(reason) > LONGEST_REASON:
        raise ReasonUnreadable(what=what, problem=f"has {len(reason)} characters; {LONGEST_REASON} are kept")
    if hidden := characters.hidden(reason):
        raise ReasonUnreadable(what=what, problem=f"has characters that do not show: {hidden}")
    if not reason:
        raise ReasonMissing(what=what)
    return reason


def readable_note(note: str, *, what: str = "note") -> str:
    """The same for what may be left out. Raises ReasonUnreadable."""
    return readable_reason(note, what=what) if note.strip() else ""
