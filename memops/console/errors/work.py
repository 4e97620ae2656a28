"""What runs, backups, the queue and the audit trail meet, and what is typed on the command line."""

from __future__ import annotations

from memops.console.errors.base import Failed, Refused, UsageError

# Asking for a run


class PlanRefused(Refused):
    """The {kind} on the target "{target}" is refused: {reasons} Nothing was changed."""


class StalePlan(Refused):
    """The plan for the target "{target}" no longer holds: {changes}. Nothing was changed. Read the new plan and decide
    again."""


class TargetBusy(Refused):
    """Run {run} on the target "{target}" is {state}, and a target does one thing at a time. Nothing was changed.
    Wait for it to end, or cancel it; if its worker is lost: manage.py memops reconcile."""


class TargetHeld(Refused):
    """Another process works on the target "{target}": it holds the lock that run {run} needs, from this console or from
    another one. Nothing was changed. Try again when it has ended."""


class ReasonMissing(Refused):
    """A run needs a {what}: it is kept in the history. Nothing was changed."""


class ReasonUnreadable(Refused):
    """The {what} {problem}. Nothing was changed."""


class NonceUsed(Refused):
    """This form was sent before, and made run {run}. Nothing more was started."""


class NotCancellable(Refused):
    """Run {run} is {state}: only a queued run can be cancelled. Nothing was changed."""


class ClaimLost(Failed):
    """Run {run} on the target "{target}" lost its lock, held in the database "{where}": the session was ended, or the
    alias leads to another server now. This process stopped working on it at once. manage.py memops reconcile settles
    it."""


class StepCrashed(Failed):
    """memops met an error that it does not know ({problem}); the worker's log has the details. What happened to the
    table was read from the target and stands on the run."""


# Planning and prechecks


class NothingToUndo(Refused):
    """Run {run} left no table in quarantine that could be moved back: {why}. Nothing was changed."""


class NothingToVerify(Refused):
    """Backup {backup} cannot be verified: {why}. Nothing was changed."""


class WrongServer(Refused):
    """The target "{target}" is not the database that this was made for: {made_for} then, {found} now. Nothing was
    changed. Check the alias's URL."""


class NotAtomic(Refused):
    """Reversing {migrations} cannot be part of one transaction (atomic = False), so a rollback could stop half-way.
    Nothing was changed."""


class EndIdleInvalid(UsageError):
    """Idle transactions can be ended after a whole number of seconds from {least} to {most}, no other. Nothing was
    started. {least} is the setting MEMOPS_END_IDLE_LEAST_SECONDS."""


# Changing the table


class LockBudgetSpent(Refused):
    """Other sessions held memory_chunks on the target "{target}" for {waited}, over {tries} tries. Nothing was changed.
    In the way: {blockers}. {advice}"""


class TakenMeanwhile(Refused):
    """While run {run} waited for memory_chunks on the target "{target}", somebody else took the table away or changed
    its migration history, by hand or from another console. This run changed nothing. The history shows what was done,
    and can undo it."""


class ConnectionLost(Failed):
    """The connection to the target "{target}" was lost during the change; the target says that it was not committed.
    Nothing was changed. Start a new run."""


class ChangeFailed(Failed):
    """The target "{target}" refused the change: {problem} Nothing was changed."""


class PostcheckFailed(Failed):
    """The change on the target "{target}" is committed, but it is not what was planned: {failed}. The rows are not
    lost; look at the checks of this run before you do anything else."""


class BackupDiffers(Failed):
    """The backup and the quarantined table of the target "{target}" differ, and a second backup does too: {why}. The
    rows are in {relation}."""


# Running everything in the foreground


class PortInUse(Refused):
    """The console cannot listen on {bind}: {why}. Nothing was started. End the program that listens there, or choose
    another address with MEMOPS_BIND, such as MEMOPS_BIND=127.0.0.1:8001."""


class ProgramKeepsEnding(Failed):
    """The {program} ended {times} times before everything was ready, the last time with {ended}. All was stopped.
    It said: {said}"""


