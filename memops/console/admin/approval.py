"""Decisions on a run's page: approve, reject, revoke, withdraw, start, review. Each is one form, sent once."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest

from memops.console.admin import permissions, sign_in
from memops.console.admin.acts import Act, person, typed
from memops.console.models import Approval, Run
from memops.console.runs import approvals, window
from memops.console.runs.request import key_of


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
        "awaits": _awaits(run),
        "start": open_,
        "start_why_not": _start_why_not(run, user, found),
        "ask_password": not sign_in.is_recent(request),
        "ask_code": sign_in.asks_for_code(request),
        "review": reviewable,
        "review_why_not": _why_not(run, user, permissions.APPROVE),
        "review_overdue": reviewable and approvals.is_overdue(run),
        "glass_review": getattr(run, "glass_review", None),
    }


def has_moved_on(run: Run, request: HttpRequest) -> bool:
    """Does the page that asks offer something else than what can be done now?"""
    return "awaits" in request.GET and request.GET["awaits"] != _awaits(run)


def _awaits(run: Run) -> str:
    """Whom an open request waits for; empty where there is nothing to wait for any more."""
    if run.state != Run.State.AWAITING:
        return ""
    return "start" if approvals.is_approved(run) else "people"


def approve(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.APPROVE, run)
    approvals.approve(run, by=person(request), comment=typed(request, "comment"))
    missing = approvals.standing(run).missing
    return f"You have approved run {run.pk}." + (f" It needs {missing} more." if missing else " It can be started now.")


def reject(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.APPROVE, run)
    approvals.reject(run, by=person(request), comment=typed(request, "comment"))
    return f"You have rejected run {run.pk}. Nothing was changed on {run.target_id}."


def revoke(request: HttpRequest, run: Run) -> str:
    approvals.revoke(run, by=person(request), comment=typed(request, "comment"))
    return f"Your approval of run {run.pk} is taken back."


def withdraw(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.FOR_KIND[run.kind], run.target)
    approvals.withdraw(run, requester=permissions.requester(request), comment=typed(request, "comment"))
    return f"Run {run.pk} is withdrawn. Nothing was changed on {run.target_id}."


def start(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.START, run)
    if not sign_in.is_recent(request):
        sign_in.prove(request, password=str(request.POST.get("password", "")), code=typed(request, "code"))
    approvals.start(run, requester=permissions.requester(request))
    return f"You have started run {run.pk}."


def review(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.APPROVE, run)
    approvals.review(run, by=person(request), note=typed(request, "note"))
    return f"You have reviewed run {run.pk}. {run.target_id} takes new runs again."


DECISIONS: dict[str, Act] = {
    "approve": approve,
    "reject": reject,
    "revoke": revoke,
    "withdraw": withdraw,
    "start": start,
    "review": review,
}


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
    if window.is_to_come(run):
        return f"It may begin {run.window}."
    return "" if permissions.may(user, permissions.START) else permissions.missing(permissions.START)
