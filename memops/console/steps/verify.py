"""Prove a backup: hash, restore into a scratch database, compare rows and catalogue (design rule 5)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from django.db.models.functions import Now

from memops.console.audit import SYSTEM, record_or_log
from memops.console.errors import ConsoleError, NothingToVerify
from memops.console.models import Backup, QuarantinedTable, Run
from memops.console.pg import keptfile, restore, scratch
from memops.console.pg import manifest as manifests
from memops.console.steps import NotNeeded, StepLog, step
from memops.console.steps.backup import attach, newest_of
from memops.console.steps.check import Check
from memops.console.steps.restoring import other_than


@dataclass(frozen=True, kw_only=True)
class Proved:
    backup: int
    place: str
    checks: list[Check]
    seconds: float


@step("verify", "Prove the backup by restoring it")
def verify(run: Run, log: StepLog) -> Proved:
    """Restore the backup of this run, or the one it is about, into a scratch database, and compare.

    Raises BackupUnproved and its kind, with what differs; the backup then counts as not verified.
    """
    backup = run.subject or newest_of(run)
    if backup is None:
        if run.kind == Run.Kind.ROLLBACK:
            raise NotNeeded("There is no backup to prove: there was nothing to back up.")
        raise NothingToVerify(backup="of this run", why="it was not written")
    proved = prove(run, backup, log)
    if run.kind == Run.Kind.VERIFY:
        Run.objects.filter(pk=run.pk).update(outcome=Run.Outcome.VERIFIED)
    elif run.kind == Run.Kind.BACKUP:
        Run.objects.filter(pk=run.pk).update(outcome=Run.Outcome.BACKED_UP)
    _attach_to_quarantined(backup)
    return proved


def prove(run: Run, backup: Backup, log: StepLog) -> Proved:
    """Restore and compare one backup, and write down what came out of it."""
    path = Path(backup.location)
    place = scratch.place(run.target_id)
    log.line(f"Restoring {path.name} into a scratch database: {place}.")
    try:
        manifest = manifests.read(path)
        if problem := other_than(backup, manifest):
            raise NothingToVerify(backup=backup.pk, why=problem)
        verified = restore.verify(
            path=path,
            manifest=manifest,
            alias=run.target_id,
            scratch_place=place,
            progress=lambda done, total: log.progress(done, total, "bytes"),
        )
    except ConsoleError as error:
        Backup.objects.filter(pk=backup.pk).update(
            state=Backup.State.WRITTEN,
            error=str(error),
            verification={"ok": False, "problem": str(error), "run": run.pk},
        )
        _record(run, backup, "backup.not_verified", why=type(error).__name__)
        raise
    checks = [
        Check(name="The file is what was written", ok=True, detail=f"SHA-256 {backup.sha256}"),
        Check(
            name="It restores without an error",
            ok=True,
            detail=f"pg_restore --exit-on-error --single-transaction into {place}",
        ),
        Check(
            name="Its rows are the rows of the snapshot",
            ok=True,
            detail=f"{verified.fingerprint.rows:,} rows, fingerprint {verified.fingerprint}",
        ),
        Check(
            name="Its catalogue is that of the snapshot",
            ok=True,
            detail="owner, grants, row-level security, policies, constraints and indexes are equal",
        ),
    ]
    for check in checks:
        log.line(f"OK {check.name}: {check.detail}")
    for file in (path, manifests.path_of(path)):
        if mode := keptfile.readable_by_others(file):
            log.line(f"Noticed: others may read {file.name} (mode {mode}). chmod 600 makes it memops' own again.")
    proved = Proved(backup=backup.pk, place=str(place), checks=checks, seconds=round(verified.took.total_seconds(), 3))
    Backup.objects.filter(pk=backup.pk).update(
        state=Backup.State.VERIFIED,
        verified_at=Now(),
        error="",
        verification=asdict(proved) | {"ok": True, "run": run.pk},
    )
    _record(run, backup, "backup.verified", sha256=backup.sha256, fingerprint=backup.fingerprint)
    return proved


def _record(run: Run, backup: Backup, action: str, **details: str) -> None:
    record_or_log(action, actor=SYSTEM, run=run, object_type="backup", object_id=backup.pk, **details)


def _attach_to_quarantined(backup: Backup) -> None:
    table = QuarantinedTable.objects.filter(
        target=backup.target_id, server=backup.server, table_oid=backup.table_oid, state=QuarantinedTable.State.KEPT
    ).first()
    if table is not None and backup.relation == table.relation:
        attach(table, backup)
