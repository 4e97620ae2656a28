"""What the run page shows, and its live fragment with it: how far it is, what every step saw, what can be done now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User

from memops.console import units
from memops.console.admin import offers, permissions, readable
from memops.console.models import QuarantinedTable, Run, Step
from memops.console.runs import approvals, idle, queue, reconcile

PROOFS = ("verify", "proof", "load", "trial", "purge", "postcheck", "compare")
"""Steps whose checks, together, are the proof that a run did what it should."""

ENDED_BADLY = (Step.State.FAILED, Step.State.INTERRUPTED)

LONGEST_LOG = 20_000
"""Characters of a step's log that a page starts with; the whole of it can be downloaded."""

TAKEN_AWAY = (Run.Outcome.QUARANTINED, Run.Outcome.DROPPED)
HAS_A_WAY_BACK = (*TAKEN_AWAY, Run.Outcome.RECOVERED)

NO_WORKER = "No worker is alive: runs will wait. Start one: manage.py memops up"


@dataclass(frozen=True, kw_only=True)
class ShownStep:
    """A step as the page shows it."""

    step: Step
    word: str
    state: str
    lines: list[readable.Line]
    checks: list[readable.Check]
    is_open: bool
    progress: str
    log: str
    log_is_cut: bool

    @property
    def failed_checks(self) -> int:
        return sum(not check.ok for check in self.checks)


def live(run: Run, user: User | AnonymousUser) -> dict[str, Any]:
    """The context of the live fragment. Without a clock in it: the page swaps it in only when something has changed, so
    that a button does not vanish between pressing and releasing it.
    """
    lost = reconcile.is_lost(run)
    steps = list(run.steps.all())
    state, word = state_of(run, lost=lost)
    table = QuarantinedTable.objects.select_related("target", "run").filter(run=run).first()
    undos = list(run.undone_by.select_related("target"))
    return {
        "run": run,
        "state": state,
        "word": word,
        "lost": lost,
        "sentence": sentence(run, steps, lost=lost),
        "began": run.claimed_at or run.requested_at,
        "steps": [_shown(step, lost=lost) for step in steps],
        "proof": _proof(steps) if run.state == Run.State.DONE else [],
        "quarantined": table,
        "ended_sessions": [idle.named(one) for step in steps for one in step.ended_sessions],
        "backups": list(run.backups.select_related("target")),
        "undos": undos,
        "undo": _undo(run, user, table, undos),
        "brings_back": run.plan.get("brings_back", "") if run.outcome in HAS_A_WAY_BACK else "",
        "cancel": run.state == Run.State.QUEUED,
        "cancel_why_not": _why_not(run, user),
        "reconcile": lost or run.state == Run.State.UNKNOWN or _bell_is_lost(run),
        "reconcile_why_not": _why_not(run, user),
    }


def state_of(run: Run, *, lost: bool) -> tuple[str, str]:
    """What a run's state is called, and its word."""
    if run.state == Run.State.AWAITING and approvals.is_approved(run):
        return run.state, "Awaiting its start"
    return ("lost", "Worker lost") if lost else (run.state, run.get_state_display())


def sentence(run: Run, steps: list[Step], *, lost: bool) -> str:
    """Where a run stands, in one sentence; screen readers hear it when it changes."""
    if lost:
        return (
            f"The process that did the work ({run.worker or 'unknown'}) is gone. Nothing more happens by itself. "
            "Reconcile reads from the target what was done and closes the run."
        )
    at = next((step for step in steps if step.state in (Step.State.RUNNING, *ENDED_BADLY)), None)
    where = f"step {at.position} of {len(steps)}: {at.title}" if at else ""
    outcome = run.get_outcome_display() or "Nothing is recorded about the table"
    match run.state:
        case Run.State.AWAITING:
            if approvals.is_approved(run):
                return "Nothing is started. It waits for somebody to start it."
            return "Nothing is started. It waits until it is approved, and somebody starts it."
        case Run.State.REJECTED | Run.State.WITHDRAWN | Run.State.EXPIRED:
            return "It was never started. Nothing was changed."
        case Run.State.QUEUED:
            return "Waiting for a worker." if queue.worker_is_alive() else NO_WORKER
        case Run.State.RUNNING:
            return f"At {where}." if where else "Claimed by a worker; the first step starts."
        case Run.State.DONE:
            return f"{outcome}."
        case Run.State.UNKNOWN:
            return (
                "Whether the change happened could not be read from the target, and the target takes no other run "
                "until that is known. Reconcile asks the target again."
            )
        case Run.State.CANCELLED:
            return "Cancelled before a worker had claimed it. Nothing was changed."
        case _:
            return (
                f"{run.get_state_display()}{f' at {where}' if where else ''}. What the target says: {outcome.lower()}."
            )


def _shown(step: Step, *, lost: bool) -> ShownStep:
    stopped = lost and step.state == Step.State.RUNNING
    checks = readable.checks(step.saw)
    return ShownStep(
        step=step,
        state="lost" if stopped else step.state,
        word="Worker lost" if stopped else step.get_state_display(),
        lines=readable.lines(step.saw),
        checks=checks,
        is_open=step.state in (Step.State.RUNNING, *ENDED_BADLY) or any(not check.ok for check in checks),
        progress=_progress(step),
        log=step.log[-LONGEST_LOG:],
        log_is_cut=len(step.log) > LONGEST_LOG,
    )


def _progress(step: Step) -> str:
    """12.0 MB of 64.2 MB; the words beside the bar."""
    if step.progress_done is None or step.state != Step.State.RUNNING:
        return ""

    def amount(number: int) -> str:
        return units.size(number) if step.progress_unit == "bytes" else f"{number:,} {step.progress_unit}"

    total = f" of {amount(step.progress_total)}" if step.progress_total else ""
    return f"{amount(step.progress_done)}{total}"


def _proof(steps: list[Step]) -> list[tuple[Step, list[readable.Check]]]:
    return [(step, found) for step in steps if step.name in PROOFS and (found := readable.checks(step.saw))]


def _undo(
    run: Run, user: User | AnonymousUser, table: QuarantinedTable | None, undos: list[Run]
) -> offers.Offer | None:
    """The way back from a run that left a table in quarantine."""
    if run.kind not in (Run.Kind.ROLLBACK, Run.Kind.RESTORE) or run.is_active or table is None:
        return None
    done = next((undo for undo in undos if undo.state == Run.State.DONE), None)
    hindered = f"Run {done.pk} has moved the table back." if done else offers.hindrance(run.target)
    return offers.for_quarantined(user, table, hindered=hindered)[0]


def _bell_is_lost(run: Run) -> bool:
    """It waits, and nothing in the queue will ever wake a worker for it."""
    return run.state == Run.State.QUEUED and not queue.is_waiting(run)


def _why_not(run: Run, user: User | AnonymousUser) -> str:
    permission = permissions.FOR_KIND[run.kind]
    return "" if permissions.may(user, permission, run.target) else permissions.missing(permission)
