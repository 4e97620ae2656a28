"""Take what a target's journal says into the console's records."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from memops.console.models import QuarantinedTable, Run
from memops.console.pg.catalogue import JournalEntry

OUTCOMES = {
    "deploy": Run.Outcome.DEPLOYED,
    "quarantine": Run.Outcome.QUARANTINED,
    "drop": Run.Outcome.DROPPED,
    "undo": Run.Outcome.RESTORED,
    "purge": Run.Outcome.PURGED,
    "restore": Run.Outcome.RECOVERED,
}

MAKES_ROOM = ("quarantine", "drop")


def record_change(run: Run, entry: JournalEntry) -> str:
    """Write the outcome on the run, and keep the list of quarantined tables true. Safe to repeat. Returns the
    outcome.

    A restore has an entry more for the table that made room, before its own: that one is no outcome.
    """
    if run.kind == Run.Kind.RESTORE and entry.action in MAKES_ROOM:
        if entry.action == "quarantine":
            _quarantined(run, entry)
        return run.outcome
    outcome = OUTCOMES[entry.action].value
    with transaction.atomic():
        Run.objects.filter(pk=run.pk).update(outcome=outcome, journal_entry=entry.id)
        if entry.action == "quarantine":
            _quarantined(run, entry)
        elif entry.action == "undo":
            _moved_back(run, entry)
        elif entry.action == "purge":
            _purged(run, entry)
    run.refresh_from_db(fields=["outcome", "journal_entry"])
    return outcome


def _quarantined(run: Run, entry: JournalEntry) -> None:
    seen = run.saw("precheck").get("table") or {}
    QuarantinedTable.objects.get_or_create(
        run=run,
        defaults={
            "target_id": run.target_id,
            "name": entry.table_name,
            "table_oid": entry.table_oid,
            "server": run.server,
            "rows": seen.get("rows") if seen.get("rows_exact") else None,
            "total_bytes": seen.get("total_bytes"),
            "since": entry.happened_at,
        },
    )


def _purged(run: Run, entry: JournalEntry) -> None:
    """The table that was dropped for good. One that was looked for a moment too late may be listed as missing."""
    gone = QuarantinedTable.objects.filter(
        target_id=run.target_id,
        server=run.server,
        table_oid=entry.table_oid,
        name=entry.table_name,
        state__in=[QuarantinedTable.State.KEPT, QuarantinedTable.State.MISSING],
    ).first()
    if gone is None:
        return
    QuarantinedTable.objects.filter(pk=gone.pk).update(state=QuarantinedTable.State.PURGED, left_at=Now())
    if run.purges_id is None:
        Run.objects.filter(pk=run.pk).update(purges=gone)


def _moved_back(run: Run, entry: JournalEntry) -> None:
    """The table that came back. One that was looked for a moment too late may be listed as missing."""
    left = QuarantinedTable.objects.filter(
        target_id=run.target_id,
        server=run.server,
        table_oid=entry.table_oid,
        state__in=[QuarantinedTable.State.KEPT, QuarantinedTable.State.MISSING],
        run__journal_entry__lt=entry.id,  # Not by its time: the target's clock may have been set back between them.
    )
    for table in left:
        QuarantinedTable.objects.filter(pk=table.pk).update(state=QuarantinedTable.State.RESTORED, left_at=Now())
        if run.undoes_id is None:
            Run.objects.filter(pk=run.pk).update(undoes=table.run_id)
