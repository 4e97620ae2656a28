"""Targets: the list, the page of one, and the way to every plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods, require_safe

from memops.console import units
from memops.console.admin import offers, permissions
from memops.console.admin.confirm import confirm_page
from memops.console.admin.environment import environment
from memops.console.admin.expiry import expiry_page
from memops.console.admin.intent import BackUp, Intent, Purge, Restore, RollBack, Undo, Verify
from memops.console.admin.plan import plan_page
from memops.console.admin.record import RecordAdmin
from memops.console.errors import ConsoleError
from memops.console.models import Backup, QuarantinedTable, Run, Target
from memops.console.runs.listing import listed
from memops.console.runs.overview import overview

LATEST = 10


class TargetAdmin(RecordAdmin):
    list_title = "Targets"
    list_display = ("alias", "environment", "configured", "active_run", "last_verified_backup")
    list_filter = ("configured",)
    search_fields = ("alias",)
    actions = ("roll_back", "back_up")

    def has_rollback_permission(self, request: HttpRequest, obj: Target | None = None) -> bool:
        return permissions.may(request.user, permissions.ROLL_BACK, obj)

    def has_undo_permission(self, request: HttpRequest, obj: Target | None = None) -> bool:
        return permissions.may(request.user, permissions.UNDO, obj)

    def has_backup_permission(self, request: HttpRequest, obj: Target | None = None) -> bool:
        return permissions.may(request.user, permissions.BACK_UP, obj)

    @admin.display(description="Environment")
    def environment(self, target: Target) -> str:
        return environment(target.alias)

    @admin.display(description="Active run")
    def active_run(self, target: Target) -> str:
        run = target.runs.filter(state__in=Run.ACTIVE).first()
        return format_html('<a href="{}">{}</a>', run.get_absolute_url(), run) if run else units.NOTHING

    @admin.display(description="Last verified backup")
    def last_verified_backup(self, target: Target) -> str:
        backup = target.backups.filter(state=Backup.State.VERIFIED).order_by("-verified_at").first()
        return format_html('<a href="{}">{}</a>', backup.get_absolute_url(), backup) if backup else units.NOTHING

    @admin.action(description="Roll back…", permissions=["rollback"])
    def roll_back(self, request: HttpRequest, queryset: QuerySet[Target]) -> HttpResponse | None:
        return self._to_plan(request, queryset, lambda target: RollBack(target=target))

    @admin.action(description="Back up…", permissions=["backup"])
    def back_up(self, request: HttpRequest, queryset: QuerySet[Target]) -> HttpResponse | None:
        return self._to_plan(request, queryset, lambda target: BackUp(target=target))

    def _to_plan(
        self, request: HttpRequest, queryset: QuerySet[Target], intent: Callable[[Target], Intent]
    ) -> HttpResponse | None:
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            self.message_user(request, "Choose exactly one target. Nothing was started.", messages.WARNING)
            return None
        return redirect(intent(chosen[0]).url())

    def page(self, request: HttpRequest, target: Target) -> HttpResponse:
        context: dict[str, Any] = self.admin_site.each_context(request) | {
            "title": f"Target {target.alias}",
            "target": target,
            "environment": environment(target.alias),
            "runs": listed(Run.objects.filter(target=target))[:LATEST],
        }
        backups = Backup.objects.filter(target=target).select_related("target")[:LATEST]
        try:
            seen = overview(target.alias)
        except ConsoleError as error:
            context |= {"problem": str(error), "backups": [(backup, []) for backup in backups]}
        else:
            hindered = offers.of_overview(seen)
            context |= {
                "seen": seen,
                "offers": offers.for_target(request.user, seen),
                "quarantined": [
                    (table, offers.for_quarantined(request.user, table, hindered=hindered))
                    for table in seen.quarantined
                ],
                "backups": [(backup, offers.for_backup(request.user, backup, hindered=hindered)) for backup in backups],
            }
        return TemplateResponse(request, "memops_console/target/page.html", context)

    def get_urls(self) -> list[URLPattern]:
        urls: list[URLPattern] = []
        for name, subject, intent in (
            ("rollback", "", self._rollback),
            ("undo", "<int:subject>/", self._undo),
            ("backup", "", self._backup),
            ("verify", "<int:subject>/", self._verify),
            ("purge", "<int:subject>/", self._purge),
            ("restore", "<int:subject>/", self._restore),
        ):
            base, view = f"<str:alias>/{name}/{subject}", f"memops_console_target_{name}"
            urls += [
                path(base, self._view(plan_page, intent, require_safe), name=view),
                path(
                    f"{base}confirm/",
                    self._view(confirm_page, intent, require_http_methods(["GET", "HEAD", "POST"])),
                    name=f"{view}_confirm",
                ),
            ]
        urls.append(
            path(
                "<str:alias>/expire/",
                self._view(expiry_page, lambda request, target: target, require_http_methods(["GET", "HEAD", "POST"])),
                name="memops_console_target_expire",
            )
        )
        return urls + super().get_urls()

    def _view(
        self,
        page: Callable[..., HttpResponse],
        intent: Callable[..., Any],
        methods: Callable[..., Any],
    ) -> Callable[..., HttpResponse]:
        """Signed-in staff who may see the target; what they intend (``intent``) is read from the address."""

        def view(request: HttpRequest, alias: str, **subject: int) -> HttpResponse:
            target = self.seen(request, alias)
            return page(request, intent(request, target, **subject), self.admin_site)

        limited: Callable[..., HttpResponse] = methods(view)
        return self.admin_site.admin_view(limited)

    def _rollback(self, request: HttpRequest, target: Target) -> Intent:
        mode = request.GET.get("mode", "guided")
        if mode not in ("guided", "emergency"):
            raise Http404("A rollback is guided or an emergency one: ?mode=guided or ?mode=emergency.")
        return RollBack(target=target, emergency=mode == "emergency", end_idle=_end_idle(request))

    def _undo(self, request: HttpRequest, target: Target, *, subject: int) -> Intent:
        return Undo(
            target=target,
            run=get_object_or_404(Run.objects.select_related("target"), pk=subject, target=target),
            end_idle=_end_idle(request),
        )

    def _backup(self, request: HttpRequest, target: Target) -> Intent:
        chosen = request.GET.get("quarantined", "")
        if not chosen:
            return BackUp(target=target)
        if not chosen.isdecimal() or len(chosen) > 18:
            raise Http404("There is no such table in quarantine.")
        return BackUp(target=target, quarantined=get_object_or_404(QuarantinedTable, pk=int(chosen), target=target))

    def _verify(self, request: HttpRequest, target: Target, *, subject: int) -> Intent:
        return Verify(target=target, backup=get_object_or_404(Backup, pk=subject, target=target))

    def _purge(self, request: HttpRequest, target: Target, *, subject: int) -> Intent:
        backup = request.GET.get("backup", "")
        if backup not in ("", "none"):
            raise Http404("A purge has a backup as its proof, or is asked for without one: ?backup=none.")
        table = get_object_or_404(QuarantinedTable.objects.select_related("run"), pk=subject, target=target)
        return Purge(target=target, table=table, without_backup=backup == "none")

    def _restore(self, request: HttpRequest, target: Target, *, subject: int) -> Intent:
        elsewhere = request.GET.get("other_database", "")
        if elsewhere not in ("", "yes"):
            raise Http404("Another database's backup is wanted or not: ?other_database=yes, or nothing.")
        return Restore(
            target=target,
            backup=get_object_or_404(Backup, pk=subject, target=target),
            rows=str(request.GET.get("rows", "")),
            elsewhere=elsewhere == "yes",
            end_idle=_end_idle(request),
        )


def _end_idle(request: HttpRequest) -> str:
    return str(request.GET.get("end_idle", "")).strip()
