"""Undo: the quarantined table goes back to where it was, with its indexes and its grants."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from memops.console.errors import NothingToUndo
from memops.console.models import Run
from memops.console.pg import catalogue, change, migrations, session
from memops.console.pg.change import Budget, Tell
from memops.console.steps import StepLog, examination, step
from memops.console.steps.idle import IdleSessions
from memops.console.steps.record import record_change
from memops.console.steps.reverse import remember_transaction


@dataclass(frozen=True, kw_only=True)
class MovedBack:
    outcome: str
    table: str
    was: str
    migrations: list[str]
    transaction_ms: float
    tries: int
    waited_seconds: float
    transaction: str


@step("move_back", "Move the table back")
def move_back(run: Run, log: StepLog) -> MovedBack:
    """Move the table of the rollback that this run undoes back to public, and record its migrations, in one
    transaction.

    Raises NothingToUndo, LockBudgetSpent, ChangeFailed (newer rows in public, among others), ConnectionLost: nothing
    has changed.
    """
    plan = run.planned()
    if run.undoes is None:
        raise NothingToUndo(run=run.pk, why="it does not say which rollback it undoes")
    table = run.undoes.quarantined_table
    record = list(plan.binding["migrations"])
    log.line(f"Moving {table.relation} back to public.memory_chunks in one transaction.")
    with session.connect(run.target_id, application_name="memops looks for an empty table") as connection:
        gives_way = catalogue.relation(connection, *examination.PUBLIC)
    changed = change.commit_within_budget(
        run.target_id,
        partial(migrations.move_back, table=table.name, record=record),
        key=str(run.key),
        relation_oid=table.table_oid,
        also_oid=gives_way.oid if gives_way else None,
        budget=Budget(lock_timeout=plan.lock_timeout, total=plan.lock_budget),
        tell=Tell(line=log.line, xid=lambda xid: remember_transaction(run, xid)),
        idle=IdleSessions(run, log).ending,
    )
    if changed.entry is None:
        raise NothingToUndo(run=run.undoes.pk, why="the target committed without moving anything")
    outcome = record_change(run, changed.entry)
    log.line(f"Committed in {changed.took.total_seconds() * 1000:.1f} ms at try {changed.tries}.")
    return MovedBack(
        outcome=outcome,
        table="public.memory_chunks",
        was=table.relation,
        migrations=record,
        transaction_ms=round(changed.took.total_seconds() * 1000, 2),
        tries=changed.tries,
        waited_seconds=round(changed.waited.total_seconds(), 3),
        transaction=changed.xid,
    )
