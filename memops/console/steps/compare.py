"""Is everything that was in the table in the backup? If rows came after it, the quarantined table is backed up
again."""

from __future__ import annotations

from dataclasses import dataclass

from memops.console.errors import BackupDiffers
from memops.console.models import Run
from memops.console.pg import fingerprint, session
from memops.console.pg.fingerprint import Fingerprint
from memops.console.steps import NotNeeded, StepLog, step
from memops.console.steps.backup import attach, newest_of, write
from memops.console.steps.check import Check
from memops.console.steps.verify import prove


@dataclass(frozen=True, kw_only=True)
class Compared:
    backup: int
    rows: int
    fingerprint: str
    rows_after_backup: int
    checks: list[Check]


@step("compare", "Compare the quarantined table with the backup")
def compare(run: Run, log: StepLog) -> Compared:
    """Nobody can write to the quarantined table, so its fingerprint is final. Raises BackupDiffers."""
    if run.outcome != Run.Outcome.QUARANTINED:
        raise NotNeeded("There is no quarantined table to compare: the table was empty and is dropped.")
    table = run.quarantined_table
    backup = newest_of(run)
    if backup is None:
        raise BackupDiffers(target=run.target_id, relation=table.relation, why="there is no backup of this run")
    with session.connect(run.target_id, application_name="memops compares", works_long=True) as connection:
        found = fingerprint.of(
            connection,
            schema="memops_quarantine",
            name=table.name,
            algorithm=Fingerprint.parse(backup.fingerprint).algorithm,
        )
    came_later = found.rows - (backup.rows or 0)
    if str(found) != backup.fingerprint:
        log.line(
            f"The table changed after the backup: {backup.rows:,} rows then, {found.rows:,} now."
            " Backing up the quarantined table as well."
        )
        backup = write(run, log, relation=table.relation)
        prove(run, backup, log)
        if str(found) != backup.fingerprint:
            raise BackupDiffers(
                target=run.target_id, relation=table.relation, why="the quarantined table changed while it was dumped"
            )
    attach(table, backup)
    check = Check(
        name="The backup holds every row of the quarantined table",
        ok=True,
        detail=f"{found.rows:,} rows, fingerprint {found}, in backup {backup.pk}",
    )
    log.line(f"OK {check.name}: {check.detail}")
    return Compared(
        backup=backup.pk, rows=found.rows, fingerprint=str(found), rows_after_backup=came_later, checks=[check]
    )
