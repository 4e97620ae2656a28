"""Clear away what a lost worker has left on the disk and on the scratch server."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psycopg

from memops.console.errors import ConsoleError
from memops.console.models import Backup, Run
from memops.console.pg import dump, newfile, scratch, staging
from memops.console.steps import application, restoring
from memops.console.steps.backup import fail
from memops.console.steps.examination import backup_folder


def clear(run: Run) -> list[str]:
    """Remove unfinished files and abandoned scratch databases of a run that no process holds; says what was removed.

    Only what no living process has locked is touched. A backup whose record was never completed is unfinished, too:
    nobody would find its file again.
    """
    removed = []
    folder = backup_folder(run.target_id)
    for backup in run.backups.filter(state=Backup.State.WRITING):
        files = dump.remove(Path(backup.location)) if backup.location else []
        removed += [f"the unfinished backup file {name}" for name in files]
        fail(backup, "The worker was lost while it was written.")
    # Also what other runs have left there: the next backup would remove it.
    removed += [f"the unfinished backup file {name}" for name in newfile.remove_leftovers(folder)]
    if run.steps.filter(name="verify", started_at__isnull=False).exists():
        with suppress(ConsoleError):  # The next proof tries again.
            place = scratch.place(run.target_id)
            removed += [f"the scratch database {name}" for name in scratch.drop_left_behind(place, alias=run.target_id)]
    if run.kind == Run.Kind.RESTORE:
        with suppress(ConsoleError, psycopg.Error):  # The next restore tries again.
            removed += [f"the schema {name}, with what was loaded" for name in staging.drop(restoring.place_of(run))]
        if started := application.start_again(run):
            removed.append(started)
    return removed
