"""Write into the audit trail: what is asked for before it is begun, then what came of it.

Details are names, numbers and states: never a password, a DSN, a query's text or the content of a memory.
"""

from __future__ import annotations

import json

import psycopg
import structlog

from memops.console import characters
from memops.console.audit.acting import SYSTEM, current
from memops.console.errors import AuditUnwritable, TargetUnreachable
from memops.console.models import Run
from memops.console.pg import trail

__all__ = ["SYSTEM", "record", "record_or_log", "shown"]

LONGEST_NAME = 150

journal = structlog.get_logger("memops.audit")


def record(
    action: str,
    *,
    actor: str | None = None,
    run: Run | None = None,
    object_type: str = "",
    object_id: object = "",
    target: str = "",
    **details: object,
) -> None:
    """Add an event, committed when this returns; actor, address and request are those of who acts at the moment.

    Raises AuditUnwritable: what it announces must not be done then.
    """
    who = current()
    if run is not None and not object_type:
        object_type, object_id = "run", run.pk
    event: dict[str, object] = {
        "actor": shown(who.actor if actor is None else actor),
        "action": action,
        "object_type": object_type,
        "object_id": shown(str(object_id)),
        "run": run.pk if run is not None else None,
        "target": run.target_id if run is not None else target,
        "details": json.dumps(details, sort_keys=True, separators=(",", ":")),
        "request_id": shown(who.request_id),
        "address": shown(who.address),
    }
    try:
        trail.append(event)
    except (psycopg.Error, TargetUnreachable) as error:
        raise AuditUnwritable(problem=type(error).__name__) from error


def record_or_log(
    action: str,
    *,
    actor: str | None = None,
    run: Run | None = None,
    object_type: str = "",
    object_id: object = "",
    target: str = "",
    **details: object,
) -> None:
    """For what has happened already, and cannot be held back: a trail that cannot be written is an error in the log."""
    try:
        record(action, actor=actor, run=run, object_type=object_type, object_id=object_id, target=target, **details)
    except AuditUnwritable as error:
        journal.error("not in the audit trail", action=action, error=str(error))


def shown(text: str) -> str:
    """A name that others have chosen, as it is kept: printable and not longer than a login may be."""
    return characters.shown(text[:LONGEST_NAME])
