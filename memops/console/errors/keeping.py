"""What is refused about quarantined tables and backups that are to stay, or to go for good."""

from __future__ import annotations

from memops.console.errors.base import Failed, Refused, UsageError


class PlanUnclear(UsageError):
    """{problem}. Nothing was planned."""


class NothingToPurge(Refused):
    """{table} on the target "{target}" cannot be purged: {why}. Nothing was changed."""


class TableHeld(Refused):
    """{table} on the target "{target}" is under a hold, and is not dropped as long as one stands. {holds}. Nothing was
    changed. Who may lift it: manage.py memops lift {table} --as NAME --reason TEXT."""


class RowsDiffer(Refused):
    """The rows of {table} on the target "{target}" are not those of {proof}: {found} rows with fingerprint
    {fingerprint}. Somebody has changed them, or added some. Nothing was dropped. Back the table up as it is now:
    manage.py memops backup --target {target} --quarantined {table}."""


class ProofGone(Refused):
    """Backup {backup}, which was to prove that {table} on the target "{target}" can go, is not what was proved:
    {problem} Nothing was dropped. Use another backup, or make one: manage.py memops backup --target {target}
    --quarantined {table}."""


class NeverWithoutApprovals(Refused):
    """A purge drops rows for good, so it is never started without its approvals, whatever the incident. Nothing was
    started. Ask for it without breaking the glass."""


class NotAHolder(Refused):
    """{name} may neither put holds nor lift them. Nothing was changed. An administrator gives the permission under
    Users."""


class AlreadyHeld(Refused):
    """{what} is under such a hold already. {hold}. Nothing was changed."""


class NotHeld(UsageError):
    """{what} is under no {kind} hold. Nothing was changed."""


class WhatToHold(UsageError):
    """A hold is on one thing: the NAME of a quarantined table, or --backup ID. Nothing was changed."""


class NothingToHold(Refused):
    """{what} is {state}: there is nothing to hold any more. Nothing was changed."""


class TooLateToHold(Refused):
    """{what} is being dropped at this moment: run {run} had found no hold when it began to. No hold was put. Look at
    how that run ends; if the table is still there then, put the hold again."""


class BackupNotInPlace(Failed):
    """The file {file} of a backup was not removed: {problem}. What is left of the backup is removed when that is
    mended: manage.py memops reconcile."""


class ExpiryChanged(Refused):
    """What can be deleted on the target "{target}" is not what was shown any more. Nothing was deleted. Read the list
    again and decide again."""


class NothingExpired(Refused):
    """No backup of the target "{target}" has expired. Nothing was deleted."""
