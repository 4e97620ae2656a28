"""Load a backup into a schema of the run's own, beside the table: nobody but memops can see it there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memops.console.audit import SYSTEM, record_or_log
from memops.console.errors import (
    ArchiveDamaged,
    BackupOpenToOthers,
    ConsoleError,
    ManifestUnusable,
    NothingToRestore,
)
from memops.console.models import Backup, Run
from memops.console.pg import manifest as manifests
from memops.console.pg import staging
from memops.console.steps import StepLog, restoring, step
from memops.console.steps.check import Check
from memops.console.steps.pace import Pace


@dataclass(frozen=True, kw_only=True)
class LoadedBackup:
    """``statements`` are those that the next steps execute: indexes, constraints, row-level security, grants."""

    backup: int
    schema: str
    table_oid: int
    rows: int
    fingerprint: str
    statements: list[dict[str, Any]]
    left_out: list[str]
    seconds: float
    checks: list[Check]


@step("load", "Load the backup beside the table")
def load(run: Run, log: StepLog) -> LoadedBackup:
    """Check the file, load its rows, and compare their fingerprint with that of the snapshot.

    Raises ArchiveDamaged, ManifestUnusable, BackupOpenToOthers, NothingToRestore (before anything is loaded),
    LoadFailed, TargetDiskFull, StagedDiffers: nothing is left beside the table, which was not touched.
    """
    backup, place = restoring.backup_of(run), restoring.place_of(run)
    path = Path(backup.location)
    for schema in staging.drop_left_behind(run.target_id):
        log.line(f"Removed {schema}, which an earlier restore had left.")
    pace = Pace(log=log, unit="bytes", what="Loading")
    with restoring.leaving_nothing(run, log):
        try:
            manifest = manifests.read(path)
            if problem := restoring.other_than(backup, manifest):
                raise NothingToRestore(backup=backup.pk, why=problem)
            log.line(f"Loading {path.name} into the schema {place.schema}, which nobody else can see.")
            loaded = staging.load(
                place, path=path, manifest=manifest, grants=restoring.home_grants(backup), progress=pace.tell
            )
        except (ArchiveDamaged, ManifestUnusable, BackupOpenToOthers, NothingToRestore) as error:
            _counts_no_more(run, backup, error)
            raise
    for name in loaded.left_out:
        log.line(f"Noticed: {name} is beside the table, not of it, and is not restored. Make it again by hand.")
    checks = [
        Check(name="The file is what was written", ok=True, detail=f"SHA-256 {backup.sha256}"),
        Check(
            name="The loaded rows are those of the backup",
            ok=True,
            detail=f"{loaded.fingerprint.rows:,} rows, fingerprint {loaded.fingerprint}",
        ),
    ]
    for check in checks:
        log.line(f"OK {check.name}: {check.detail}")
    return LoadedBackup(
        backup=backup.pk,
        schema=place.schema,
        table_oid=loaded.oid,
        rows=loaded.fingerprint.rows,
        fingerprint=str(loaded.fingerprint),
        statements=[asdict(statement) for statement in loaded.afterwards],
        left_out=loaded.left_out,
        seconds=round(loaded.took.total_seconds(), 3),
        checks=checks,
    )


def _counts_no_more(run: Run, backup: Backup, error: ConsoleError) -> None:
    """What cannot be read any more is not a verified backup, whatever it was."""
    Backup.objects.filter(pk=backup.pk).update(
        state=Backup.State.WRITTEN,
        error=str(error),
        verification={"ok": False, "problem": str(error), "run": run.pk},
    )
    record_or_log(
        "backup.not_verified",
        actor=SYSTEM,
        run=run,
        object_type="backup",
        object_id=backup.pk,
        why=type(error).__name__,
    )
