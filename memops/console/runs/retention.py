"""Which backups have had their time, and which stay all the same; and their deletion, which is finished if interrupted.

Deleted are archive and manifest. The record stays, with hash, rows and sizes, and who deleted it, when and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from memops.console import units
from memops.console.audit import anchors, record, record_or_log
from memops.console.errors import ConsoleError, ExpiryChanged, NothingExpired
from memops.console.models import Backup, Hold, QuarantinedTable, Run, Target
from memops.console.pg import clock, keptfile
from memops.console.pg.manifest import path_of
from memops.console.runs import targets
from memops.console.runs.request import Requester, readable_reason
from memops.console.steps import keeping

OPEN = (*Run.ACTIVE, Run.State.AWAITING)
STANDS = (QuarantinedTable.State.KEPT, QuarantinedTable.State.MISSING)
"""A table that was renamed by hand is missing, and may be found again."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``goes``: it has had its time and nothing keeps it. ``why`` says so, or what keeps it."""

    backup: Backup
    goes: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """``problem``: why its files are not gone yet; "" where they are."""

    backup: Backup
    files: list[str]
    problem: str = ""


def verdicts(alias: str) -> list[Verdict]:
    """Every complete backup of a target, the newest first. Raises UnknownTarget."""
    target = targets.get(alias)
    backups = list(Backup.objects.filter(target=target, state__in=Backup.COMPLETE).order_by("-written_at", "-pk"))
    protected = _protected(target, backups)
    now = clock.now()
    return [
        Verdict(backup=backup, goes=not kept, why=kept or _over(backup, now))
        for place, backup in enumerate(backups)
        for kept in [protected.get(backup.pk) or _kept_by_time(backup, place, now)]
    ]


def expire(alias: str, *, requester: Requester, reason: str, seen: list[int]) -> list[Deleted]:
    """Delete the backups that have had their time, if they are those that were ``seen``. What cannot be removed now is
    told, and removed later.

    Raises UnknownTarget, ReasonMissing, ReasonUnreadable, NothingExpired, ExpiryChanged, AuditUnwritable.
    """
    reason = readable_reason(reason)
    going = [verdict.backup for verdict in verdicts(alias) if verdict.goes]
    if not going:
        raise NothingExpired(target=alias)
    if {backup.pk for backup in going} != set(seen):
        raise ExpiryChanged(target=alias)
    deleted = [_delete(backup, requester=requester, reason=reason) for backup in going]
    anchors.anchor_or_log()
    return deleted


def finish() -> list[Deleted]:
    """Go on with deletions that were interrupted, whoever had begun them."""
    return [_remove(backup) for backup in Backup.objects.filter(state=Backup.State.DELETING).order_by("pk")]


def _protected(target: Target, backups: list[Backup]) -> dict[int, str]:
    """What keeps a backup whatever its age; what is said last is what is told."""
    kept: dict[int, str] = {}
    proved: set[str] = set()
    in_place: set[str] = set()
    for backup in backups:
        if problem := keptfile.problem_with(Path(backup.location), size_bytes=backup.size_bytes):
            kept[backup.pk] = f"its file is not what was written: {problem}. Was it moved, or is its disk not mounted?"
        if backup.state != Backup.State.VERIFIED:
            continue
        if backup.server not in proved:
            kept.setdefault(backup.pk, "it is the last verified one of this target")
        elif backup.server not in in_place and not problem:
            kept.setdefault(backup.pk, "it is the last verified one of this target whose file is in its place")
        proved.add(backup.server)
        in_place |= set() if problem else {backup.server}
    for table in QuarantinedTable.objects.filter(target=target, state__in=STANDS):
        proof = keeping.proof_of(table)
        for number in (table.backup_id, proof.pk if proof else None):
            if number is not None:
                kept[number] = f"it proves what is in {table.name}, which is still in quarantine"
    for run in Run.objects.filter(target=target, state__in=OPEN).filter(
        Q(subject__isnull=False) | Q(kind=Run.Kind.PURGE)
    ):
        number = run.subject_id or (run.plan.get("purge") or {}).get("backup")
        if number is not None:
            kept[number] = f"run {run.pk} needs it"
    return kept | _holds_on(backups)


def _holds_on(backups: list[Backup]) -> dict[int, str]:
    """The standing holds, in words, by the number of the backup."""
    found: dict[int, str] = {}
    for hold in Hold.objects.filter(backup__in=backups, lifted_at__isnull=True):
        if hold.backup_id is not None:
            found[hold.backup_id] = f"{found[hold.backup_id]}. {hold}" if hold.backup_id in found else str(hold)
    return found


def _kept_by_time(backup: Backup, place: int, now: datetime) -> str:
    if place < settings.MEMOPS_BACKUPS_KEEP:
        return f"it is among the newest {settings.MEMOPS_BACKUPS_KEEP} (MEMOPS_BACKUPS_KEEP)"
    left = (backup.written_at or now) + settings.MEMOPS_BACKUPS_KEEP_FOR - now
    return f"it stays for {units.duration(left)} yet (MEMOPS_BACKUPS_KEEP_DAYS)" if left.total_seconds() > 0 else ""


def _over(backup: Backup, now: datetime) -> str:
    return (
        f"written {units.duration(now - (backup.written_at or now))} ago, and"
        f" {settings.MEMOPS_BACKUPS_KEEP} newer ones stay"
    )


def _delete(backup: Backup, *, requester: Requester, reason: str) -> Deleted:
    record("backup.delete_begun", **_event(backup, requester.name), reason=reason)
    try:
        with transaction.atomic():
            # One at a time on a target: of two who delete, the second one sees what the first has left.
            Target.objects.select_for_update().get(pk=backup.target_id)
            now = next((verdict for verdict in verdicts(backup.target_id) if verdict.backup.pk == backup.pk), None)
            if now is None or not now.goes:
                return Deleted(backup=backup, files=[], problem=f"it stays. {now.why if now else 'It went meanwhile'}.")
            Backup.objects.filter(pk=backup.pk, state__in=Backup.COMPLETE).update(
                state=Backup.State.DELETING, deleted_by_name=requester.name, deleted_reason=reason
            )
    except IntegrityError:
        if not (holds := _holds_on([backup])):
            raise
        return Deleted(backup=backup, files=[], problem=f"it stays. {holds[backup.pk]}.")
    backup.refresh_from_db()
    return _remove(backup)


def _remove(backup: Backup) -> Deleted:
    path = Path(backup.location)
    try:
        files = keptfile.remove(path, path_of(path))
    except ConsoleError as error:
        return Deleted(backup=backup, files=[], problem=str(error))
    at_it = Backup.objects.filter(pk=backup.pk, state=Backup.State.DELETING)
    if at_it.update(state=Backup.State.DELETED, deleted_at=Now()):
        record_or_log("backup.deleted", **_event(backup, backup.deleted_by_name), files=files)
    backup.refresh_from_db()
    return Deleted(backup=backup, files=files)


def _event(backup: Backup, actor: str) -> dict[str, Any]:
    return {
        "actor": actor,
        "object_type": "backup",
        "object_id": backup.pk,
        "target": backup.target_id,
        "sha256": backup.sha256,
        "rows": backup.rows,
        "size_bytes": backup.size_bytes,
        "fingerprint": backup.fingerprint,
    }
