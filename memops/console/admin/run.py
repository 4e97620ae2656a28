"""Runs: the history, and the page of one, which follows the work while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.text import Truncator
from django.views.decorators.http import require_POST, require_safe

from memops.console import units
from memops.console.admin import approval, checklist, permissions, watching
from memops.console.admin.acts import carried_out
from memops.console.admin.environment import environment
from memops.console.admin.intent import Undo
from memops.console.admin.progress import live
from memops.console.admin.record import RecordAdmin
from memops.console.admin.watching import LIVE, Look
from memops.console.audit import record
from memops.console.errors import ConsoleError
from memops.console.models import Run, Step
from memops.console.runs import approvals, checklists
from memops.console.runs.listing import listed
from memops.console.runs.reconcile import reconcile
from memops.console.runs.request import cancel
from memops.console.templatetags.console import run_state

STOP_POLLING = 286
"""What tells htmx that there is nothing more to ask for."""


class RunAdmin(RecordAdmin):
    list_title = "History of runs"
    list_display = (
        "number",
        "title",
        "target",
        "shown_state",
        "outcome",
        "closing",
        "by",
        "short_reason",
        "requested",
        "duration",
    )
    list_display_links = ("number", "title")
    list_filter = (
        "target",
        "kind",
        "state",
        "outcome",
        "origin",
        "emergency",
        ("requested_at", admin.DateFieldListFilter),
    )
    list_select_related = ("target",)
    search_fields = ("pk__exact", "reason", "requester_name")
    search_help_text = "Search for a run's number, or for words of the reason or the requester."
    date_hierarchy = "requested_at"
    actions = ("undo", "cancel")

    def has_undo_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return permissions.may(request.user, permissions.UNDO, obj and obj.target)

    def has_cancel_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """Who may ask for a kind of run may take it back."""
        if obj is None:
            return any(permissions.may(request.user, permission) for permission in permissions.FOR_KIND.values())
        return permissions.may(request.user, permissions.FOR_KIND[obj.kind], obj.target)

    @admin.display(description="Run", ordering="pk")
    def number(self, run: Run) -> str:
        return f"#{run.pk}"

    @admin.display(description="What", ordering="kind")
    def title(self, run: Run) -> str:
        return run.title

    @admin.display(description="State", ordering="state")
    def shown_state(self, run: Run) -> str:
        return run_state(run)

    @admin.display(description="Checklist")
    def closing(self, run: Run) -> str:
        return checklists.words(run) or units.NOTHING

    @admin.display(description="Reason", ordering="reason")
    def short_reason(self, run: Run) -> str:
        return Truncator(run.reason).chars(60)

    @admin.display(description="By", ordering="requester_name")
    def by(self, run: Run) -> str:
        return run.requester_name or units.NOTHING

    @admin.display(description="Requested", ordering="requested_at")
    def requested(self, run: Run) -> str:
        return units.moment(run.requested_at)

    @admin.display(description="Took")
    def duration(self, run: Run) -> str:
        return units.duration(run.took) if run.claimed_at and run.took else units.NOTHING

    @admin.action(description="Undo the rollback…", permissions=["undo"])
    def undo(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse | None:
        chosen = list(queryset.select_related("target")[:2])
        if len(chosen) != 1:
            self.message_user(request, "Choose exactly one run. Nothing was started.", messages.WARNING)
            return None
        return redirect(Undo(target=chosen[0].target, run=chosen[0]).url())

    @admin.action(description="Cancel queued runs", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        for run in queryset.select_related("target"):
            if self.has_cancel_permission(request, run):
                self._cancel(request, run)
            else:
                missing = permissions.missing(permissions.FOR_KIND[run.kind])
                self.message_user(request, f"Run {run.pk} was not cancelled. {missing}", messages.ERROR)

    def _cancel(self, request: HttpRequest, run: Run) -> None:
        try:
            cancel(run, requester=permissions.requester(request))
        except ConsoleError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(request, f"Run {run.pk} is cancelled. Nothing was changed on {run.target_id}.")

    def page(self, request: HttpRequest, run: Run) -> HttpResponse:
        if approvals.expire():
            run.refresh_from_db()
        context = self.admin_site.each_context(request) | live(run, request.user) | approval.context(run, request)
        context |= checklist.context(run, request) | {
            "title": f"Run {run.pk}: {run.title} on {run.target_id}",
            "target": run.target,
            "environment": environment(run.target_id),
            "plan": run.planned() if run.plan else None,
            # By the database's clock, as the run's own times.
            "now": Run.objects.values_list(Now(), flat=True).get(pk=run.pk),
        }
        return TemplateResponse(request, "memops_console/run/page.html", context)

    def live_view(self, request: HttpRequest, look: Look) -> HttpResponse:
        """The part of the page that moves. After the end it is given once more, and then no longer asked for."""
        run, response = look.run, HttpResponse(look.live)
        if not look.live:
            context = live(run, request.user) | {"log_by_offset": True}
            if not run.is_open:
                # It ends with this: the checklist can be signed now, without a reload.
                context |= checklist.context(run, request) | {"checklist_beside": True}
            status = 200 if run.is_open else STOP_POLLING
            response = TemplateResponse(request, LIVE, context, status=status)
        if approval.has_moved_on(run, request):
            # What can be done now stands outside of this part.
            response.status_code = 200
            response["HX-Refresh"] = "true"
        return response

    def tail_view(self, request: HttpRequest, look: Look, position: int) -> HttpResponse:
        """What has come to a step's log since the offset that the page knows."""
        steps = look.run.steps.filter(position=position) if look.steps is None else look.steps
        step = next((step for step in steps if step.position == position), None)
        given = request.GET.get("from", "0")
        if step is None or not given.isdecimal() or len(given) > 12:
            raise Http404
        context = {"run": look.run, "step": step, "text": step.log[int(given) :], "offset": len(step.log)}
        return TemplateResponse(request, "memops_console/run/tail.html", context)

    def log_view(self, request: HttpRequest, run: Run) -> HttpResponse:
        """The whole log, as a text file."""
        try:
            record("run.log_downloaded", run=run)
        except ConsoleError as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect(run)
        response = HttpResponse(
            "".join(_log_lines(run, list(run.steps.all()))), content_type="text/plain; charset=utf-8"
        )
        response["Content-Disposition"] = f'attachment; filename="memops-run-{run.pk}.log"'
        return response

    def cancel_view(self, request: HttpRequest, run: Run) -> HttpResponse:
        permissions.demand(request.user, permissions.FOR_KIND[run.kind], run.target)
        self._cancel(request, run)
        return redirect(run)

    def reconcile_view(self, request: HttpRequest, run: Run) -> HttpResponse:
        permissions.demand(request.user, permissions.FOR_KIND[run.kind], run.target)
        try:
            settled = reconcile(requester=permissions.requester(request), only=run)
        except ConsoleError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            for one in settled:
                now = one.run.get_state_display().lower()
                self.message_user(request, f"Run {one.run.pk} was {one.was}, and is {now}: {one.text}.")
            if not settled:
                said = "There was nothing to settle: the run is neither lost nor unknown."
                self.message_user(request, said, messages.INFO)
        return redirect(run)

    def get_urls(self) -> list[URLPattern]:
        pages: tuple[tuple[str, Callable[..., HttpResponse], Callable[..., Any], str], ...] = (
            ("<int:number>/log.txt", self.log_view, require_safe, "log"),
            ("<int:number>/cancel/", self.cancel_view, require_POST, "cancel"),
            ("<int:number>/reconcile/", self.reconcile_view, require_POST, "reconcile"),
            *(
                (f"<int:number>/{name}/", partial(carried_out, act=act), require_POST, name)
                for name, act in approval.DECISIONS.items()
            ),
            *(
                (f"<int:number>/{name}/", partial(carried_out, act=act, place="#checklist"), require_POST, name)
                for name, act in checklist.ACTS.items()
            ),
        )
        polled = (
            ("<int:number>/live/", self.live_view, "live"),
            ("<int:number>/step/<int:position>/log/", self.tail_view, "tail"),
        )
        views = [(route, self._view(page, methods, self.seen), name) for route, page, methods, name in pages]
        views += [(route, self._view(page, require_safe, self._look), name) for route, page, name in polled]
        return [
            path(route, view, name=f"memops_console_run_{name}") for route, view, name in views
        ] + super().get_urls()

    def _look(self, request: HttpRequest, number: int) -> Look:
        """For what is asked for again and again: the run as everybody sees it at this moment."""
        self.demand_view(request)
        look = watching.look(number, lambda: self.get_object(request, str(number)))
        if look is None:
            raise Http404(f"There is no run {number}.")
        self.demand_view_of(request, number, look.run)
        return look

    def _view(
        self, page: Callable[..., HttpResponse], methods: Callable[..., Any], seen: Callable[[HttpRequest, int], Any]
    ) -> Callable[..., HttpResponse]:
        """Signed-in staff who may see the run; ``seen`` gives what the page gets."""

        def view(request: HttpRequest, number: int, **more: int) -> HttpResponse:
            answer: HttpResponse = page(request, seen(request, number), **more)
            return answer

        limited: Callable[..., HttpResponse] = methods(view)
        return self.admin_site.admin_view(limited)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return listed(super().get_queryset(request))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Run | None:
        if not object_id.isdecimal() or len(object_id) > 18:
            return None
        return (
            Run.objects.select_related("target", "requester", "undoes__target", "subject__target")
            .filter(pk=object_id)
            .first()
        )


def _log_lines(run: Run, steps: list[Step]) -> list[str]:
    started = f"{run} ({run.get_state_display().lower()})\nRequested {units.moment(run.requested_at)}"
    lines = [f"{started} by {run.requester_name or 'nobody known'}: {run.reason}\n"]
    for step in steps:
        lines.append(f"\n== {step.position}. {step.title}: {step.get_state_display().lower()}")
        lines.append(f", {units.moment(step.started_at)}\n" if step.started_at else "\n")
        lines.append(step.log)
        if step.error:
            lines.append(f"ERROR {step.error}\n")
    if run.error:
        lines.append(f"\nThe run ended with: {run.error}\n")
    return lines
