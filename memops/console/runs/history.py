"""What was done by hand belongs to the history too: a bare ``migrate``, or SQL pasted into psql."""

from __future__ import annotations

import uuid

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from memops.console.audit import record_or_log
from memops.console.characters import shown
from memops.console.models import QuarantinedTable, Run, Target
from memops.console.pg import catalogue, session
from memops.console.pg.catalogue import JournalEntry, QuarantinedRelation
from memops.console.runs import checklists, targets
from memops.console.steps.record import OUTCOMES, record_change

KINDS = {
    "deploy": Run.Kind.DEPLOY,
    "quarantine": Run.Kind.ROLLBACK,
    "drop": Run.Kind.ROLLBACK,
    "undo": Run.Kind.UNDO,
    "purge": Run.Kind.PURGE,
    "restore": Run.Kind.RESTORE,
}


def notice(alias: str) -> list[Run]:
    """Take changes that no run of this console has made into the history; returns the runs that stand for them.

    The target's journal is the source, so it does not matter when, from where, or by which tool the change was made.
    Raises TargetUnreachable.
    """
    target = targets.get(alias)
    with session.connect(alias, application_name="memops reads the journal", patience=session.PROMPT) as connection:
        server = catalogue.server(connection)
        if server.is_standby:
            return []  # It may be behind: what it does not have yet is not missing.
        identity = server.identity
        seen = target.journal_seen if target.journal_server == identity else 0
        entries = catalogue.journal(connection, after_id=seen)
        kept = catalogue.quarantined(connection)
    noticed = [run for entry in entries if (run := _take(target, identity, entry)) is not None]
    if entries:
        Target.objects.filter(pk=alias).update(journal_seen=entries[-1].id, journal_server=identity)
    _mark_missing(alias, identity, kept)
    return noticed


def _take(target: Target, identity: str, entry: JournalEntry) -> Run | None:
    """A run for an entry that is nobody's. One of this console's own is recorded on its run, if it was not yet."""
    if entry.action not in OUTCOMES:
        return None
    if (own := _own_run(entry)) is not None:
        if own.journal_entry is None:
            record_change(own, entry)
        return None
    try:
        with transaction.atomic():
            run = Run.objects.create(
                target=target,
                kind=KINDS[entry.action],
                state=Run.State.DONE,
                origin=Run.Origin.BY_HAND,
                requester_name=shown(f"{entry.by_role} ({entry.application_name or 'no application name'})"),
                reason="Noticed in the target's journal: it was done without the console, so without plan and approval."
                if not entry.run_id
                else "Noticed in the target's journal: another memops console has done it.",
                requested_at=entry.happened_at,
                ended_at=entry.happened_at,  # By the target's clock, as the request: it may go before ours.
                server=identity,
                journal_entry=entry.id,
            )
            record_change(run, entry)
    except IntegrityError:
        return None  # Somebody else has noticed it at the same moment.
    record_or_log("run.noticed_by_hand", actor=entry.by_role, run=run, kind=run.kind, journal_entry=entry.id)
    run.refresh_from_db()
    checklists.tick(run)
    return run


def _own_run(entry: JournalEntry) -> Run | None:
    try:
        key = uuid.UUID(entry.run_id)
    except ValueError:
        return None  # Somebody has set memops.run_id to something of their own.
    return Run.objects.filter(key=key).first()


def _mark_missing(alias: str, identity: str, kept: list[QuarantinedRelation]) -> None:
    """A table that is listed as kept, but was renamed or dropped by hand, is not there to be moved back."""
    there = {(relation.name, relation.oid) for relation in kept}
    for table in QuarantinedTable.objects.filter(target=alias, server=identity, state=QuarantinedTable.State.KEPT):
        if (table.name, table.table_oid) not in there:
            QuarantinedTable.objects.filter(pk=table.pk, state=QuarantinedTable.State.KEPT).update(
                state=QuarantinedTable.State.MISSING, left_at=Now()
            )
