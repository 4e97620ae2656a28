"""Execute a run: claim it, take its steps one by one, and write down how it ended."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from typing import Any

import structlog
from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, OperationalError
from django.db.models.functions import Now

from memops.console.audit import SYSTEM, anchors, configuration, record, record_or_log
from memops.console.errors import ClaimLost, ConsoleError, OutcomeUnknown, Refused, StepCrashed
from memops.console.interruption import forget_connection, once_more
from memops.console.models import RUN_ENDS, STEP_ENDS, Run, Step
from memops.console.pg import trail
from memops.console.runs import checklists, claim, history, policy, settle
from memops.console.runs.claim import Claim
from memops.console.runs.kinds import steps_of
from memops.console.runs.log import RecordedLog
from memops.console.runs.plan import still_holds
from memops.console.steps import NotNeeded, StepKind

INTERRUPTED = "The process that did the work was asked to stop."

journal = structlog.get_logger("memops.run")


def advance(run_id: int) -> Run | None:
    """Do the work of a queued run. None: it is not queued any more, or somebody else does it.

    Never raises for what the run meets: that is on the run. An interruption (Ctrl-C, the end of the worker) is recorded
    and passed on. Raises OtherRelease, RecordsMissing: the run is queued as before.
    """
    with trail.kept_open(), claim.claimed(run_id) as claimed:
        if claimed is None:
            return None
        run = claimed.run
        journal.info("claimed", run=run.pk, kind=run.kind, target=run.target_id)
        try:
            _see_through(claimed)
        except (OperationalError, InterfaceError) as gone:
            # Nobody can write down how it ended now; whoever reconciles reads it from the target.
            forget_connection()
            journal.error("the console's database is away", run=run.pk, error=type(gone).__name__)
    return run


def _see_through(claimed: Claim) -> None:
    """Do the work, and write down how it ended."""
    run = claimed.run
    try:
        _work(claimed)
    except Exception as error:
        forget_connection()  # What has ended the work may have ended the console's session as well.
        if isinstance(error, ClaimLost) or not claimed.is_still_ours():
            journal.error("claim lost", run=run.pk, error=str(error) or type(error).__name__)
            return
        _end_badly(run, error)
    except BaseException:
        forget_connection()
        # Between two steps, one may still be said to run.
        for step in run.steps.filter(state=Step.State.RUNNING):
            _close(step, Step.State.INTERRUPTED, error=INTERRUPTED)
        _end(run, Run.State.INTERRUPTED, INTERRUPTED)
        _closing(run)
        raise
    else:
        once_more(lambda: _end(run, Run.State.DONE, ""))
    _closing(run)


def _work(claimed: Claim) -> None:
    run = claimed.run
    configuration.notice()
    anchors.demand_unbroken()
    record("run.claimed", actor=SYSTEM, run=run, worker=run.worker)
    with claim.target_held(claimed) as held:
        history.notice(run.target_id)
        policy.demand_kept(run)
        still_holds(run)
        for kind in steps_of(run.kind, emergency=run.emergency):
            held.confirm()
            _take(run, kind)
        held.confirm()


def _end_badly(run: Run, error: Exception) -> None:
    match error:
        case OutcomeUnknown():
            Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(state=Run.State.UNKNOWN, error=str(error))
        case Refused():
            _end(run, Run.State.REFUSED, str(error))
        case ConsoleError():
            _end(run, Run.State.FAILED, str(error))
        case _:
            journal.error("crashed", run=run.pk, exc_info=error)
            _end(run, Run.State.FAILED, str(StepCrashed(problem=type(error).__name__)))


def _closing(run: Run) -> None:
    """The last event of a run, and the chain's head of then, outside the database."""
    run.refresh_from_db()
    checklists.tick(run)
    record_or_log("run.ended", actor=SYSTEM, run=run, state=run.state, outcome=run.outcome, error=run.error)
    anchors.anchor_or_log()
    journal.info("ended", run=run.pk, state=run.state, outcome=run.outcome)


def _take(run: Run, kind: StepKind) -> None:
    """Execute one step and commit what it saw."""
    step = run.steps.get(name=kind.name)
    record("step.begun", actor=SYSTEM, run=run, object_type="step", object_id=kind.name)
    once_more(lambda: Step.objects.filter(pk=step.pk).update(state=Step.State.RUNNING, started_at=Now()))
    journal.info("step", run=run.pk, step=kind.name)
    log = RecordedLog(step=step)
    try:
        saw = kind.perform(run, log)
    except NotNeeded as reason:
        log.line(str(reason))
        _close(step, Step.State.SKIPPED)
    except ConsoleError as error:
        log.line(str(error))
        _close(step, Step.State.FAILED, error=str(error))
        raise
    except Exception as crash:
        forget_connection()
        _close(step, Step.State.FAILED, error=str(StepCrashed(problem=type(crash).__name__)))
        raise
    except BaseException:
        forget_connection()
        _close(step, Step.State.INTERRUPTED, error=INTERRUPTED)
        raise
    else:
        _close(step, Step.State.DONE, saw={**step.saw, **_as_data(saw)})


def _close(step: Step, state: Step.State, *, saw: dict[str, Any] | None = None, error: str = "") -> None:
    seen = {"saw": saw} if saw else {}  # Otherwise what it has kept while it worked.
    # One that is not running any more was closed by whoever took this process for lost.
    at_work = Step.objects.filter(pk=step.pk, state=Step.State.RUNNING)
    once_more(lambda: at_work.update(state=state, ended_at=STEP_ENDS, error=error, **seen))
    record_or_log("step.ended", actor=SYSTEM, run=step.run, object_type="step", object_id=step.name, state=state)


def _end(run: Run, state: Run.State, error: str) -> None:
    """The state is this process's to say; what happened to the table is the target's."""
    found = settle.outcome_of(run)
    if state == Run.State.REFUSED and found.outcome != Run.Outcome.NOTHING:
        state = Run.State.FAILED  # A refusal says that nothing was changed; something was, before it.
    if found.is_unknown:
        Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(state=Run.State.UNKNOWN, error=error)
        return
    Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(
        state=state, ended_at=RUN_ENDS, error=error, outcome=found.outcome
    )


def _as_data(saw: Any) -> dict[str, Any]:
    data = asdict(saw) if is_dataclass(saw) and not isinstance(saw, type) else dict(saw or {})
    readable: dict[str, Any] = json.loads(json.dumps(data, cls=DjangoJSONEncoder))
    return readable
