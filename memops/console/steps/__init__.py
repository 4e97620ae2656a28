"""One file a family of steps. A step does one thing, returns what it saw as data, and can be executed again.

It prints nothing, knows no request, and leaves its status to the runner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from memops.console.models import Run


class StepLog(Protocol):
    """Where a step tells what it is doing, while it does it."""

    def line(self, text: str) -> None: ...

    def progress(self, done: int, total: int | None, unit: str) -> None: ...

    def keep(self, **seen: Any) -> None: ...


@dataclass(frozen=True, kw_only=True)
class StepKind:
    """A step that kinds of run are made of."""

    name: str
    title: str
    perform: Callable[[Run, StepLog], Any]


class NotNeeded(Exception):
    """A step has found that there is nothing for it to do; its text says why."""


def step(name: str, title: str) -> Callable[[Callable[[Run, StepLog], Any]], StepKind]:
    """Make a function a step: ``name`` is what records and links use, ``title`` what people read."""

    def made(perform: Callable[[Run, StepLog], Any]) -> StepKind:
        return StepKind(name=name, title=title, perform=perform)

    return made
