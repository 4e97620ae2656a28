"""Purge: a quarantined table is dropped for good, if its rows are those of the backup and nobody holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from memops.console.audit import SYSTEM, record, record_or_log
from memops.console.errors import ClaimLost, NothingToPurge, RowsDiffer, TableHeld
from memops.console.interruption import once_more
from memops.console.models import QuarantinedTable, Run
from memops.console.models.plans import Purge
from memops.console.pg import change
from memops.console.pg import purge as dropping
from memops.console.pg.change import Beforehand, Budget, Tell
from memops.console.pg.fingerprint import Fingerprint
from memops.console.steps import StepLog, keeping, step
from memops.console.steps.check import Check
from memops.console.steps.proof import demand_same_file
from memops.console.steps.record import record_change
from memops.console.steps.reverse import remember_transaction


@dataclass(frozen=True, kw_only=True)
class Purged:
    outcome: str
    table: str
    rows: int
    total_bytes: int
    fingerprint: str
    backup: int | None
    transaction_ms: float
    tries: int
    waited_seconds: float
    transaction: str
    checks: list[Check] = field(default_factory=list)


@step("purge", "Drop the table for good")
def purge(run: Run, log: StepLog) -> Purged:
    """Lock the quarantined table, compare its rows, ask for holds once more, and drop it: in one transaction.

    Raises NothingToPurge, RowsDiffer, TableHeld, ProofGone, AuditUnwritable, LockBudgetSpent, ChangeFailed (dependents
    among others), ConnectionLost: nothing has changed.
    """
    plan = run.planned()
    table, going = run.purges, plan.purge
    if table is None or going is None:
        raise NothingToPurge(table="What it drops", target=run.target_id, why="it does not say which table that is")
    log.line(f"Dropping {table.relation} in one transaction, in which its rows are compared first.")
    locked = _Locked(run, table, going)
    changed = change.commit_within_budget(
        run.target_id,
        partial(dropping.drop, table=table.name, oid=table.table_oid),
        beforehand=Beforehand(
            lock=partial(dropping.lock, table=table.name),
            look=locked.compare,
            agree=locked.agree,
            session_name=dropping.PURGES,
        ),
        key=str(run.key),
        relation_oid=table.table_oid,
        budget=Budget(lock_timeout=plan.lock_timeout, total=plan.lock_budget),
        tell=Tell(line=log.line, xid=lambda xid: remember_transaction(run, xid)),
    )
    if changed.entry is None:
        raise NothingToPurge(
            table=table.name, target=run.target_id, why="the target committed without dropping anything"
        )
    outcome = record_change(run, changed.entry)
    record_or_log("purge.done", **locked.event())
    log.line(f"OK {locked.check.name}: {locked.check.detail}")
    log.line(f"Committed in {changed.took.total_seconds() * 1000:.1f} ms at try {changed.tries}.")
    return Purged(
        outcome=outcome,
        table=table.relation,
        rows=locked.found.rows,
        total_bytes=locked.total_bytes,
        fingerprint=str(locked.found),
        backup=going.backup,
        transaction_ms=round(changed.took.total_seconds() * 1000, 2),
        tries=changed.tries,
        waited_seconds=round(changed.waited.total_seconds(), 3),
        transaction=changed.xid,
        checks=[locked.check],
    )


class _Locked:
    """The table while it is locked: what it comes to, and whether it may go."""

    def __init__(self, run: Run, table: QuarantinedTable, going: Purge) -> None:
        self.run, self.table, self.going = run, table, going
        self.expected = Fingerprint.parse(going.fingerprint) if going.fingerprint else None
        self.found: Fingerprint
        self.total_bytes = 0

    def compare(self, connection: BaseDatabaseWrapper) -> None:
        """Raises RowsDiffer."""
        algorithm = self.expected.algorithm if self.expected else None
        self.found, self.total_bytes = dropping.compare(connection, table=self.table.name, algorithm=algorithm)
        if self.expected is not None and self.found != self.expected:
            was = f"{self.expected.rows:,} rows"
            proof = (
                f"backup {self.going.backup} ({was})" if self.going.backup else f"the table that was planned ({was})"
            )
            raise RowsDiffer(
                table=self.table.name,
                target=self.run.target_id,
                proof=proof,
                found=f"{self.found.rows:,}",
                fingerprint=str(self.found),
            )

    def agree(self) -> None:
        """The last word before the drop: the backup is the one that was read, nobody holds the table, and the trail has
        what is going to happen. A hold that comes later is too late, and is told so.

        Raises ProofGone, TableHeld, ClaimLost, AuditUnwritable.
        """
        demand_same_file(self.run)
        try:
            at_work = once_more(self._doom)
        except IntegrityError as error:
            if not (holds := keeping.standing_holds(self.table)):
                raise
            raise TableHeld(
                table=self.table.name, target=self.run.target_id, holds=". ".join(map(str, holds))
            ) from error
        if not at_work:
            raise ClaimLost(run=self.run.pk, target=self.run.target_id, where=DEFAULT_DB_ALIAS)
        record("purge.begun", **self.event())

    def _doom(self) -> bool:
        """From here on a hold is too late, for as long as this run is at work (holds.sql)."""
        with transaction.atomic():
            at_work = Run.objects.select_for_update().filter(pk=self.run.pk, state=Run.State.RUNNING)
            return bool(at_work) and bool(
                QuarantinedTable.objects.filter(pk=self.table.pk, state=QuarantinedTable.State.KEPT).update(
                    doomed_by=self.run,
                    rows=self.found.rows,
                    total_bytes=self.total_bytes,
                    fingerprint=str(self.found),
                )
            )

    @property
    def check(self) -> Check:
        rows = f"{self.found.rows:,} rows, fingerprint {self.found}"
        if self.going.backup is None:
            return Check(name="What was dropped is known", ok=True, detail=f"{rows}; nobody asked for a backup of them")
        return Check(name="What was dropped is in the backup", ok=True, detail=f"{rows}, in backup {self.going.backup}")

    def event(self) -> dict[str, Any]:
        return {
            "actor": SYSTEM,
            "run": self.run,
            "object_type": "quarantined_table",
            "object_id": self.table.name,
            "rows": self.found.rows,
            "total_bytes": self.total_bytes,
            "fingerprint": str(self.found),
            "backup": self.going.backup,
            "backup_sha256": self.going.backup_sha256,
        }
