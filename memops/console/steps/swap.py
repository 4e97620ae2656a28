"""Put the restored table in its place, by a change of the catalogue; what stood there goes to quarantine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from memops.console.errors import ConsoleError, NothingToRestore
from memops.console.models import Run
from memops.console.pg import catalogue, change, session, staging
from memops.console.pg.change import Budget, Tell
from memops.console.pg.swap import Swap
from memops.console.steps import StepLog, application, bring_in, examination, restoring, step
from memops.console.steps.idle import IdleSessions
from memops.console.steps.record import record_change
from memops.console.steps.reverse import remember_transaction


@dataclass(frozen=True, kw_only=True)
class Swapped:
    outcome: str
    table: str
    table_oid: int
    quarantined_as: str
    migrations: list[str]
    merged: dict[str, Any] | None
    stirred: int
    transaction_ms: float
    tries: int
    waited_seconds: float
    transaction: str


@step("swap", "Put it in place")
def swap(run: Run, log: StepLog) -> Swapped:
    """One transaction: writers are held off, what they wrote last is brought in where rows are, the standing table goes
    to quarantine, the restored one takes its place, is compared there once more, and is recorded as migrated.

    Raises ApplicationNotStopped, LockBudgetSpent (with blockers), ChangeFailed (rows that nobody has decided about,
    dependents, ...), StagedDiffers, ConnectionLost: public.memory_chunks is as it was, nothing is left beside it.
    """
    backup, place, plan = restoring.backup_of(run), restoring.place_of(run), run.planned()
    work = Swap(
        schema=place.schema,
        choice=restoring.choice_of(run),
        archive=Path(backup.location).name,
        expected=staging.expected_of(restoring.manifest_of(backup), restoring.home_grants(backup)),
        record=list(plan.binding["migrations"]),
    )
    with session.connect(run.target_id, application_name="memops looks at what stands") as connection:
        standing = catalogue.relation(connection, *examination.PUBLIC)
    with restoring.leaving_nothing(run, log):
        bring_in.once_more(run, log)
    with restoring.leaving_nothing(run, log), application.stopped(run, log):
        log.line(
            "Swapping the tables in one transaction; a try waits"
            f" {plan.lock_timeout.total_seconds():g} s at most for each lock."
        )
        changed = change.commit_within_budget(
            run.target_id,
            work,
            key=str(run.key),
            relation_oid=standing.oid if standing else None,
            budget=Budget(lock_timeout=plan.lock_timeout, total=plan.lock_budget),
            tell=Tell(line=log.line, xid=lambda xid: remember_transaction(run, xid)),
            idle=IdleSessions(run, log).ending,
        )
        if changed.entry is None:
            raise NothingToRestore(backup=backup.pk, why="the target committed without putting anything in place")
    made_room = ""
    for entry in changed.before:
        record_change(run, entry)
        if entry.action == "quarantine":
            made_room = entry.table_name
            log.line(f"The table that stood there is now memops_quarantine.{made_room}.")
        else:
            log.line("The empty table that stood there was dropped.")
    outcome = record_change(run, changed.entry)
    if work.merged is not None:
        log.line(f"Rows that stirred until writers were held off: {work.stirred:,}. What came of all of them:")
        bring_in.tell(work.merged, log)
    log.line(f"Committed in {changed.took.total_seconds() * 1000:.1f} ms at try {changed.tries}.")
    try:
        staging.drop(place)
    except (ConsoleError, psycopg.Error) as error:
        log.line(f"The schema {place.schema} is still there ({type(error).__name__}); the next restore removes it.")
    return Swapped(
        outcome=outcome,
        table="public.memory_chunks",
        table_oid=changed.entry.table_oid,
        quarantined_as=made_room,
        migrations=list(plan.binding["migrations"]),
        merged=asdict(work.merged) if work.merged is not None else None,
        stirred=work.stirred,
        transaction_ms=round(changed.took.total_seconds() * 1000, 2),
        tries=changed.tries,
        waited_seconds=round(changed.waited.total_seconds(), 3),
        transaction=changed.xid,
    )