# PostgreSQL's client programs


class ClientMissing(Refused):
    """There is no {name} on this machine, and backups need one of PostgreSQL {major} or newer. Nothing was changed.
    Install the package postgresql-client-{major}, or set MEMOPS_PG_BIN to the folder that holds it."""


class ClientTooOld(Refused):
    """{name} {version} is too old for the server, which is PostgreSQL {major}: it would refuse. Nothing was changed.
    Install the package postgresql-client-{major}, or set MEMOPS_PG_BIN to the folder that holds it."""


# Backups and their proof


class TableGone(Refused):
    """There is no table {table} on the target "{target}" to back up. Nothing was written."""


class BackupUnderRowSecurity(Refused):
    """Row-level security holds for the role that memops connects with on the target "{target}": a backup of {table}
    would hold a part of the rows, or none. Nothing was written. Give the role BYPASSRLS (manage.py memops sql
    roles)."""


class BackupFolderUnusable(Refused):
    """The backup folder {folder} cannot be used: {problem}. No backup was made; what was begun of one is removed, at
    the latest by the next. Mend the folder, or set MEMOPS_BACKUP_DIR to another."""


class BackupNameTaken(Refused):
    """A backup cannot be called {name}: it {problem}. Nothing was overwritten."""


class BackupDiskFull(Failed):
    """The disk of the backup folder {folder} is full. The unfinished backup was removed; the table was only read.
    Make room, or set MEMOPS_BACKUP_DIR to a larger disk."""


class DumpFailed(Failed):
    """The backup of {table} on the target "{target}" did not come to its end ({ended}): {said}. No file is left; the
    table was only read."""


class NoScratch(Refused):
    """A backup of the target "{target}" cannot be proved, for want of a scratch database: {reason}. Nothing was
    changed."""


class TemporaryFolderUnusable(Failed):
    """memops cannot write the password, which pg_dump and pg_restore read from a file, into the folder for temporary
    files {folder}: {problem}. Neither was started. Make room there, or set TMPDIR to another folder."""


class BackupOpenToOthers(Refused):
    """The file {file} was not opened: {problem}, so it may be something else as soon as it is proved. It counts as not
    verified; nothing was changed. Find out who did that, make it yours alone (chown, chmod 600), and verify it then."""


class ManifestUnusable(Refused):
    """The manifest {manifest} {problem}. Its archive was not opened, since only the manifest says what has to be in
    it."""


class ArchiveDamaged(Failed):
    """The archive {archive} is not what was written: {problem}. It was not restored. Use another backup."""


class RestoreFailed(Failed):
    """The archive {archive} does not restore into {place} ({ended}): {said}. It counts as not verified; the target's
    table was not touched, and the scratch database is gone."""


class ScratchDiskFull(Failed):
    """There is no room to restore the archive {archive} into {place}: {said}. Nothing is known to be wrong with it, but
    it counts as not verified; the target's table was not touched, and the scratch database is gone. Make room on that
    server's disk, or set MEMOPS_SCRATCH_URL to another server."""


class RestoredDiffers(Failed):
    """The archive {archive} restores, but not to what was dumped: {differences}. It counts as not verified; the
    target's table was not touched."""


# Getting the data back


class NothingToRestore(Refused):
    """Backup {backup} cannot be restored: {why}. Nothing was changed."""


class RestoreChoiceInvalid(UsageError):
    """What becomes of rows that stand in the table is one of {choices}. Nothing was started."""


class LoadFailed(Failed):
    """The archive {archive} could not be loaded beside the table ({ended}): {said}. What was loaded of it is removed;
    public.memory_chunks was not touched. Verify the backup, which tells whether its file is whole, or use another."""


class TargetDiskFull(Failed):
    """There is no room on the target to load the archive {archive} beside the table: {said}. What was loaded of it is
    removed; public.memory_chunks was not touched. Make room on that server's disk, then ask again."""


class StagedDiffers(Failed):
    """What was loaded from the archive {archive} is not what was backed up: {differences}. It is removed, and did not
    take the table's place; public.memory_chunks was not touched. Verify the backup, or use another."""


