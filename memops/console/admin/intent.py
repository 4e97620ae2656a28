"""What an operator is about to ask for, before there is a run: which work, on which target, which plan, which pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from django.urls import reverse

from memops.console.admin import permissions
from memops.console.models import Backup, QuarantinedTable, Run, Target
from memops.console.models.plans import WITHOUT_BACKUP, Plan
from memops.console.runs import idle, restores
from memops.console.runs.plan import plan_backup, plan_purge, plan_restore, plan_rollback, plan_undo, plan_verify

Page = Literal["plan", "confirm"]


@dataclass(frozen=True, kw_only=True)
class RollBack:
    target: Target
    emergency: bool = False
    end_idle: str = ""
    """Seconds, as they were typed; the plan says whether that can be."""
    permission = permissions.ROLL_BACK
    kind = Run.Kind.ROLLBACK
    asks_for_name = True
    takes_away = True

    @property
    def does(self) -> str:
        """What the button says that starts it."""
        return f"Roll back {self.target.alias}" + (" now, back up afterwards" if self.emergency else "")

    @property
    def title(self) -> str:
        return f"{'Emergency rollback' if self.emergency else 'Rollback'} of memory_chunks on {self.target.alias}"

    @property
    def key(self) -> str:
        return f"rollback {self.target.alias} {self.emergency} {self.end_idle}"

    @property
    def mode(self) -> str:
        return "emergency" if self.emergency else "guided"

    def plan(self) -> Plan:
        return plan_rollback(self.target.alias, emergency=self.emergency, end_idle=idle.read(self.end_idle))

    def url(self, page: Page = "plan") -> str:
        return _url("rollback", page, self.target, mode=self.mode, end_idle=self.end_idle)

    @property
    def confirm_url(self) -> str:
        return self.url("confirm")


@dataclass(frozen=True, kw_only=True)
class Undo:
    target: Target
    run: Run
    end_idle: str = ""
    permission = permissions.UNDO
    kind = Run.Kind.UNDO
    asks_for_name = True
    takes_away = False

    @property
    def does(self) -> str:
        """What the button says that starts it."""
        return f"Move the table back on {self.target.alias}"

    @property
    def title(self) -> str:
        return f"Undo run {self.run.pk} on {self.target.alias}"

    @property
    def key(self) -> str:
        return f"undo {self.target.alias} {self.run.pk} {self.end_idle}"

    def plan(self) -> Plan:
        return plan_undo(self.run, end_idle=idle.read(self.end_idle))

    def url(self, page: Page = "plan") -> str:
        return _url("undo", page, self.target, self.run.pk, end_idle=self.end_idle)

    @property
    def confirm_url(self) -> str:
        return self.url("confirm")


@dataclass(frozen=True, kw_only=True)
class BackUp:
    target: Target
    quarantined: QuarantinedTable | None = None
    permission = permissions.BACK_UP
    kind = Run.Kind.BACKUP
    asks_for_name = False
    takes_away = False

    @property
    def does(self) -> str:
        """What the button says that starts it."""
        return "Back up and verify"

    @property
    def title(self) -> str:
        return f"Back up {self.quarantined.name if self.quarantined else 'memory_chunks'} on {self.target.alias}"

    @property
    def key(self) -> str:
        return f"backup {self.target.alias} {self.quarantined.pk if self.quarantined else ''}"

    def plan(self) -> Plan:
        return plan_backup(self.target.alias, quarantined=self.quarantined)

    def url(self, page: Page = "plan") -> str:
        return _url("backup", page, self.target, quarantined=str(self.quarantined.pk) if self.quarantined else "")

    @property
    def confirm_url(self) -> str:
        return self.url("confirm")


@dataclass(frozen=True, kw_only=True)
class Verify:
    target: Target
    backup: Backup
    permission = permissions.BACK_UP
    kind = Run.Kind.VERIFY
    asks_for_name = False
    takes_away = False

    @property
    def does(self) -> str:
        """What the button says that starts it."""
        return "Verify the backup"

    @property
    def title(self) -> str:
        return f"Verify backup {self.backup.pk} of {self.target.alias}"

    @property
    def key(self) -> str:
        return f"verify {self.target.alias} {self.backup.pk}"

    def plan(self) -> Plan:
        return plan_verify(self.backup)

    def url(self, page: Page = "plan") -> str:
        return _url("verify", page, self.target, self.backup.pk)

    @property
    def confirm_url(self) -> str:
        return self.url("confirm")


@dataclass(frozen=True, kw_only=True)
class Purge:
    target: Target
    table: QuarantinedTable
    without_backup: bool = False
    permission = permissions.PURGE
    kind = Run.Kind.PURGE
    asks_for_name = True
    takes_away = True

    @property
    def does(self) -> str:
        """What the button says that starts it."""
        without = ", without a backup" if self.without_backup else ""
        return f"Drop {self.table.name} for good{without}"

    @property
    def title(self) -> str:
        without = " without a backup" if self.without_backup else ""
        return f"Purge of {self.table.name} on {self.target.alias}{without}"

    @property
    def key(self) -> str:
        return f"purge {self.target.alias} {self.table.pk} {self.without_backup}"

    def plan(self) -> Plan:
        return plan_purge(self.table, without_backup=self.without_backup)

    def url(self, page: Page = "plan") -> str:
        return _url("purge", page, self.target, self.table.pk, backup="none" if self.without_backup else "")

    @property
    def confirm_url(self) -> str:
        return self.url("confirm")


@dataclass(frozen=True, kw_only=True)
class Restore:
    target: Target
    backup: Backup
    rows: str = ""
    """What becomes of rows that stand there, as it was chosen; the plan says whether that can be."""
    elsewhere: bool = False
    end_idle: str = ""
    permission = permissions.RESTORE
    kind = Run.Kind.RESTORE
    asks_for_name = True
    takes_away = True

    @property
    def does(self) -> str:
        """What the button says that starts it."""
        return f"Restore backup {self.backup.pk} on {self.target.alias}"

    @property
    def title(self) -> str:
        return f"Restore backup {self.backup.pk} as memory_chunks on {self.target.alias}"

    @property
    def key(self) -> str:
        return f"restore {self.target.alias} {self.backup.pk} {self.rows} {self.elsewhere} {self.end_idle}"

    @property
    def chosen(self) -> dict[str, str]:
        """What another form on the plan's page has to keep."""
        return {"rows": self.rows, "other_database": "yes" if self.elsewhere else ""}

    def plan(self) -> Plan:
        return plan_restore(
            self.backup, rows=restores.read(self.rows), elsewhere=self.elsewhere, end_idle=idle.read(self.end_idle)
        )

    def url(self, page: Page = "plan") -> str:
        return _url("restore", page, self.target, self.backup.pk, **self.chosen, end_idle=self.end_idle)

    @property
    def confirm_url(self) -> str:
        return self.url("confirm")


Intent = RollBack | Undo | BackUp | Verify | Purge | Restore


def approved_as(intent: Intent) -> str:
    """What it is called where it is said how many have to agree."""
    return WITHOUT_BACKUP if isinstance(intent, Purge) and intent.without_backup else intent.kind.value


def _url(name: str, page: Page, target: Target, *subject: int, **chosen: str) -> str:
    suffix = "_confirm" if page == "confirm" else ""
    path = reverse(f"admin:memops_console_target_{name}{suffix}", args=[target.alias, *subject])
    query = urlencode({key: value for key, value in chosen.items() if value})
    return f"{path}?{query}" if query else path
