"""Put a hold on something that has to stay, and lift it.

What is checked here is checked again by the database (``migrations/holds.sql``), which also says who came first: the
hold or the drop.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from memops.console.audit import record, record_or_log
from memops.console.errors import AlreadyHeld, NotAHolder, NotHeld, NothingToHold, TooLateToHold
from memops.console.models import Hold, QuarantinedTable
from memops.console.runs.request import readable_reason
from memops.console.steps import keeping

MAY_HOLD = "memops_console.hold_target"


def put(table: QuarantinedTable, *, kind: Hold.Kind, by: User, reason: str) -> Hold:
    """From here on no purge drops it. One of each kind may stand at once.

    Raises NotAHolder, ReasonMissing, ReasonUnreadable, AlreadyHeld, NothingToHold, TooLateToHold, AuditUnwritable.
    """
    reason = readable_reason(reason)
    _demand_right(table, by)
    record("hold.put_asked", **_event(table, by, kind=kind, reason=reason))
    try:
        with transaction.atomic():
            hold = Hold.objects.create(kind=kind, table=table, reason=reason, put_by=by, put_by_name=by.get_username())
    except IntegrityError as error:
        raise _refusal(error, table, kind) from error
    hold.refresh_from_db()
    record_or_log("hold.put", **_event(table, by, kind=kind, reason=reason))
    return hold


def lift(table: QuarantinedTable, *, kind: Hold.Kind, by: User, reason: str) -> Hold:
    """What it protected can go again, when its time has come.

    Raises NotAHolder, ReasonMissing, ReasonUnreadable, NotHeld, AuditUnwritable.
    """
    reason = readable_reason(reason)
    _demand_right(table, by)
    of_this_kind = table.holds.filter(kind=kind, lifted_at__isnull=True)
    hold = of_this_kind.first()
    if hold is None:
        raise NotHeld(what=table.name, kind=Hold.Kind(kind).value)
    record("hold.lift_asked", **_event(table, by, kind=kind, reason=reason))
    lifted = of_this_kind.filter(pk=hold.pk).update(
        lifted_at=Now(), lifted_by=by, lifted_by_name=by.get_username(), lifted_reason=reason
    )
    if not lifted:
        raise NotHeld(what=table.name, kind=Hold.Kind(kind).value)
    hold.refresh_from_db()
    record_or_log("hold.lifted", **_event(table, by, kind=kind, reason=reason))
    return hold


def standing(table: QuarantinedTable) -> list[Hold]:
    """The holds that have not been lifted."""
    return keeping.standing_holds(table)


def kept_until(table: QuarantinedTable) -> datetime:
    """Until when no purge drops it, holds aside."""
    return keeping.kept_until(table)


def _demand_right(table: QuarantinedTable, by: User) -> None:
    if not by.has_perm(MAY_HOLD) and not by.has_perm(MAY_HOLD, table.target):
        raise NotAHolder(name=by.get_username())


def _refusal(error: IntegrityError, table: QuarantinedTable, kind: Hold.Kind) -> Exception:
    """What an error of the database's guards says, as one of ours."""
    constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
    table.refresh_from_db()
    if constraint == "hold_before_the_drop":
        return TooLateToHold(what=table.name, run=table.doomed_by_id)
    if constraint == "hold_on_what_is_kept":
        return NothingToHold(what=table.name, state=table.get_state_display().lower())
    if constraint == "hold_one_of_a_kind":
        other = table.holds.filter(kind=kind, lifted_at__isnull=True).first()
        return AlreadyHeld(what=table.name, hold=str(other) if other else "It was lifted meanwhile")
    return error


def _event(table: QuarantinedTable, by: User, **details: object) -> dict[str, Any]:
    return {
        "actor": by.get_username(),
        "object_type": "quarantined_table",
        "object_id": table.name,
        "target": table.target_id,
        **details,
    }
