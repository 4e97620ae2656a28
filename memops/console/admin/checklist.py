"""The checklist on a run's page: what holds, who said so, and what whoever looks at it can do. Each act is one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest

from memops.console.admin import permissions
from memops.console.admin.acts import Act, person, typed
from memops.console.models import Run, SignOff
from memops.console.runs import checklist_templates, checklists, signing
from memops.console.runs.checklists import ItemStanding, Standing


@dataclass(frozen=True, kw_only=True)
class ShownItem:
    """An item as the page shows it to one person."""

    standing: ItemStanding
    can_settle: bool
    can_reopen: bool
    why_not: str


def context(run: Run, request: HttpRequest) -> dict[str, Any]:
    """The panel. Without a checklist it says why, where the kind of run has one by now."""
    if run.checklist_id is None:
        late = run.kind if checklist_templates.newest(run.kind) else ""
        return {"checklist": None, "checklist_came_later": bool(late)}
    found = checklists.standing(run)
    assert found is not None
    user = request.user
    due = checklists.is_due(run)
    groups = sorted(user.groups.values_list("name", flat=True)) if isinstance(user, User) else []
    sign_why_not = "" if permissions.may(user, permissions.SIGN, run) else permissions.missing(permissions.SIGN)
    return {
        "checklist": found,
        "checklist_due": due,
        "checklist_words": checklists.words(run),
        "checklist_blocks": [
            (block, [_shown(one, found, groups, may=due and not sign_why_not) for one in items])
            for block, items in found.blocks
        ],
        "checklist_roles": groups,
        "sign_why_not": sign_why_not,
        "close_why_not": _close_why_not(run, user, found),
    }


def _shown(one: ItemStanding, found: Standing, groups: list[str], *, may: bool) -> ShownItem:
    stranger = bool(one.item.role) and one.item.role not in groups
    unsettled = may and not one.is_settled and not found.is_closed
    return ShownItem(
        standing=one,
        can_settle=unsettled and not stranger,
        can_reopen=may and (one.is_settled or found.is_closed),
        why_not=f"A member of the group {one.item.role} signs it." if unsettled and stranger else "",
    )


def _close_why_not(run: Run, user: User | AnonymousUser, found: Standing) -> str:
    left = found.open_items
    if left:
        return f"{left} required item{' of it is' if left == 1 else 's of it are'} open."
    return "" if permissions.may(user, permissions.CLOSE, run) else permissions.missing(permissions.CLOSE)


def sign(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.SIGN, run)
    said = signing.sign(
        run, _number(request), by=person(request), role=typed(request, "role"), note=typed(request, "note")
    )
    return f"You have signed {_named(said)}."


def set_aside(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.SIGN, run)
    said = signing.not_applicable(
        run, _number(request), by=person(request), role=typed(request, "role"), reason=typed(request, "note")
    )
    return f"You have said that {_named(said)} does not apply."


def accept(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.SIGN, run)
    said = signing.accept(
        run, _number(request), by=person(request), role=typed(request, "role"), reason=typed(request, "note")
    )
    return f"You have accepted {_named(said)} without its evidence."


def reopen(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.SIGN, run)
    said = signing.reopen(run, _number(request), by=person(request), reason=typed(request, "note"))
    return f"You have reopened {_named(said)}."


def close(request: HttpRequest, run: Run) -> str:
    permissions.demand(request.user, permissions.CLOSE, run)
    signing.close(run, by=person(request), note=typed(request, "note"))
    return f"You have closed run {run.pk}."


ACTS: dict[str, Act] = {
    "sign": sign,
    "set-aside": set_aside,
    "accept": accept,
    "reopen": reopen,
    "close": close,
}


def _named(said: SignOff) -> str:
    return f"item {said.item.number} ({said.item.text})"


def _number(request: HttpRequest) -> int:
    """The item's number. No item has number 0."""
    number = typed(request, "item")
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 6 else 0
