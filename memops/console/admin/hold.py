"""Holds on the page of what is held: put one, lift one. Each is one form, sent once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from memops.console.admin import permissions
from memops.console.admin.acts import carried_out, person, typed
from memops.console.admin.record import RecordAdmin
from memops.console.models import Backup, Hold, QuarantinedTable
from memops.console.runs import holds
from memops.console.runs.holds import Held


def context(what: Held, request: HttpRequest) -> dict[str, Any]:
    """What the panel offers to whoever looks at it, and why it cannot be done where it cannot."""
    found = list(what.holds.all())
    standing = [hold for hold in found if hold.lifted_at is None]
    taken = {hold.kind for hold in standing}
    is_kept = what.state in (QuarantinedTable.State.KEPT, *Backup.COMPLETE)
    page = f"admin:memops_console_{what._meta.model_name}"
    return {
        "can_be_held": is_kept,
        "put_url": reverse(f"{page}_hold", args=[what.pk]),
        "lift_url": reverse(f"{page}_lift", args=[what.pk]),
        "holds": standing,
        "lifted_holds": [hold for hold in found if hold.lifted_at is not None],
        "hold_kinds": [kind for kind in Hold.Kind if kind.value not in taken] if is_kept else [],
        "hold_why_not": ""
        if permissions.may(request.user, permissions.HOLD, what.target)
        else permissions.missing(permissions.HOLD),
    }


def put(request: HttpRequest, what: Held) -> str:
    permissions.demand(request.user, permissions.HOLD, what.target)
    hold = holds.put(what, kind=_kind(request), by=person(request), reason=typed(request, "reason"))
    # A message begins with a capital, which the name of a table does not.
    return f"There is a {hold.kind} hold on {holds.called(what)} now: nothing drops or deletes it."


def lift(request: HttpRequest, what: Held) -> str:
    permissions.demand(request.user, permissions.HOLD, what.target)
    hold = holds.lift(what, kind=_kind(request), by=person(request), reason=typed(request, "reason"))
    return f"The {hold.kind} hold on {holds.called(what)} is lifted."


class HeldAdmin(RecordAdmin):
    """Records that a hold can be put on, with the addresses for it."""

    def get_urls(self) -> list[URLPattern]:
        return [
            path(f"<int:number>/{name}/", self._act(act), name=f"{self.opts.app_label}_{self.opts.model_name}_{name}")
            for name, act in (("hold", put), ("lift", lift))
        ] + super().get_urls()

    def _act(self, act: Callable[[HttpRequest, Held], str]) -> Callable[..., HttpResponse]:
        """Signed-in staff who may see the record."""

        def view(request: HttpRequest, number: int) -> HttpResponse:
            return carried_out(request, self.seen(request, number), act, "#holds")

        limited: Callable[..., HttpResponse] = require_POST(view)
        return self.admin_site.admin_view(limited)


def _kind(request: HttpRequest) -> Hold.Kind:
    try:
        return Hold.Kind(typed(request, "kind"))
    except ValueError as error:
        raise Http404("A hold is a manual or a legal one.") from error
