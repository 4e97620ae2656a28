"""The checklists of the kinds of run: every version, and the page on which the next one is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods

from memops.console.admin import permissions
from memops.console.admin.record import RecordAdmin
from memops.console.errors import ChecklistWrong, ConsoleError
from memops.console.models import ChecklistTemplate, Run
from memops.console.runs import checklist_templates, evidence


class NewVersion(forms.Form):
    """``based_on`` is the version that is being edited: nobody overwrites what was published meanwhile."""

    text = forms.CharField(
        label="Checklist",
        strip=False,
        max_length=checklist_templates.LONGEST_TEXT,
        widget=forms.Textarea(attrs={"rows": 30, "spellcheck": "true"}),
        error_messages={"required": "It has no item."},
    )
    note = forms.CharField(
        label="What is new, and why?", required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2})
    )
    based_on = forms.IntegerField(min_value=0, max_value=2**31 - 2, widget=forms.HiddenInput)


class ChecklistTemplateAdmin(RecordAdmin):
    list_title = "Checklists"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied("You lack the permission “Can view checklist”.")
        context = self.admin_site.each_context(request) | {
            "title": self.list_title,
            "kinds": checklist_templates.by_kind(),
            "publish_why_not": _why_not(request),
        }
        return TemplateResponse(request, "memops_console/checklist/list.html", context)

    def page(self, request: HttpRequest, template: ChecklistTemplate) -> HttpResponse:
        blocks: dict[str, list[tuple[Any, str]]] = {}
        for item in template.items.all():
            check = evidence.CHECKS.get(item.machine)
            blocks.setdefault(item.block, []).append((item, check.title if check else item.machine))
        newest = checklist_templates.newest(template.kind)
        context = self.admin_site.each_context(request) | {
            "title": f"{template.get_kind_display()}: checklist, version {template.version}",
            "template": template,
            "blocks": list(blocks.items()),
            "is_newest": newest is not None and newest.pk == template.pk,
            "publish_why_not": _why_not(request),
        }
        return TemplateResponse(request, "memops_console/checklist/page.html", context)

    def new_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """The newest version as text, to be changed; POST publishes what was typed."""
        if kind not in Run.Kind.values:
            raise Http404("There is no such kind of run.")
        permissions.demand(request.user, permissions.PUBLISH)
        assert isinstance(request.user, User)
        newest = checklist_templates.newest(kind)
        version = newest.version if newest else 0
        form = NewVersion(
            request.POST if request.method == "POST" else None,
            initial={"text": checklist_templates.as_text(newest), "based_on": version},
        )
        if request.method == "POST" and form.is_valid():
            typed = form.cleaned_data
            try:
                made = checklist_templates.publish(
                    kind, typed["text"], by=request.user, note=typed["note"], based_on=typed["based_on"]
                )
            except ChecklistWrong as wrong:
                for problem in wrong.each:
                    form.add_error("text", problem)
            except ConsoleError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"Version {made.version} is published. New runs get it; others keep theirs.")
                return redirect(made)
        context = self.admin_site.each_context(request) | {
            "title": f"{Run.Kind(kind).label}: new version of the checklist",
            "kind": kind,
            "form": form,
            "checks": [(name, evidence.CHECKS[name].title) for name in evidence.names_for(kind)],
        }
        return TemplateResponse(request, "memops_console/checklist/new.html", context)

    def get_urls(self) -> list[URLPattern]:
        view: Callable[..., HttpResponse] = require_http_methods(["GET", "HEAD", "POST"])(self.new_view)
        new = path("new/<slug:kind>/", self.admin_site.admin_view(view), name="memops_console_checklisttemplate_new")
        return [new, *super().get_urls()]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        if not object_id.isdecimal() or len(object_id) > 18:
            return None
        return ChecklistTemplate.objects.filter(pk=object_id).first()


def _why_not(request: HttpRequest) -> str:
    return "" if permissions.may(request.user, permissions.PUBLISH) else permissions.missing(permissions.PUBLISH)
