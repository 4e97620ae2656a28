"""The confirmation page: GET shows once more what will happen, POST with the form that it gave out asks for the run."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from memops.console import second_factor
from memops.console.admin import nonce, permissions, sign_in
from memops.console.admin.environment import environment
from memops.console.admin.intent import Intent, Purge, approved_as
from memops.console.admin.plan import plan_context, why_not
from memops.console.characters import quoted
from memops.console.errors import ConsoleError, NonceUsed, ReasonMissing, ReasonUnreadable, WindowInvalid
from memops.console.models import Run
from memops.console.models.plans import changes
from memops.console.runs.policy import policy_for
from memops.console.runs.request import LONGEST_INCIDENT, LONGEST_REASON, readable_reason, submit
from memops.console.runs.window import ANY_TIME, Window, read_moment


class ConfirmForm(forms.Form):
    """What a person types. The name is never preselected, nor shown again after a mistake."""

    typed_name = forms.CharField(required=False, strip=True)
    reason = forms.CharField(required=False, max_length=LONGEST_REASON, widget=forms.Textarea(attrs={"rows": 3}))
    password = forms.CharField(required=False, strip=False)
    code = forms.CharField(required=False, max_length=second_factor.LONGEST_CODE)
    break_glass = forms.BooleanField(required=False, label="Start it without approvals")
    incident = forms.CharField(required=False, max_length=LONGEST_INCIDENT)
    not_before = forms.CharField(required=False, max_length=40, label="Not before")
    not_after = forms.CharField(required=False, max_length=40, label="Not after")

    def __init__(self, data: QueryDict | None = None, *, request: HttpRequest, intent: Intent) -> None:
        super().__init__(data, auto_id="confirm-%s")
        self.intent, self.request, self.window = intent, request, ANY_TIME
        if not intent.asks_for_name:
            del self.fields["typed_name"]
        if not intent.asks_for_name or sign_in.is_recent(request):
            del self.fields["password"], self.fields["code"]
        elif not sign_in.asks_for_code(request):
            del self.fields["code"]
        if not intent.asks_for_name:
            del self.fields["not_before"], self.fields["not_after"]
        self.policy = policy_for(intent.target.alias, approved_as(intent))
        never = isinstance(intent, Purge)
        if never or not self.policy.needed or not permissions.may(request.user, permissions.BREAK_GLASS):
            del self.fields["break_glass"], self.fields["incident"]
        self.fields["reason"].widget.attrs["aria-describedby"] = "help-reason error-reason"

    def clean_typed_name(self) -> str:
        typed: str = self.cleaned_data["typed_name"]
        alias = self.intent.target.alias
        if typed != alias:
            said = f"You typed “{quoted(typed)}”" if typed else "You typed nothing"
            raise ValidationError(f"{said}. Nothing was started. To go on, type the target's name: {alias}")
        return typed

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if "password" in self.fields:
            self._prove(password=cleaned.pop("password", ""), code=cleaned.pop("code", ""))
        if cleaned.get("break_glass") and not cleaned.get("incident") and "incident" not in self.errors:
            self.add_error("incident", "Nothing was started. Say which incident it is for.")
        ends = {end: str(cleaned.get(end, "")).strip() for end in ("not_before", "not_after")}
        try:
            self.window = Window(**{end: read_moment(text) for end, text in ends.items() if text})
            self.window.check()
        except WindowInvalid as error:
            self.add_error("not_before", str(error))
        return cleaned

    def _prove(self, *, password: str, code: str) -> None:
        """Once it is proved, the same form with another mistake in it does not ask again."""
        try:
            sign_in.prove(self.request, password=password, code=code)
        except sign_in.NotProved as wrong:
            self.add_error(wrong.field, f"Nothing was started. {wrong}")
        else:
            self.fields.pop("password")
            self.fields.pop("code", None)

    def clean_reason(self) -> str:
        try:
            return readable_reason(self.cleaned_data["reason"])
        except (ReasonMissing, ReasonUnreadable) as error:
            raise ValidationError(str(error)) from error


def confirm_page(request: HttpRequest, intent: Intent, site: AdminSite) -> HttpResponse:
    permissions.demand(request.user, intent.permission, intent.target)
    requester = permissions.requester(request)
    form, seen, problem, differences = ConfirmForm(request=request, intent=intent), None, "", list[str]()
    if request.method == "POST":
        form = ConfirmForm(request.POST, request=request, intent=intent)
        try:
            seen = nonce.unseal(str(request.POST.get("seen", "")), user=requester.name, intent=intent.key)
        except nonce.NotAsShown as error:
            problem = str(error)
        else:
            # Before a plan is made: the second of two clicks may meet a target on which the first one's run is at work.
            if first := Run.objects.filter(nonce=seen.nonce).first():
                return _already_asked(request, first)
    try:
        plan = intent.plan()
    except ConsoleError as error:
        return _show(request, intent, site, problem=str(error))
    if seen is not None:
        if seen.digest != plan.digest:
            differences = changes(seen.binding, plan.binding)
        elif form.is_valid():
            try:
                run = submit(
                    plan,
                    requester=requester,
                    reason=form.cleaned_data["reason"],
                    seen_digest=seen.digest,
                    nonce=seen.nonce,
                    break_glass=bool(form.cleaned_data.get("break_glass")),
                    incident=str(form.cleaned_data.get("incident", "")),
                    window=form.window,
                )
            except NonceUsed:
                return _already_asked(request, Run.objects.get(nonce=seen.nonce))
            except ConsoleError as error:
                problem = str(error)
            else:
                return redirect(run)
    return _show(
        request,
        intent,
        site,
        problem=problem,
        **plan_context(intent, plan),
        form=form,
        differences=differences,
        sealed=nonce.seal(plan, user=requester.name, intent=intent.key),
    )


def _already_asked(request: HttpRequest, run: Run) -> HttpResponse:
    messages.info(request, f"This form was already sent: it asked for run {run.pk}. No second run was started.")
    return redirect(run)


def _show(request: HttpRequest, intent: Intent, site: AdminSite, **more: Any) -> TemplateResponse:
    context = site.each_context(request) | {
        "title": f"Confirm: {intent.title}",
        "intent": intent,
        "target": intent.target,
        "environment": environment(intent.target.alias),
        "why_not": why_not(request, intent),
    }
    return TemplateResponse(request, "memops_console/confirm/page.html", context | more)
