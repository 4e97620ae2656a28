"""Backups: the list, and the page of one with what was proved of it."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from memops.console import units
from memops.console.admin import hold, offers, permissions, readable
from memops.console.admin.environment import environment
from memops.console.admin.hold import HeldAdmin
from memops.console.admin.intent import Restore, Verify
from memops.console.models import Backup
from memops.console.templatetags.console import state

SHOWN_ELSEWHERE = ("ok", "backup")


class BackupAdmin(HeldAdmin):
    list_title = "Backups"
    list_display = ("__str__", "shown_state", "shown_rows", "size", "started", "verified", "run")
    list_filter = ("target", "state", ("started_at", admin.DateFieldListFilter))
    list_select_related = ("target", "run", "run__target")
    search_fields = ("pk__exact", "relation", "location", "sha256")
    search_help_text = "Search for a number, a table, a path or a SHA-256."
    actions = ("verify", "restore")

    def has_backup_permission(self, request: HttpRequest, obj: Backup | None = None) -> bool:
        return permissions.may(request.user, permissions.BACK_UP, obj and obj.target)

    def has_restore_permission(self, request: HttpRequest, obj: Backup | None = None) -> bool:
        return permissions.may(request.user, permissions.RESTORE, obj and obj.target)

    @admin.display(description="State", ordering="state")
    def shown_state(self, backup: Backup) -> str:
        return state(backup.state, backup.get_state_display())

    @admin.display(description="Rows", ordering="rows")
    def shown_rows(self, backup: Backup) -> str:
        return units.NOTHING if backup.rows is None else f"{backup.rows:,}"

    @admin.display(description="Size", ordering="size_bytes")
    def size(self, backup: Backup) -> str:
        return units.NOTHING if backup.size_bytes is None else units.size(backup.size_bytes)

    @admin.display(description="Started", ordering="started_at")
    def started(self, backup: Backup) -> str:
        return units.moment(backup.started_at)

    @admin.display(description="Verified", ordering="verified_at")
    def verified(self, backup: Backup) -> str:
        return units.moment(backup.verified_at) if backup.verified_at else "never"

    @admin.action(description="Verify…", permissions=["backup"])
    def verify(self, request: HttpRequest, queryset: QuerySet[Backup]) -> HttpResponse | None:
        return self._to_plan(request, queryset, Verify)

    @admin.action(description="Restore…", permissions=["restore"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Backup]) -> HttpResponse | None:
        return self._to_plan(request, queryset, Restore)

    def _to_plan(
        self, request: HttpRequest, queryset: QuerySet[Backup], intent: type[Verify | Restore]
    ) -> HttpResponse | None:
        chosen = list(queryset.select_related("target")[:2])
        if len(chosen) != 1:
            self.message_user(request, "Choose exactly one backup. Nothing was started.", messages.WARNING)
            return None
        return redirect(intent(target=chosen[0].target, backup=chosen[0]).url())

    def page(self, request: HttpRequest, backup: Backup) -> HttpResponse:
        context = self.admin_site.each_context(request) | hold.context(backup, request)
        context |= {
            "title": str(backup),
            "backup": backup,
            "target": backup.target,
            "environment": environment(backup.target_id),
            "offers": offers.for_backup(request.user, backup, hindered=offers.hindrance(backup.target)),
            "checks": readable.checks(backup.verification),
            "verification": readable.lines(
                {name: value for name, value in backup.verification.items() if name not in SHOWN_ELSEWHERE}
            ),
            "manifest": readable.lines(backup.manifest),
            "verifications": backup.verifications.select_related("target")[:10],
        }
        return TemplateResponse(request, "memops_console/backup/page.html", context)
