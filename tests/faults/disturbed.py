"""Runs that meet a fault in the middle, executed by this process: real steps, with something happening between them."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from memops.console.models import Backup, Run
from memops.console.models.plans import Plan
from memops.console.runs import advance
from memops.console.runs.plan import plan_backup, plan_rollback, plan_undo, plan_verify
from memops.console.runs.request import submit
from memops.console.steps import StepKind, StepLog
from tests.faults import ground

GUIDED, EMERGENCY, BACKUP, VERIFY = "guided rollback", "emergency rollback", "backup", "verification"
PLANS: dict[str, Callable[[], Plan]] = {
    GUIDED: lambda: plan_rollback(ground.TARGET),
    EMERGENCY: lambda: plan_rollback(ground.TARGET, emergency=True),
    BACKUP: lambda: plan_backup(ground.TARGET),
    VERIFY: lambda: plan_verify(newest_backup()),
}
OUTCOMES = {GUIDED: "restored", EMERGENCY: "restored", BACKUP: "backed up", VERIFY: "verified"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``happens`` is there while the run is at work, and taken away afterwards. ``told`` is what the run then says."""

    happens: Callable[[], AbstractContextManager[Any]]
    told: str
    state: str = "failed"


@dataclass
class _DisturbedLog:
    """The log of a step; its first progress, or the first after ``beyond`` bytes, is when it happens."""

    log: StepLog
    happens: Callable[[], None]
    beyond: int
    has_happened: bool = field(default=False)

    def line(self, text: str) -> None:
        self.log.line(text)

    def progress(self, done: int, total: int | None, unit: str) -> None:
        if not self.has_happened and done >= self.beyond:
            self.has_happened = True
            self.happens()
        self.log.progress(done, total, unit)


@contextmanager
def when(moment: str, happens: Callable[[], object], *, beyond: int = 0) -> Iterator[None]:
    """Let something happen at a moment of each run in this block: a step, and "before", "while" or "after"."""
    steps_of, calls = advance.steps_of, []
    name, _, place = moment.partition(" ")

    def happen() -> None:
        calls.append(moment)
        happens()

    def disturbed(step: StepKind) -> StepKind:
        def perform(run: Run, log: StepLog) -> Any:
            if place == "before":
                happen()
            saw = step.perform(run, _DisturbedLog(log, happen, beyond) if place == "while" else log)
            if place == "after":
                happen()
            return saw

        return replace(step, perform=perform) if step.name == name else step

    advance.steps_of = lambda kind, *, emergency=False: tuple(map(disturbed, steps_of(kind, emergency=emergency)))
    try:
        yield
    finally:
        advance.steps_of = steps_of
    assert calls, f"No run came to the moment {moment!r}"


def execute(plan: Plan) -> Run:
    run = submit(plan, requester=ground.ME, reason="it has to survive this", seen_digest=plan.digest)
    return advanced(run)


def advanced(run: Run) -> Run:
    advance.advance(run.pk)
    run.refresh_from_db()
    return run


def newest_backup() -> Backup:
    return Backup.objects.filter(state__in=Backup.COMPLETE).latest("pk")


def assert_told_and_harmless(kind: str, fault: Fault, before: ground.Before) -> None:
    """The run ends with the fault's own message, and nothing is lost or left behind, neither now nor when it is
    undone: the table is what it was."""
    with fault.happens():
        run = execute(PLANS[kind]())

        # An emergency rollback comes before its backup: it has happened, and the run says what is missing.
        moved = kind == EMERGENCY
        assert re.search(fault.told, run.error), run.error
        assert (run.state, run.outcome) == (("failed", "quarantined") if moved else (fault.state, "nothing")), run.error
        assert not Backup.objects.filter(run=run, state="verified").exists()
    ground.assert_consistent(run, before)
    if moved:
        assert execute(plan_undo(run)).state == "done"
        assert ground.look() == before


def assert_the_same_succeeds(kind: str, before: ground.Before) -> None:
    """The same again, without the fault; a rollback is undone afterwards."""
    run = execute(PLANS[kind]())
    assert (run.state, run.error) == ("done", "")
    if kind in (GUIDED, EMERGENCY):
        run = execute(plan_undo(run))
        assert (run.state, run.error) == ("done", "")
    ground.assert_consistent(run, before, outcome=OUTCOMES[kind])
