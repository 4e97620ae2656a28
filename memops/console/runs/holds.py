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
from memops.console.models import Backup, Hold, QuarantinedTable
from memops.console.pg import clock
from memops.console.runs.request import readable_reason
from memops.console.steps import keeping

MAY_HOLD = "memops_console.hold_target"

Held = QuarantinedTable | Backup


def put(what: Held, *, kind: Hold.Kind, by: User, reason: str) -> Hold:
    """From here on no purge drops it, and nothing deletes it. One of each kind may stand at once.

    Raises NotAHolder, ReasonMissing, ReasonUnreadable, AlreadyHeld, NothingToHold, TooLateToHold, AuditUnwritable.
    """
    reason = readable_reason(reason)
    _demand_right(what, by)
    record("hold.put_asked", **_event(what, by, kind=kind, reason=reason))
    try:
        with transaction.atomic():
            hold = what.holds.create(kind=kind, reason=reason, put_by=by, put_by_name=by.get_username())
    except IntegrityError as error:
        raise _refusal(error, what, kind) from error
    hold.refresh_from_db()
    record_or_log("hold.put", **_event(what, by, kind=kind, reason=reason))
    return hold


def lift(what: Held, *, kind: Hold.Kind, by: User, reason: str) -> Hold:
    """What it protected can go again, when its time has come.

    Raises NotAHolder, ReasonMissing, ReasonUnreadable, NotHeld, AuditUnwritable.
    """
    reason = readable_reason(reason)
    _demand_right(what, by)
    of_this_kind = what.holds.filter(kind=kind, lifted_at__isnull=True)
    hold = of_this_kind.first()
    if hold is None:
        raise NotHeld(what=called(what), kind=Hold.Kind(kind).value)
    record("hold.lift_asked", **_event(what, by, kind=kind, reason=reason))
    lifted = of_this_kind.filter(pk=hold.pk).update(
        lifted_at=Now(), lifted_by=by, lifted_by_name=by.get_username(), lifted_reason=reason
    )
    if not lifted:
        raise NotHeld(what=called(what), kind=Hold.Kind(kind).value)
    hold.refresh_from_db()
    record_or_log("hold.lifted", **_event(what, by, kind=kind, reason=reason))
    return hold


def standing(what: Held) -> list[Hold]:
    """The holds that have not been lifted."""
    return keeping.standing_holds(what)


def called(what: Held) -> str:
    """What is held, as people call it."""
    return what.name if isinstance(what, QuarantinedTable) else f"Backup {what.pk}"


def kept_until(table: QuarantinedTable) -> datetime:
    """Until when no purge drops it, holds aside."""
    return keeping.kept_until(table)


def is_too_young(table: QuarantinedTable) -> bool:
    """Has it not been in quarantine for its time?"""
    return keeping.kept_until(table) > clock.now()


def _demand_right(what: Held, by: User) -> None:
    if not by.has_perm(MAY_HOLD) and not by.has_perm(MAY_HOLD, what.target):
        raise NotAHolder(name=by.get_username())


def _refusal(error: IntegrityError, what: Held, kind: Hold.Kind) -> Exception:
    """What an error of the database's guards says, as one of ours."""
    constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
    what.refresh_from_db()
    if constraint == "hold_before_the_drop" and isinstance(what, QuarantinedTable):
        return TooLateToHold(what=called(what), run=what.doomed_by_id)
    if constraint == "hold_on_what_is_kept":
        return NothingToHold(what=called(what), state=what.get_state_display().lower())
    if constraint in ("hold_one_of_a_kind", "hold_one_of_a_kind_on_a_backup"):
        other = what.holds.filter(kind=kind, lifted_at__isnull=True).first()
        return AlreadyHeld(what=called(what), hold=str(other) if other else "It was lifted meanwhile")
    return error


def _event(what: Held, by: User, **details: object) -> dict[str, Any]:
    return {
        "actor": by.get_username(),
        "object_type": "backup" if isinstance(what, Backup) else "quarantined_table",
        "object_id": what.pk if isinstance(what, Backup) else what.name,
        "target": what.target_id,
        **details,
    }
