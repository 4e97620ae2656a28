"""Which backups of a target have had their time: GET lists them, POST with the target's name deletes those listed."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from memops.console.admin import permissions, sign_in
from memops.console.admin.acts import typed
from memops.console.admin.environment import environment
from memops.console.characters import quoted
from memops.console.errors import ConsoleError
from memops.console.models import Target
from memops.console.runs import retention


def expiry_page(request: HttpRequest, target: Target, site: AdminSite) -> HttpResponse:
    problem = ""
    if request.method == "POST":
        permissions.demand(request.user, permissions.EXPIRE, target)
        try:
            return _deleted(request, target)
        except ConsoleError as error:
            problem = str(error)
        except sign_in.NotProved as wrong:
            problem = f"Nothing was deleted. {wrong}"
    try:
        found = retention.verdicts(target.alias)
    except ConsoleError as error:
        found, problem = [], str(error)
    going = [verdict.backup for verdict in found if verdict.goes]
    context: dict[str, Any] = site.each_context(request) | {
        "title": f"Expired backups of {target.alias}",
        "target": target,
        "environment": environment(target.alias),
        "verdicts": found,
        "going": going,
        "shown": ",".join(str(backup.pk) for backup in going),
        "problem": problem,
        "reason": typed(request, "reason"),
        "ask_password": not sign_in.is_recent(request),
        "ask_code": sign_in.asks_for_code(request),
        "why_not": ""
        if permissions.may(request.user, permissions.EXPIRE, target)
        else permissions.missing(permissions.EXPIRE),
    }
    return TemplateResponse(request, "memops_console/target/expiry.html", context)


def _deleted(request: HttpRequest, target: Target) -> HttpResponse:
    """Delete what was shown. Raises ConsoleError, NotProved."""
    name = typed(request, "typed_name")
    if name != target.alias:
        said = f"You typed “{quoted(name)}”" if name else "You typed nothing"
        raise sign_in.NotProved("typed_name", f"{said}. To go on, type the target's name: {target.alias}")
    if not sign_in.is_recent(request):
        sign_in.prove(request, password=str(request.POST.get("password", "")), code=typed(request, "code"))
    shown = [int(number) for number in typed(request, "shown").split(",") if number.isdecimal() and len(number) <= 18]
    requester = permissions.requester(request)
    deleted = retention.expire(target.alias, requester=requester, reason=typed(request, "reason"), seen=shown)
    for one in deleted:
        if one.problem:
            messages.error(request, f"Backup {one.backup.pk} is not deleted: {one.problem}")
        else:
            messages.success(request, f"Backup {one.backup.pk} is deleted. Its record stays.")
    return redirect(request.path)
