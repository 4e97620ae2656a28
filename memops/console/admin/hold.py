"""Holds on the page of what is held: put one, lift one. Each is one form, sent once."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest

from memops.console.admin import permissions
from memops.console.admin.acts import person, typed
from memops.console.models import Hold, QuarantinedTable
from memops.console.runs import holds


def context(table: QuarantinedTable, request: HttpRequest) -> dict[str, Any]:
    """What the panel offers to whoever looks at it, and why it cannot be done where it cannot."""
    found = list(table.holds.all())
    standing = [hold for hold in found if hold.lifted_at is None]
    taken = {hold.kind for hold in standing}
    is_kept = table.state == QuarantinedTable.State.KEPT
    return {
        "holds": standing,
        "lifted_holds": [hold for hold in found if hold.lifted_at is not None],
        "hold_kinds": [kind for kind in Hold.Kind if kind.value not in taken] if is_kept else [],
        "hold_why_not": ""
        if permissions.may(request.user, permissions.HOLD, table.target)
        else permissions.missing(permissions.HOLD),
        "kept_until": holds.kept_until(table),
    }


def put(request: HttpRequest, table: QuarantinedTable) -> str:
    permissions.demand(request.user, permissions.HOLD, table.target)
    hold = holds.put(table, kind=_kind(request), by=person(request), reason=typed(request, "reason"))
    return f"{table.name} is under a {hold.kind} hold: no purge drops it."


def lift(request: HttpRequest, table: QuarantinedTable) -> str:
    permissions.demand(request.user, permissions.HOLD, table.target)
    hold = holds.lift(table, kind=_kind(request), by=person(request), reason=typed(request, "reason"))
    return f"The {hold.kind} hold on {table.name} is lifted."


ACTS = {"hold": put, "lift": lift}


def _kind(request: HttpRequest) -> Hold.Kind:
    try:
        return Hold.Kind(typed(request, "kind"))
    except ValueError as error:
        raise Http404("A hold is a manual or a legal one.") from error
