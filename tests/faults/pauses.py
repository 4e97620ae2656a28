"""A pause in a run, where a test wants to kill: real steps in a real process that says where it stands, and waits.

The product has no such switch. A process of the tests wraps the steps that it is about to take, and what they call.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from memops.console.models import Run
from memops.console.runs import advance
from memops.console.steps import StepKind, StepLog

BEFORE, AFTER = "before", "after"
LONGEST_SECONDS = 120
EACH_BOUNDARY = "each boundary"
"""Waits after every step, and says at which."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A call inside a step: ``what`` is called as "module:name"; the pause is before it or after it."""

    step: str
    what: str
    when: str


INSIDE = {
    "it is claimed": Place(step="", what="memops.console.runs.advance:still_holds", when=BEFORE),
    "precheck has looked": Place(step="precheck", what="memops.console.steps.examination:look", when=AFTER),
    "baseline samples": Place(step="baseline", what="memops.console.pg.metrics:sample", when=BEFORE),
    "backup has begun": Place(step="backup", what="memops.console.pg.dump:_pump", when=BEFORE),
    "backup has its archive": Place(step="backup", what="memops.console.pg.newfile:NewFile.put_down", when=AFTER),
    "backup has its manifest": Place(step="backup", what="memops.console.pg.dump:dump", when=AFTER),
    "verify has its scratch database": Place(step="verify", what="memops.console.pg.scratch:_create", when=AFTER),
    "verify restores": Place(step="verify", what="memops.console.pg.restore:feed", when=BEFORE),
    "verify has restored": Place(step="verify", what="memops.console.pg.restore:_compare", when=BEFORE),
    "verify has compared": Place(step="verify", what="memops.console.pg.restore:_compare", when=AFTER),
    "reverse knows its transaction": Place(
        step="reverse", what="memops.console.steps.reverse:remember_transaction", when=AFTER
    ),
    "reverse has not committed": Place(
        step="reverse", what="memops.console.pg.migrations:Reversal.unapply_all", when=AFTER
    ),
    "reverse has committed": Place(step="reverse", what="memops.console.pg.outcome:read", when=BEFORE),
    "reverse has recorded": Place(step="reverse", what="memops.console.steps.reverse:record_change", when=AFTER),
    "postcheck looks": Place(step="postcheck", what="memops.console.pg.catalogue:leftovers", when=AFTER),
    "compare counts": Place(step="compare", what="memops.console.pg.fingerprint:of", when=BEFORE),
    "the end is not recorded": Place(step="compare", what="memops.console.runs.advance:_end", when=BEFORE),
    "the end is not in the trail": Place(step="compare", what="memops.console.runs.advance:_closing", when=BEFORE),
    "the end is not anchored": Place(step="compare", what="memops.console.audit.anchors:_append", when=BEFORE),
    "the first anchor is not in the trail": Place(
        step="compare", what="memops.console.audit.anchors:_append", when=AFTER
    ),
    "move_back has not committed": Place(step="move_back", what="memops.console.pg.migrations:move_back", when=AFTER),
    "load copies": Place(step="load", what="memops.console.pg.staging:_copy", when=BEFORE),
    "load has loaded": Place(step="load", what="memops.console.pg.staging:_fingerprint", when=BEFORE),
    "bring_in has looked": Place(step="bring_in", what="memops.console.pg.standing:counted", when=AFTER),
    "build builds": Place(step="build", what="memops.console.pg.staging:_execute", when=AFTER),
    "trial has compared": Place(step="trial", what="memops.console.pg.staging:compare", when=AFTER),
    "swap knows its transaction": Place(step="swap", what="memops.console.steps.swap:remember_transaction", when=AFTER),
    "swap has not committed": Place(step="swap", what="memops.console.pg.staging:compare", when=AFTER),
    "swap has committed": Place(step="swap", what="memops.console.pg.outcome:read", when=BEFORE),
    "swap has recorded what made room": Place(step="swap", what="memops.console.steps.swap:record_change", when=AFTER),
    "swap removes what is left": Place(step="swap", what="memops.console.pg.staging:drop", when=BEFORE),
    "move_back has committed": Place(step="move_back", what="memops.console.pg.outcome:read", when=BEFORE),
    "proof reads": Place(step="proof", what="memops.console.pg.packed:check_hash", when=BEFORE),
    "purge has compared": Place(step="purge", what="memops.console.pg.purge:compare", when=AFTER),
    "purge has agreed": Place(step="purge", what="memops.console.steps.purge:_Locked.agree", when=AFTER),
    "purge has not committed": Place(step="purge", what="memops.console.pg.purge:drop", when=AFTER),
    "purge has committed": Place(step="purge", what="memops.console.pg.outcome:read", when=BEFORE),
    "purge has recorded": Place(step="purge", what="memops.console.steps.purge:record_change", when=AFTER),
}
"""Where a step is in the middle of something, by name."""

