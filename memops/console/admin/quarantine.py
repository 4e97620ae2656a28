"""Tables in quarantine: the list, and the page of one with the way back."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from memops.console import units
from memops.console.admin import hold, offers, permissions
from memops.console.admin.environment import environment
from memops.console.admin.hold import HeldAdmin
from memops.console.admin.intent import Purge, Undo
from memops.console.models import QuarantinedTable
from memops.console.runs import holds
from memops.console.runs.listing import listed
from memops.console.templatetags.console import state


class QuarantinedTableAdmin(HeldAdmin):
    list_title = "Tables in quarantine"
    list_display = ("name", "target", "shown_state", "shown_rows", "size", "moved_there", "run")
    list_filter = ("target", "state", ("since", admin.DateFieldListFilter))
    list_select_related = ("target", "run", "run__target")
    search_fields = ("name", "fingerprint")
    search_help_text = "Search for a name or a fingerprint."
    actions = ("undo", "purge")

    def has_undo_permission(self, request: HttpRequest, obj: QuarantinedTable | None = None) -> bool:
        return permissions.may(request.user, permissions.UNDO, obj and obj.target)

    def has_purge_permission(self, request: HttpRequest, obj: QuarantinedTable | None = None) -> bool:
        return permissions.may(request.user, permissions.PURGE, obj and obj.target)

    @admin.display(description="State", ordering="state")
    def shown_state(self, table: QuarantinedTable) -> str:
        return state(table.state, table.get_state_display())

    @admin.display(description="Rows", ordering="rows")
    def shown_rows(self, table: QuarantinedTable) -> str:
        return units.NOTHING if table.rows is None else f"{table.rows:,}"

    @admin.display(description="Size", ordering="total_bytes")
    def size(self, table: QuarantinedTable) -> str:
        return units.NOTHING if table.total_bytes is None else units.size(table.total_bytes)

    @admin.display(description="Since", ordering="since")
    def moved_there(self, table: QuarantinedTable) -> str:
        return units.moment(table.since)

    @admin.action(description="Undo the rollback…", permissions=["undo"])
    def undo(self, request: HttpRequest, queryset: QuerySet[QuarantinedTable]) -> HttpResponse | None:
        table = self._chosen(request, queryset)
        return redirect(Undo(target=table.target, run=table.run).url()) if table else None

    @admin.action(description="Purge…", permissions=["purge"])
    def purge(self, request: HttpRequest, queryset: QuerySet[QuarantinedTable]) -> HttpResponse | None:
        table = self._chosen(request, queryset)
        return redirect(Purge(target=table.target, table=table).url()) if table else None

    def _chosen(self, request: HttpRequest, queryset: QuerySet[QuarantinedTable]) -> QuarantinedTable | None:
        """The one that was chosen; where it is not one, that is said."""
        chosen = list(queryset.select_related("target", "run__target")[:2])
        if len(chosen) == 1:
            return chosen[0]
        self.message_user(request, "Choose exactly one table. Nothing was started.", messages.WARNING)
        return None

    def page(self, request: HttpRequest, table: QuarantinedTable) -> HttpResponse:
        hindered = offers.hindrance(table.target)
        context = self.admin_site.each_context(request) | hold.context(table, request)
        context |= {
            "title": str(table),
            "table": table,
            "target": table.target,
            "environment": environment(table.target_id),
            "offers": offers.for_quarantined(request.user, table, hindered=hindered),
            "kept_until": holds.kept_until(table),
            "is_too_young": holds.is_too_young(table),
            "purges": listed(table.purges.all()),
        }
        return TemplateResponse(request, "memops_console/quarantine/page.html", context)
