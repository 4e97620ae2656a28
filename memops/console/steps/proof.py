"""Is the backup that proves a purge still what was proved? Its file is read once more, to its end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from memops.console.errors import ConsoleError, ProofGone
from memops.console.models import Backup, Run
from memops.console.pg import manifest as manifests
from memops.console.pg import packed
from memops.console.pg.beside import Teller
from memops.console.steps import NotNeeded, StepLog, step
from memops.console.steps.check import Check


@dataclass(frozen=True, kw_only=True)
class Intact:
    backup: int
    location: str
    sha256: str
    rows: int
    file: list[int]
    checks: list[Check]


@step("proof", "Check the backup that proves it")
def proof(run: Run, log: StepLog) -> Intact:
    """Read the archive that has the same rows. Raises ProofGone; nothing was changed."""
    going = run.planned().purge
    if going is None or going.backup is None:
        raise NotNeeded("The plan drops the table without a backup, and was approved as that.")
    backup = Backup.objects.get(pk=going.backup)
    path = Path(backup.location)
    log.line(f"Reading {path.name}.")
    try:
        if backup.state != Backup.State.VERIFIED or backup.sha256 != going.backup_sha256:
            raise gone(run, f"it is {backup.get_state_display().lower()}.")
        manifest = manifests.read(path)
        if (manifest.sha256, manifest.fingerprint) != (backup.sha256, backup.fingerprint):
            raise gone(run, "its manifest is not the one that was written with it.")
        with packed.opened(path) as file:
            teller = Teller(progress=lambda done, total: log.progress(done, total, "bytes"), total=manifest.size_bytes)
            packed.check_hash(file, path, manifest, lambda: teller.tell(file.tell()))
            seen = signature(os.fstat(file.fileno()))
    except ProofGone:
        raise
    except ConsoleError as error:
        raise gone(run, _problem(error)) from error
    check = Check(
        name="The backup is what was proved",
        ok=True,
        detail=f"backup {backup.pk}, {backup.rows:,} rows, SHA-256 {backup.sha256}, proved by restore"
        f" {backup.verified_at:%Y-%m-%d %H:%M} UTC",
    )
    log.line(f"OK {check.name}: {check.detail}")
    return Intact(
        backup=backup.pk,
        location=backup.location,
        sha256=backup.sha256,
        rows=backup.rows or 0,
        file=seen,
        checks=[check],
    )


def demand_same_file(run: Run) -> None:
    """Raises ProofGone where the archive is not the file that was read."""
    read = run.saw("proof")
    if not read:
        return
    try:
        now = signature(os.stat(read["location"], follow_symlinks=False))
    except OSError as error:
        raise gone(run, f"it cannot be found any more ({os.strerror(error.errno or 0)}).") from error
    if now != read["file"]:
        raise gone(run, "its file was changed since this run has read it.")


def signature(file: os.stat_result) -> list[int]:
    """What changes when a file is written to, or another takes its place."""
    return [file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns]


def _problem(error: ConsoleError) -> str:
    """What is wrong with which file, without what that would mean for a restore."""
    named = next((error.facts[name] for name in ("archive", "manifest", "file") if name in error.facts), "")
    return f"{named} {error.facts['problem']}." if named and "problem" in error.facts else str(error)


def gone(run: Run, problem: str) -> ProofGone:
    going = run.planned().purge
    return ProofGone(
        backup=going.backup if going else None,
        target=run.target_id,
        table=run.purges.name if run.purges else "",
        problem=problem,
    )
