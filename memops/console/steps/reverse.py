"""Reverse the migration: rows, if there are any, are kept in quarantine."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS

from memops.console.errors import ClaimLost, TakenMeanwhile
from memops.console.interruption import once_more
from memops.console.models import Run
from memops.console.pg import change, migrations
from memops.console.pg.change import Budget, Tell
from memops.console.steps import NotNeeded, StepLog, step
from memops.console.steps.idle import IdleSessions
from memops.console.steps.record import record_change


@dataclass(frozen=True, kw_only=True)
class Reversed:
    outcome: str
    table: str
    quarantined_as: str
    migrations: list[str]
    transaction_ms: float
    tries: int
    waited_seconds: float
    transaction: str


@step("reverse", "Move the table to quarantine")
def reverse(run: Run, log: StepLog) -> Reversed:
    """Unapply the migrations of memory_chunks in one transaction, with the journal entry that proves it.

    Raises LockBudgetSpent (with blockers), TakenMeanwhile, ChangeFailed (dependents among others), ConnectionLost:
    nothing has changed.
    """
    applied = migrations.applied(run.target_id)
    seen = run.saw("precheck")
    plan = run.planned()
    if not applied and not seen.get("table"):
        raise NotNeeded("The migration is not applied and the table is not there: nothing to reverse.")
    log.line(
        f"Reversing {', '.join(applied) or 'nothing'} in one transaction; a try waits"
        f" {plan.lock_timeout.total_seconds():g} s at most for its lock."
    )
    reversal = migrations.Reversal()
    changed = change.commit_within_budget(
        run.target_id,
        reversal.unapply_all,
        prepare=reversal.prepare,
        key=str(run.key),
        relation_oid=seen["table"]["oid"] if seen.get("table") else None,
        budget=Budget(lock_timeout=plan.lock_timeout, total=plan.lock_budget),
        tell=Tell(line=log.line, xid=lambda xid: remember_transaction(run, xid)),
        idle=IdleSessions(run, log).ending,
    )
    if changed.entry is None and seen.get("table"):
        raise TakenMeanwhile(run=run.pk, target=run.target_id)
    outcome, quarantined_as = Run.Outcome.NOTHING.value, ""
    became = "there was no table; the history says so now."
    if changed.entry is not None:
        outcome = record_change(run, changed.entry)
        became = "the empty table was dropped."
        if outcome == Run.Outcome.QUARANTINED:
            quarantined_as = changed.entry.table_name
            became = f"the table is now memops_quarantine.{quarantined_as}."
    log.line(f"Committed in {changed.took.total_seconds() * 1000:.1f} ms at try {changed.tries}: {became}")
    return Reversed(
        outcome=outcome,
        table="public.memory_chunks",
        quarantined_as=quarantined_as,
        migrations=applied,
        transaction_ms=round(changed.took.total_seconds() * 1000, 2),
        tries=changed.tries,
        waited_seconds=round(changed.waited.total_seconds(), 3),
        transaction=changed.xid,
    )


def remember_transaction(run: Run, xid: str) -> None:
    """Store which transaction is going to change the target, before it does: what became of it can then be asked.

    Raises ClaimLost if the run was taken for lost and settled meanwhile: what its record says has to stay true.
    """
    at_work = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING)
    if not once_more(lambda: at_work.update(xid=xid)):
        raise ClaimLost(run=run.pk, target=run.target_id, where=DEFAULT_DB_ALIAS)
    run.xid = xid
