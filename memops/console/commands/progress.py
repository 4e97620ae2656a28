"""The steps of a run on the screen: each when it ends, and how far the present one is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from django.db import DatabaseError, connections
from rich.status import Status
from rich.text import Text

from memops.console.characters import shown
from memops.console.commands.output import Output
from memops.console.models import Run, Step
from memops.console.units import duration, size

BETWEEN_LOOKS_SECONDS = 0.2
BETWEEN_LINES_SECONDS = 2.0


class Shown:
    """What of a run has been shown already. On a terminal the present step has a line that moves; a pipe gets a line
    of its own every two seconds."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self.ended: set[str] = set()
        self.told_at = time.monotonic()
        self.moving: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        self._still()

    def show(self, run: Run) -> None:
        steps = list(run.steps.all())
        for number, step in enumerate(steps, 1):
            title = f"  {number}/{len(steps)} {step.title}"
            if step.ended_at and step.name not in self.ended:
                self.ended.add(step.name)
                self._still()
                took = f" in {duration(step.took)}" if step.took else ""
                style = {Step.State.DONE: "green", Step.State.SKIPPED: "dim"}.get(Step.State(step.state), "red")
                self.out.say(f"{title}: {step.get_state_display().lower()}{took}", style=style)
                self.told_at = time.monotonic()
            elif step.state == Step.State.RUNNING:
                self._at_work(f"{title}: {how_far(step)}")

    def _at_work(self, text: str) -> None:
        if self.out.screen.is_terminal:
            line = Text(shown(text))
            if self.moving is None:
                self.moving = self.out.screen.status(line)
                self.moving.start()
            else:
                self.moving.update(line)
        elif time.monotonic() - self.told_at > BETWEEN_LINES_SECONDS:
            self.told_at = time.monotonic()
            self.out.say(text, style="dim")

    def _still(self) -> None:
        if self.moving is not None:
            self.moving.stop()
            self.moving = None


@contextmanager
def shown_beside(run: Run, shown: Shown) -> Iterator[None]:
    """Show a run from a second thread, while this one does the work and gets the Ctrl-C."""
    over = threading.Event()

    def show_until_over() -> None:
        try:
            while not over.wait(BETWEEN_LOOKS_SECONDS):
                shown.show(run)
        except DatabaseError:
            return  # The thread at work meets it too, and says what it means for the run.
        finally:
            connections.close_all()

    thread = threading.Thread(target=show_until_over, name=f"shows run {run.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    shown.show(run)


def how_far(step: Step) -> str:
    if step.progress_done is None:
        return "running"
    done = size(step.progress_done) if step.progress_unit == "bytes" else f"{step.progress_done:,} {step.progress_unit}"
    return f"{step.percent} %, {done}" if step.percent is not None else done
