"""Make a backup: pg_dump of the one table at an exported snapshot, hashed while it is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from memops.console.audit import SYSTEM, anchors, record_or_log
from memops.console.errors import AuditUnwritable, ClaimLost, ConsoleError, TargetUnreachable
from memops.console.interruption import forget_connection, once_more
from memops.console.models import Backup, QuarantinedTable, Run
from memops.console.pg import dump, manifest
from memops.console.steps import NotNeeded, StepLog, step
from memops.console.steps.examination import backup_folder
from memops.console.steps.precheck import examined


@dataclass(frozen=True, kw_only=True)
class BackedUp:
    backup: int
    relation: str
    location: str
    manifest: str
    size_bytes: int
    raw_bytes: int
    sha256: str
    rows: int
    fingerprint: str
    exit_code: int
    seconds: float


@step("backup", "Back up the table")
def back_up(run: Run, log: StepLog) -> BackedUp:
    """Dump the table of the run: the one in public or, after an emergency rollback, the one in quarantine.

    Raises DumpFailed and its kind; no file is left then, and the table was only read.
    """
    relation = examined(run)
    if run.kind == Run.Kind.ROLLBACK and run.emergency:
        if run.outcome != Run.Outcome.QUARANTINED:
            raise NotNeeded("The table was empty and is dropped: there is nothing to back up.")
        relation = run.quarantined_table.relation
    elif run.saw("precheck").get("table") is None:
        raise NotNeeded("There is no table, so there is nothing to back up.")
    backup = write(run, log, relation=relation)
    return BackedUp(
        backup=backup.pk,
        relation=relation,
        location=backup.location,
        manifest=manifest.path_of(Path(backup.location)).name,
        size_bytes=backup.size_bytes or 0,
        raw_bytes=backup.raw_bytes or 0,
        sha256=backup.sha256,
        rows=backup.rows or 0,
        fingerprint=backup.fingerprint,
        exit_code=0,
        seconds=round((backup.written_at - backup.started_at).total_seconds(), 3) if backup.written_at else 0.0,
    )


def write(run: Run, log: StepLog, *, relation: str) -> Backup:
    """Write an archive of ``relation`` and its manifest, and keep a record of it from its first byte on."""
    schema, _, name = relation.partition(".")
    seen = run.saw("precheck").get("table") or {}
    folder = backup_folder(run.target_id)
    _remove_left_over(run, log)
    backup = Backup.objects.create(
        run=run, target_id=run.target_id, relation=relation, table_oid=seen.get("oid", 0), server=run.server
    )
    stem = f"{datetime.now(UTC):%Y%m%d_%H%M%S}_{run.target_id}_{schema}_{name}_run{run.pk}_backup{backup.pk}"
    # Known before its first byte: nobody has to guess afterwards which files are of it.
    backup.location = str(dump.archive_path(folder, stem))
    backup.save(update_fields=["location"])
    log.line(f"pg_dump of {relation} to {folder / stem}")
    try:
        dumped = dump.dump(
            run.target_id,
            schema=schema,
            name=name,
            folder=folder,
            stem=stem,
            progress=lambda done, total: log.progress(done, total, "bytes"),
            facts={"run": run.pk, "backup": backup.pk, "audit": _head()},
        )
    except ConsoleError as error:
        fail(backup, str(error))
        record_or_log(
            "backup.failed", actor=SYSTEM, run=run, object_type="backup", object_id=backup.pk, why=type(error).__name__
        )
        raise
    except BaseException:
        forget_connection()
        fail(backup, "The process that wrote it was stopped.")
        raise
    complete = {
        "state": Backup.State.WRITTEN,
        "location": str(dumped.path),
        "size_bytes": dumped.size_bytes,
        "raw_bytes": dumped.raw_bytes,
        "sha256": dumped.sha256,
        "rows": dumped.fingerprint.rows,
        "fingerprint": str(dumped.fingerprint),
        "manifest": asdict(dumped.manifest),
        "written_at": Now(),
    }
    open_record = Backup.objects.filter(pk=backup.pk, state__in=[Backup.State.WRITING, Backup.State.WRITTEN])
    if not once_more(lambda: open_record.update(**complete)):
        # It was taken for lost meanwhile, and settled: its file is no backup that anybody would find.
        dump.remove(dumped.path)
        raise ClaimLost(run=run.pk, target=run.target_id, where=DEFAULT_DB_ALIAS)
    backup.refresh_from_db()
    record_or_log(
        "backup.written",
        actor=SYSTEM,
        run=run,
        object_type="backup",
        object_id=backup.pk,
        file=dumped.path.name,
        sha256=dumped.sha256,
        rows=dumped.fingerprint.rows,
        size_bytes=dumped.size_bytes,
    )
    log.line(
        f"{dumped.fingerprint.rows:,} rows in {dumped.size_bytes:,} bytes, pg_dump ended with {dumped.exit_code},"
        f" SHA-256 {dumped.sha256}."
    )
    return backup


def fail(backup: Backup, error: str) -> None:
    """Close the record of a backup that was not completed.

    A folder that cannot be written any more keeps what was begun in it: the record says where, until it is removed.
    """
    location = Path(backup.location)
    left = dump.left_of(location) if backup.location else []
    kept = f" Left in {location.parent} until the next backup removes it: {', '.join(left)}." if left else ""
    Backup.objects.filter(pk=backup.pk, state=Backup.State.WRITING).update(
        state=Backup.State.FAILED, error=error + kept, location=backup.location if left else ""
    )


def _remove_left_over(run: Run, log: StepLog) -> None:
    for backup in Backup.objects.filter(target=run.target_id, state=Backup.State.FAILED).exclude(location=""):
        location = Path(backup.location)
        for name in dump.remove(location):
            log.line(f"Removed {name}, which the failed backup {backup.pk} had left.")
        if not dump.left_of(location):
            Backup.objects.filter(pk=backup.pk).update(location="")


def _head() -> dict[str, Any] | None:
    """The audit trail's signed head, which the backup carries out of the database. Raises AuditUnwritable."""
    try:
        return anchors.signed_head()
    except (TargetUnreachable, psycopg.Error) as error:
        raise AuditUnwritable(problem=type(error).__name__) from error


def newest_of(run: Run) -> Backup | None:
    """The last backup that a run has written."""
    return run.backups.filter(state__in=[Backup.State.WRITTEN, Backup.State.VERIFIED]).order_by("-pk").first()


def attach(table: QuarantinedTable, backup: Backup) -> None:
    """Note which verified backup holds the same rows as a quarantined table."""
    QuarantinedTable.objects.filter(pk=table.pk).update(backup=backup, fingerprint=backup.fingerprint, rows=backup.rows)