class NotIsolated(Failed):
    """The table that was loaded does not keep tenants apart: {problem}. It is removed, and did not take the table's
    place; public.memory_chunks was not touched. Look at its policies and at the rights of the role {role}."""


class MemoriesSealed(Refused):
    """{unopened} of {sample} sealed memories that were tried do not open with the keys of this console ({reason}): the
    application could not read what would be restored. It is removed; public.memory_chunks was not touched. Set
    MEMORY_ENCRYPTION_KEY, or MEMORY_ENCRYPTION_KEY_OLD for a key from before a rotation, then ask again."""


class ApplicationNotStopped(Refused):
    """The application was not stopped: MEMOPS_STOP_COMMAND {ended}. What was loaded is removed; public.memory_chunks
    was not touched. Mend the command, or stop the application by hand and ask again without it."""


# The audit trail


class AuditUnwritable(Refused):
    """The audit trail in the database "default" cannot be written ({problem}), and nothing goes on without a trace:
    what was asked for was not begun. Mend the database, then try again."""


class ChainBroken(Refused):
    """The records in the database "default" are not to be trusted: {problem}. No run is started on them, and nothing
    was changed. Find out who did it: manage.py memops audit verify. To go on all the same, which the trail will say for
    ever: manage.py memops audit accept --reason TEXT."""


class AnchorUnwritable(Failed):
    """No anchor of the audit trail can be written to {file}: {problem}. The trail itself is as it was. Make room or
    give the account of memops the right to write there, or set MEMOPS_ANCHORS to another file."""


class AnchorsGone(Failed):
    """The file of anchors {file} was begun, and is empty or gone. No other is begun in its place: that would hide it.
    No run is started until somebody has looked: manage.py memops audit verify. To go on then, which the trail will say
    for ever: manage.py memops audit accept --reason TEXT."""


class AnchorUnreadable(UsageError):
    """The anchor {file} cannot be used: {problem}. Give a file of anchors, a backup's manifest, or an export of this
    trail."""


class WebhookMissing(UsageError):
    """There is nowhere to send it: {setting} is not set."""


class WebhookFailed(Failed):
    """The webhook did not take it: {problem}. Nothing else was undone. Check its address in the settings, and the
    server behind it, then try again."""


class ExportNotBegun(UsageError):
    """The export cannot be written to {file}: {problem}. Nothing was written. Name a file that is not there yet, in a
    folder that is."""


class ExportUnwritable(Failed):
    """The export cannot be written to {file}: {problem}. The trail was only read."""


# On the command line


class ArgumentUnreadable(UsageError):
    """What was given as {argument} is no text: it is not UTF-8, or holds a NUL. Nothing was changed."""


class RecordsMissing(UsageError):
    """The console's own tables are not in the database "default" yet. Nothing was changed. Make them by manage.py
    migrate, or start everything by manage.py memops up."""


class RecordsUnreachable(Failed):
    """The console's own database, "default", is away or refused ({problem}). Nothing more was done. If a run was at
    work: manage.py memops reconcile, when the database answers again."""


class OtherRelease(Refused):
    """The console's tables are not those of memops {version}: {difference}. Nothing was changed, and nothing is begun;
    what is queued waits. {remedy}"""


class DemoInDeployment(Refused):
    """memops demo makes logins and invented rows, which have no place where MEMOPS_MODE is deployment. Nothing was
    started. Without them: manage.py memops up."""


class ConfirmationMissing(UsageError):
    """Nothing was started on the target "{target}": this needs {what}."""


class NoSuchRun(UsageError):
    """There is no run {run}{where}. Nothing was changed. manage.py memops runs lists them."""


class NoSuchBackup(UsageError):
    """There is no backup {backup}{where}. Nothing was changed. manage.py memops status shows the last verified one."""


class NoSuchQuarantinedTable(UsageError):
    """There is no table {name} in quarantine on the target "{target}". Nothing was changed. manage.py memops status
    lists them."""
