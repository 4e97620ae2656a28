"""What became of a run's change, from the target's own records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from memops.console.models import Run
from memops.console.pg import outcome
from memops.console.steps.record import record_change


@dataclass(frozen=True, kw_only=True)
class Found:
    """``is_unknown``: the target does not say, so nobody may. ``xid``: the transaction that was asked about."""

    outcome: str
    is_unknown: bool = False
    xid: str = ""


def outcome_of(run: Run, *, patience: timedelta | None = None) -> Found:
    """Read what happened. A run that never began its transaction has changed nothing, whether the target answers or
    not."""
    run.refresh_from_db()
    if run.outcome:
        return Found(outcome=run.outcome, xid=run.xid)
    if not run.xid:
        return Found(outcome=Run.Outcome.NOTHING)
    read = outcome.read(run.target_id, key=str(run.key), xid=run.xid, server=run.server, patience=patience)
    for made_room in read.before:
        record_change(run, made_room)
    if read.entry is not None:
        return Found(outcome=record_change(run, read.entry), xid=run.xid)
    return Found(outcome=Run.Outcome.NOTHING if read.known else "", is_unknown=not read.known, xid=run.xid)
