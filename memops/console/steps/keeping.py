"""How long a quarantined table stays, what proves that it can go, and what forbids that.

The plan that a person reads and the precheck of the run ask the same.
"""

from __future__ import annotations

import os
from datetime import datetime

from django.conf import settings

from memops.console import units
from memops.console.models import Backup, Hold, QuarantinedTable
from memops.console.models.plans import Purge
from memops.console.pg import clock
from memops.console.steps.examination import Examination


def purge_of(table: QuarantinedTable, *, without_backup: bool) -> Purge:
    """What the purge of a table would go by now."""
    proof = None if without_backup else proof_of(table)
    return Purge(
        table=table.pk,
        since=in_quarantine_since(table),
        kept_until=kept_until(table),
        fingerprint=table.fingerprint,
        rows=table.rows,
        without_backup=without_backup,
        backup=proof.pk if proof else None,
        backup_location=proof.location if proof else "",
        backup_sha256=proof.sha256 if proof else "",
        backup_verified_at=proof.verified_at if proof else None,
        holds=[str(hold) for hold in standing_holds(table)],
    )


def in_quarantine_since(table: QuarantinedTable) -> datetime:
    """The later of what the target's clock and the console's have said: either may have been set back."""
    return max(table.since, table.run.ended_at or table.since)


def kept_until(table: QuarantinedTable) -> datetime:
    kept: datetime = in_quarantine_since(table) + settings.MEMOPS_QUARANTINE_KEEP
    return kept


def proof_of(table: QuarantinedTable) -> Backup | None:
    """A verified backup with the same rows, if there is one."""
    if not table.fingerprint:
        return None
    proofs = Backup.objects.filter(
        target=table.target_id,
        server=table.server,
        table_oid=table.table_oid,
        fingerprint=table.fingerprint,
        state=Backup.State.VERIFIED,
    )
    attached = proofs.filter(pk=table.backup_id).first() if table.backup_id is not None else None
    return attached or proofs.order_by("-verified_at").first()


def standing_holds(what: QuarantinedTable | Backup) -> list[Hold]:
    return list(what.holds.filter(lifted_at__isnull=True))


def purge_rules(found: Examination, table: QuarantinedTable, purge: Purge) -> None:
    """What forbids the purge of a table now, or should be known before it."""
    now = clock.now()
    if purge.left(now):
        found.refuse(
            "retention",
            f"{table.name} has been in quarantine for {units.duration(purge.age(now))}, and stays until"
            f" {purge.kept_until:%Y-%m-%d %H:%M} UTC: {units.duration(purge.left(now))} yet"
            " (MEMOPS_QUARANTINE_DAYS).",
        )
    for hold in purge.holds:
        found.refuse("hold", f"{table.name} is under a hold, and stays until it is lifted. {hold}.")
    if purge.without_backup:
        found.warn(
            "without backup",
            f"This plan drops {table.name}, and does not ask whether its rows are in any backup. It is asked for, and"
            " approved, as that.",
        )
    elif purge.backup is None:
        found.refuse(
            "no proof",
            f"No verified backup has the same rows as {table.name}. Make one: manage.py memops backup --target"
            f" {found.alias} --quarantined {table.name}.",
        )
    elif not os.path.lexists(purge.backup_location):
        found.refuse(
            "backup missing",
            f"Backup {purge.backup}, which has the same rows as {table.name}, is not at {purge.backup_location} any"
            " more. Was it moved, or is its disk not mounted?",
        )
