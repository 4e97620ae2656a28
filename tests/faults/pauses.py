"""A pause in a run, where a test wants to kill: real steps in a real process that says where it stands, and waits.

The product has no such switch. A process of the tests wraps the steps that it is about to take.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from memops.console.models import Run
from memops.console.runs import advance
from memops.console.steps import StepKind, StepLog

BEFORE, AFTER = "before", "after"
LONGEST_SECONDS = 120

Say = Callable[[str], None]


def install(pause_at: str, say: Say) -> None:
    """``pause_at`` is a step and whether to wait before its work or after it, as in "reverse after"; "" for nowhere.

    ``say`` gets the name of each step as it begins, and ``pause_at`` where the process waits.
    """
    steps_of = advance.steps_of

    def paused(kind: str, *, emergency: bool = False) -> tuple[StepKind, ...]:
        return tuple(_paused(step, pause_at, say) for step in steps_of(kind, emergency=emergency))

    advance.steps_of = paused


def _paused(step: StepKind, pause_at: str, say: Say) -> StepKind:
    def perform(run: Run, log: StepLog) -> Any:
        say(step.name)
        _wait(f"{step.name} {BEFORE}", pause_at, say)
        saw = step.perform(run, log)
        _wait(f"{step.name} {AFTER}", pause_at, say)
        return saw

    return replace(step, perform=perform)


def _wait(here: str, pause_at: str, say: Say) -> None:
    if here == pause_at:
        say(here)
        time.sleep(LONGEST_SECONDS)
