"""The plan page: everything that would be done, and what forbids it. It reads; it starts nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse

from memops.console.admin import offers, permissions
from memops.console.admin.environment import environment
from memops.console.admin.intent import Intent, Purge, Restore, RollBack, Undo
from memops.console.errors import ConsoleError
from memops.console.models.plans import Plan
from memops.console.runs import idle, restores


def plan_page(request: HttpRequest, intent: Intent, site: AdminSite) -> TemplateResponse:
    context: dict[str, Any] = site.each_context(request) | {
        "title": f"Plan: {intent.title}",
        "intent": intent,
        "target": intent.target,
        "environment": environment(intent.target.alias),
        "why_not": why_not(request, intent),
    }
    if isinstance(intent, RollBack):
        context["other_mode"] = replace(intent, emergency=not intent.emergency)
    if isinstance(intent, Purge):
        context["other_proof"] = replace(intent, without_backup=not intent.without_backup)
    if isinstance(intent, Restore):
        context["choices"] = list(restores.WORDS.items())
    if isinstance(intent, RollBack | Undo | Restore):
        context |= {"least_idle": settings.MEMOPS_END_IDLE_LEAST, "most_idle": idle.MOST}
        context["leaving_idle_alone"] = replace(intent, end_idle="")
    try:
        plan = intent.plan()
    except ConsoleError as error:
        return TemplateResponse(request, "memops_console/plan/page.html", context | {"problem": str(error)})
    return TemplateResponse(request, "memops_console/plan/page.html", context | plan_context(intent, plan))


def plan_context(intent: Intent, plan: Plan) -> dict[str, Any]:
    """What the fragments about a plan need, on this page and on the confirmation page."""
    return {
        "plan": plan,
        "offers_emergency": isinstance(intent, RollBack) and not intent.emergency and plan.emergency_possible,
    }


def why_not(request: HttpRequest, intent: Intent) -> str:
    """Why this person cannot ask for it, or nobody can now. The plan itself may still refuse."""
    if not permissions.may(request.user, intent.permission, intent.target):
        return permissions.missing(intent.permission)
    return offers.hindrance(intent.target)