RECONCILING = {
    "reconcile clears": Place(step="", what="memops.console.runs.leftovers:clear", when=BEFORE),
    "reconcile has cleared": Place(step="", what="memops.console.runs.leftovers:clear", when=AFTER),
}

RECORDER = "django.db.migrations.recorder:MigrationRecorder.record_unapplied"
MIGRATING = {
    "migrate begins": Place(
        step="", what="django.db.migrations.executor:MigrationExecutor.unapply_migration", when=BEFORE
    ),
    "migrate has not committed": Place(
        step="", what="django.db.migrations.operations:RunSQL.database_backwards", when=AFTER
    ),
    "migrate has committed": Place(step="", what=RECORDER, when=BEFORE),
    "migrate has recorded": Place(step="", what=RECORDER, when=AFTER),
}
"""A bare ``migrate memops zero``: Django deletes its own record after the change has committed."""


def install(pause_at: str, say: Say, *, go_on: Path | None = None) -> None:
    """``pause_at`` is a step and whether to wait before its work or after it, as in "reverse after", a name of
    ``INSIDE``, ``RECONCILING`` or ``MIGRATING``, or ``EACH_BOUNDARY``; "" for nowhere.

    ``say`` gets the name of each step as it begins, and the place where the process waits, until ``go_on`` is there.
    """
    steps_of = advance.steps_of
    at = _Pause(pause_at, say, go_on)
    if place := (INSIDE | RECONCILING | MIGRATING).get(pause_at):
        _wrap(place, at)

    def paused(kind: str, *, emergency: bool = False) -> tuple[StepKind, ...]:
        return tuple(_paused(step, at) for step in steps_of(kind, emergency=emergency))

    advance.steps_of = paused


class _Pause:
    """The place where this process waits, once; or each boundary."""

    def __init__(self, where: str, say: Say, go_on: Path | None) -> None:
        self.where, self.say, self.go_on = where, say, go_on
        self.step = ""
        self.is_over = False

    def here(self, place: str) -> None:
        if self.where == EACH_BOUNDARY and place.endswith(AFTER):
            self._wait(place)
            if self.go_on:
                self.go_on.unlink(missing_ok=True)
        elif place == self.where and not self.is_over:
            self.is_over = True
            self._wait(place)

    def _wait(self, place: str) -> None:
        self.say(place)
        until = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < until and not (self.go_on and self.go_on.exists()):
            time.sleep(0.02)


def _paused(step: StepKind, at: _Pause) -> StepKind:
    def perform(run: Run, log: StepLog) -> Any:
        at.say(step.name)
        at.step = step.name
        at.here(f"{step.name} {BEFORE}")
        saw = step.perform(run, log)
        at.here(f"{step.name} {AFTER}")
        return saw

    return replace(step, perform=perform)


def _wrap(place: Place, at: _Pause) -> None:
    """What is called also elsewhere pauses only in the step of the place."""
    owner_name, _, name = place.what.rpartition("." if "." in place.what.partition(":")[2] else ":")
    owner = resolve_name(owner_name)
    call = getattr(owner, name)

    @wraps(call)
    def waiting(*arguments: Any, **options: Any) -> Any:
        if at.step != place.step:
            return call(*arguments, **options)
        if place.when == BEFORE:
            at.here(at.where)
        result = call(*arguments, **options)
        if place.when == AFTER:
            at.here(at.where)
        return result

    setattr(owner, name, waiting)
