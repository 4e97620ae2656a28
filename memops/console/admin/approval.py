"""Decisions on a run's page: approve, reject, revoke, withdraw, start, review. Each is one form, sent once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from memops.console.admin import permissions, sign_in
from memops.console.errors import ConsoleError
from memops.console.models import Approval, Run
from memops.console.runs import approvals
from memops.console.runs.request import key_of

Decide = Callable[[HttpRequest, Run], str]


def context(run: Run, request: HttpRequest) -> dict[str, Any]:
    """What the page of a run offers to whoever looks at it, and why it cannot be done where it cannot."""
    found = approvals.standing(run)
    user = request.user
    open_ = run.state == Run.State.AWAITING
    own = [
        one
        for one in found.decisions
        if one.approver_id == user.pk and one.revoked_at is None and one.decision == Approval.Decision.APPROVED
    ]
    reviewable = run.break_glass and not run.is_open and not hasattr(run, "glass_review")
    return {
        "standing": found,
        "groups": run.approver_groups.replace(",", ", "),
        "decide": open_ and not own,
        "decide_why_not": _why_not(run, user, permissions.APPROVE),
        "revoke": bool(own) and run.state in (Run.State.AWAITING, Run.State.QUEUED),
        "withdraw": open_ and permissions.may(user, permissions.FOR_KIND[run.kind], run.target),
        "awaits": _awaits(run, found),
        "start": open_,
        "start_why_not": _start_why_not(run, user, found),
        "ask_password": not sign_in.is_recent(request),
        "review": reviewable,
        "review_why_not": _why_not(run, user, permissions.APPROVE),
        "review_overdue": reviewable and approvals.is_overdue(run),
        "glass_review": getattr(run, "glass_review", None),
    }


def has_moved_on(run: Run, request: HttpRequest) -> bool:
    """Does the page that asks offer something else than what can be done now?"""
    return request.GET.get("awaits", awaits := _awaits(run, approvals.standing(run))) != awaits


def _awaits(run: Run, found: approvals.Standing) -> str:
    """Whom an open request waits for; empty where there is nothing to wait for any more."""
    if run.state != Run.State.AWAITING:
        return ""
    return "start" if found.is_approved else "people"


def approve(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.APPROVE, run)
    approvals.approve(run, by=_person(request), comment=_typed(request, "comment"))
    missing = approvals.standing(run).missing
    return f"You have approved run {run.pk}." + (f" It needs {missing} more." if missing else " It can be started now.")


def reject(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.APPROVE, run)
    approvals.reject(run, by=_person(request), comment=_typed(request, "comment"))
    return f"You have rejected run {run.pk}. Nothing was changed on {run.target_id}."


def revoke(request: HttpRequest, run: Run) -> str:
    approvals.revoke(run, by=_person(request), comment=_typed(request, "comment"))
    return f"Your approval of run {run.pk} is taken back."


def withdraw(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.FOR_KIND[run.kind], run.target)
    approvals.withdraw(run, requester=permissions.requester(request), comment=_typed(request, "comment"))
    return f"Run {run.pk} is withdrawn. Nothing was changed on {run.target_id}."


def start(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.START, run)
    if not sign_in.is_recent(request) and not sign_in.prove(request, str(request.POST.get("password", ""))):
        raise WrongPassword(
            "That is not your password. Nothing was started. Type it again; five wrong ones shut you out for a while."
        )
    approvals.start(run, requester=permissions.requester(request))
    return f"You have started run {run.pk}."


def review(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.APPROVE, run)
    approvals.review(run, by=_person(request), note=_typed(request, "note"))
    return f"You have reviewed run {run.pk}. {run.target_id} takes new runs again."


DECISIONS: dict[str, Decide] = {
    "approve": approve,
    "reject": reject,
    "revoke": revoke,
    "withdraw": withdraw,
    "start": start,
    "review": review,
}


class WrongPassword(Exception):
    """The message is for whoever typed it."""


def decided(request: HttpRequest, run: Run, decide: Decide) -> HttpResponse:
    """Carry a decision out, say what came of it, and show the run again."""
    try:
        messages.success(request, decide(request, run))
    except (ConsoleError, WrongPassword) as error:
        messages.error(request, str(error))
    return redirect(run)


def _person(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied("Sign in first.")
    return request.user


def _typed(request: HttpRequest, name: str) -> str:
    return str(request.POST.get(name, "")).strip()


def _why_not(run: Run, user: User | AnonymousUser, permission: str) -> str:
    if not permissions.may(user, permission, run):
        return permissions.missing(permission)
    if not isinstance(user, User) or run.requester_key in (key_of(user), f"account:{user.get_username()}"):
        return "You asked for it, so somebody else has to decide."
    if run.state == Run.State.AWAITING and not user.groups.filter(name__in=run.approver_groups.split(",")).exists():
        return f"You are in none of the groups that decide: {run.approver_groups.replace(',', ', ')}."
    return ""


def _start_why_not(run: Run, user: User | AnonymousUser, found: approvals.Standing) -> str:
    if not found.is_approved:
        return f"It needs {found.missing} more approval{'' if found.missing == 1 else 's'}."
    if run.not_before is not None and run.not_before > timezone.now():
        return f"It may begin {run.window}."
    return "" if permissions.may(user, permissions.START) else permissions.missing(permissions.START)
