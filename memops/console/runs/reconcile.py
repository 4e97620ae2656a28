"""Settle what was left open: runs whose worker is gone, and runs whose outcome could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction

from memops.console.audit import anchors, record_or_log
from memops.console.models import RUN_ENDS, STEP_ENDS, Run, Step
from memops.console.runs import checklists, claim, leftovers, queue, settle
from memops.console.runs.request import Requester


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What reconcile did with one run: ``run.state`` is what it is now, ``was`` what it was, ``removed`` what the lost
    worker had left behind."""

    run: Run
    was: str
    text: str
    removed: list[str] = field(default_factory=list)


def is_lost(run: Run) -> bool:
    """It is said to be running, and no living process holds it.

    A worker lets go of a run after it has said how the run ended. ``run`` may have been read before that, so where
    nobody holds it, its state is read once more.
    """
    return (
        run.state == Run.State.RUNNING
        and not claim.is_held(run)
        and Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).exists()
    )


def reconcile(*, requester: Requester, only: Run | None = None) -> list[Settled]:
    """Read the truth about every lost and unknown run, and ring again for queued ones that no bell is waiting for.

    A run is never continued: what it had not done is not done, and a new one can be asked for.
    """
    settled = []
    active = Run.objects.filter(state__in=Run.ACTIVE).select_related("target").order_by("pk")
    for run in active.filter(pk=only.pk) if only else active:
        if run.state == Run.State.QUEUED:
            if not queue.is_waiting(run):
                queue.ring(run)
                settled.append(
                    Settled(run=run, was=run.state, text="its entry in the queue was lost; it is queued again")
                )
        elif run.state == Run.State.UNKNOWN or is_lost(run):
            settled.append(_settle(run, requester))
    return settled


def _settle(run: Run, requester: Requester) -> Settled:
    was = run.state
    found = settle.outcome_of(run, patience=timedelta(seconds=2))
    # Before it is settled: who is killed in the middle of this leaves a run that is still to be settled.
    removed = [] if found.is_unknown else leftovers.clear(run)
    run.refresh_from_db()
    if found.is_unknown:
        Run.objects.filter(pk=run.pk, state=was).update(state=Run.State.UNKNOWN)
        run.refresh_from_db()
        return Settled(run=run, was=was, text="the target still does not say what happened; try again when it answers")
    outcome = Run.Outcome(found.outcome).label
    error = (
        f"The worker ({run.worker or 'not known'}) was lost. {requester.name} reconciled it; the target's records say:"
        f" {outcome[0].lower()}{outcome[1:]}."
    )
    with transaction.atomic():
        # A process that has lost its lock may live, and have begun a transaction that nobody has asked about yet. From
        # here on it begins none (``remember_transaction``).
        changed = Run.objects.filter(pk=run.pk, state=was, xid=found.xid).update(
            state=Run.State.INTERRUPTED, ended_at=RUN_ENDS, outcome=found.outcome, error=error
        )
        if changed:
            Step.objects.filter(run=run, state=Step.State.RUNNING).update(
                state=Step.State.INTERRUPTED, ended_at=STEP_ENDS, error="The worker was lost."
            )
    run.refresh_from_db()
    if not changed and run.state == was:
        return _settle(run, requester)
    if not changed:
        return Settled(run=run, was=was, text=f"it ended meanwhile: {run.get_state_display().lower()}")
    record_or_log(
        "run.settled", actor=requester.name, run=run, was=was, state=run.state, outcome=run.outcome, removed=removed
    )
    checklists.tick(run)
    anchors.anchor_or_log()
    also = f"; removed: {', '.join(removed)}" if removed else ""
    return Settled(run=run, was=was, text=f"{outcome[0].lower()}{outcome[1:]}{also}", removed=removed)
