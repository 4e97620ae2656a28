"""What a page offers to do next, and why it cannot be done where it cannot."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser, User

from memops.console.admin import permissions
from memops.console.admin.intent import BackUp, Intent, Purge, Restore, RollBack, Undo, Verify
from memops.console.models import Backup, QuarantinedTable, Run, Target
from memops.console.runs.overview import Overview

Anyone = User | AnonymousUser


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A button that leads to a plan; with ``why_not``, a button that is off and says why."""

    name: str
    label: str
    url: str
    why_not: str = ""
    takes_away: bool = False


def for_target(user: Anyone, seen: Overview) -> list[Offer]:
    """What can be done to the table of a target; the way back comes first where the table is away."""
    gone = "" if seen.table else f"There is no public.memory_chunks on {seen.target.alias}"
    nothing = f"{gone}, and the migration is not applied: nothing to roll back." if gone and not seen.revision else ""
    hindered = of_overview(seen)
    target = seen.target
    is_free = seen.table is None or (seen.table.rows_exact and not seen.table.rows)
    newest = max(seen.quarantined, key=lambda table: table.since, default=None) if is_free else None
    return [
        *(for_quarantined(user, newest, hindered=hindered)[:1] if newest else []),
        _offer(user, "rollback", "Roll back…", RollBack(target=target), hindered or nothing),
        _offer(user, "emergency", "Emergency rollback…", RollBack(target=target, emergency=True), hindered or nothing),
        _offer(
            user, "backup", "Back up…", BackUp(target=target), hindered or (gone and f"{gone}: nothing to back up.")
        ),
    ]


def for_quarantined(user: Anyone, table: QuarantinedTable, *, hindered: str = "") -> list[Offer]:
    """What can be done with a table in quarantine. ``hindered``: what forbids anything on its target."""
    gone = ""
    if table.state != QuarantinedTable.State.KEPT:
        when = f" since {table.left_at:%Y-%m-%d %H:%M} UTC" if table.left_at else ""
        gone = f"{table.name} is not in quarantine{when} ({table.get_state_display().lower()})."
    hindered = gone or hindered
    return [
        _offer(user, f"undo-{table.run_id}", "Undo…", Undo(target=table.target, run=table.run), hindered),
        _offer(
            user,
            f"backup-quarantined-{table.pk}",
            "Back up…",
            BackUp(target=table.target, quarantined=table),
            hindered,
        ),
        _offer(user, f"purge-{table.pk}", "Purge…", Purge(target=table.target, table=table), hindered),
    ]


def for_backup(user: Anyone, backup: Backup, *, hindered: str = "") -> list[Offer]:
    """What can be done with a backup: only one that is verified can be restored."""
    complete = backup.state in Backup.COMPLETE
    incomplete = f"Backup {backup.pk} is not complete ({backup.get_state_display().lower()}): nothing to verify."
    unproved = "" if backup.state == Backup.State.VERIFIED else f"Backup {backup.pk} is not verified."
    restoring, verifying = Restore(target=backup.target, backup=backup), Verify(target=backup.target, backup=backup)
    return [
        _offer(user, f"restore-{backup.pk}", "Restore…", restoring, unproved or hindered),
        _offer(user, f"verify-{backup.pk}", "Verify…", verifying, hindered if complete else incomplete),
    ]


def hindrance(target: Target) -> str:
    """What forbids any new run on a target, as far as the console's own records say."""
    if not target.configured:
        return f"{target.alias} is not among the targets of this console's settings any more."
    return _active(Run.objects.filter(target=target, state__in=Run.ACTIVE).first()) or _unreviewed(target)


def of_overview(seen: Overview) -> str:
    """The same, where the target has been looked at."""
    return _unseen(seen) or _active(seen.active) or _unreviewed(seen.target)


def _offer(user: Anyone, name: str, label: str, intent: Intent, why_not: str) -> Offer:
    if not permissions.may(user, intent.permission, intent.target):
        why_not = permissions.missing(intent.permission)
    return Offer(name=name, label=label, url=intent.url(), why_not=why_not, takes_away=intent.takes_away)


def _unseen(seen: Overview) -> str:
    return "" if seen.reachable else f"{seen.target.alias}: {seen.state_text}"


def _unreviewed(target: Target) -> str:
    run = Run.objects.filter(target=target, break_glass=True, glass_review=None).first()
    if run is None:
        return ""
    return f"Run {run.pk} was started without approvals, and nobody else has reviewed it yet."


def _active(run: Run | None) -> str:
    if run is None:
        return ""
    return f"Run {run.pk} ({run.title.lower()}) is {run.get_state_display().lower()}: one run at a time on a target."
