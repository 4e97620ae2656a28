"""Which steps each kind of run is made of, in which order."""

from __future__ import annotations

from memops.console.models import Run
from memops.console.models.plans import PlannedStep
from memops.console.steps import StepKind
from memops.console.steps.backup import back_up
from memops.console.steps.baseline import baseline
from memops.console.steps.bring_in import bring_in
from memops.console.steps.build import build
from memops.console.steps.compare import compare
from memops.console.steps.load import load
from memops.console.steps.move_back import move_back
from memops.console.steps.postcheck import postcheck
from memops.console.steps.precheck import precheck
from memops.console.steps.proof import proof
from memops.console.steps.purge import purge
from memops.console.steps.reverse import reverse
from memops.console.steps.swap import swap
from memops.console.steps.trial import try_out
from memops.console.steps.verify import verify

GUIDED = (precheck, baseline, back_up, verify, reverse, postcheck, compare)
EMERGENCY = (precheck, baseline, reverse, postcheck, back_up, verify)
UNDO = (precheck, move_back, postcheck)
BACKUP = (precheck, back_up, verify)
VERIFICATION = (verify,)
PURGE = (precheck, proof, purge, postcheck)
RESTORE = (precheck, load, bring_in, build, try_out, swap, postcheck)


def steps_of(kind: str, *, emergency: bool = False) -> tuple[StepKind, ...]:
    """The steps of a kind of run that memops executes."""
    if kind == Run.Kind.ROLLBACK:
        return EMERGENCY if emergency else GUIDED
    return {
        Run.Kind.UNDO.value: UNDO,
        Run.Kind.BACKUP.value: BACKUP,
        Run.Kind.VERIFY.value: VERIFICATION,
        Run.Kind.PURGE.value: PURGE,
        Run.Kind.RESTORE.value: RESTORE,
    }[kind]


def planned(kind: str, *, emergency: bool = False) -> list[PlannedStep]:
    return [PlannedStep(name=step.name, title=step.title) for step in steps_of(kind, emergency=emergency)]
