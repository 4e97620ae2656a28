"""The audit trail: to look through, to link to, to check and to take away. Nobody writes it here."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_POST

from memops.console.admin import readable
from memops.console.admin.record import RecordAdmin
from memops.console.audit import LONGEST_NAME, actions, anchors, browse, checking, exporting, record
from memops.console.errors import ConsoleError
from memops.console.models import AuditEvent, Run, Target

LARGEST = 2**63 - 1
GIST = (
    *(
        "name",
        "kind",
        "role",
        "application",
        "state",
        "result",
        "outcome",
        "why",
        "problem",
        "reason",
        "what",
        "changed",
    ),
    *("method", "to", "holds"),
)
"""What of an event's details stands in the list."""

VERIFY = "memops_console.verify_auditevent"
EXPORT = "memops_console.export_auditevent"


class LookForm(forms.Form):
    """What somebody looks for in the trail. All of it together; days are UTC."""

    actor = forms.CharField(required=False, max_length=LONGEST_NAME, label="By", help_text="A whole user name.")
    action = forms.ChoiceField(required=False, label="What", choices=[("", "anything"), *actions.WORDS.items()])
    target = forms.ChoiceField(required=False)
    run = forms.IntegerField(required=False, min_value=1, max_value=LARGEST, label="Run number")
    since = forms.DateField(required=False, label="From", widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(required=False, label="To", widget=forms.DateInput(attrs={"type": "date"}))
    words = forms.CharField(required=False, max_length=200, label="Words", min_length=2)
    object_type = forms.CharField(required=False, max_length=LONGEST_NAME, widget=forms.HiddenInput)
    object_id = forms.CharField(required=False, max_length=LONGEST_NAME, widget=forms.HiddenInput)
    before = forms.IntegerField(required=False, min_value=1, max_value=LARGEST, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        names = Target.objects.order_by("alias").values_list("alias", flat=True)
        self.fields["target"] = forms.ChoiceField(
            required=False, choices=[("", "any"), *((name, name) for name in names)]
        )

    def wanted(self) -> browse.Wanted:
        return browse.Wanted(**self.cleaned_data)

    def asked(self) -> dict[str, str]:
        """What was asked for, as parameters of a link, but where the page begins."""
        return {name: self[name].data for name in self.fields if name != "before" and self[name].data}


class AuditEventAdmin(RecordAdmin):
    list_title = "Audit trail"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied("You lack the permission “Can view audit event”.")
        form = LookForm(request.GET)
        found = browse.page(form.wanted()) if form.is_valid() else None
        asked = form.asked()
        context = self.admin_site.each_context(request) | {
            "title": self.list_title,
            "form": form,
            "found": found,
            "events": [(event, _gist(event)) for event in found.events] if found else [],
            "asked": asked,
            "newest": f"?{urlencode(asked)}" if form["before"].data else "",
            "older": f"?{urlencode(asked | {'before': str(found.older)})}" if found and found.older else "",
            "problem": _problem(),
            "may_verify": request.user.has_perm(VERIFY),
            "may_export": request.user.has_perm(EXPORT),
            "recent": checking.RECENT,
        }
        return TemplateResponse(request, "memops_console/audit/list.html", context)

    def page(self, request: HttpRequest, event: AuditEvent) -> HttpResponse:
        previous, following = browse.neighbours(event)
        context = self.admin_site.each_context(request) | {
            "title": f"Event {event.sequence}: {actions.words(event.action)}",
            "event": event,
            "run": Run.objects.filter(pk=event.run).first() if event.run else None,
            "details": readable.lines(_details(event)),
            "previous": previous,
            "following": following,
            "problem": browse.problem_of(event, previous),
            "of_object": urlencode({"object_type": event.object_type, "object_id": event.object_id}),
        }
        return TemplateResponse(request, "memops_console/audit/page.html", context)

    def verify_view(self, request: HttpRequest) -> HttpResponse:
        _demand(request, VERIFY, "Can verify the audit trail")
        try:
            checked = checking.recent()
            record("audit.checked", holds=checked.holds, first=checked.first, last=checked.verdict.sequence)
        except ConsoleError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            said = " ".join([*checked.sentences, *checked.hints])
            self.message_user(request, said, messages.SUCCESS if checked.holds else messages.ERROR)
        return redirect("admin:memops_console_auditevent_changelist")

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        _demand(request, EXPORT, "Can export the audit trail")
        try:
            lines = exporting.lines(to="console")
        except ConsoleError as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect("admin:memops_console_auditevent_changelist")
        response = StreamingHttpResponse(lines, content_type="application/jsonl; charset=utf-8")
        name = f"memops-audit-{timezone.now():%Y%m%dT%H%M%SZ}.jsonl"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    def get_urls(self) -> list[URLPattern]:
        pages = ((self.verify_view, "verify"), (self.export_view, "export"))
        return [
            path(
                f"{name}/",
                self.admin_site.admin_view(require_POST(page)),
                name=f"memops_console_auditevent_{name}",
            )
            for page, name in pages
        ] + super().get_urls()

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Model | None:
        if not (object_id.isascii() and object_id.isdecimal()) or len(object_id) > 18:
            return None
        return AuditEvent.objects.filter(pk=object_id).first()


def _problem() -> str:
    try:
        return anchors.problem_now()
    except ConsoleError as error:
        return str(error)


def _details(event: AuditEvent) -> dict[str, Any]:
    """Whoever can change the table can write there what is no JSON at all."""
    try:
        found = json.loads(event.details)
    except ValueError:
        return {"text": event.details}
    return found if isinstance(found, dict) else {"text": event.details}


def _gist(event: AuditEvent) -> str:
    details = _details(event)
    return "; ".join(f"{name}: {readable.text(name, details[name])}" for name in GIST if details.get(name))


def _demand(request: HttpRequest, permission: str, words: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied(f"You lack the permission “{words}”. A superuser can give it to you under Users.")
