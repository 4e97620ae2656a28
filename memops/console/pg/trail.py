"""The audit trail in the console's database, on sessions of its own: what is rolled back elsewhere leaves its trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import psycopg
from django.db import DEFAULT_DB_ALIAS
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from memops.console.errors import TargetUnreachable
from memops.console.pg import session
from memops.console.pg.sql import query

GUARDS = ("audit_event_chain", "audit_event_rows", "audit_event_truncate")
APPROVAL_GUARDS = ("memops_run_guard", "memops_approval_guard", "memops_glass_review_guard")
SIGNOFF_GUARDS = (
    "memops_run_checklist", "memops_checklist_rows", "memops_checklist_truncate", "memops_signoff_rows",
    "memops_signoff_truncate", "memops_signoff_reopens", "memops_closing_rows", "memops_closing_truncate",
)  # fmt: skip
HOLD_GUARDS = ("memops_hold_rows", "memops_hold_truncate", "memops_quarantine_held", "memops_backup_held")
BATCH = 2000
WRITER, READER = "memops writes the audit trail", "memops reads the audit trail"

_kept: ContextVar[session.Connection | None] = ContextVar("memops_trail", default=None)


def append(event: dict[str, object]) -> None:
    """Raises TargetUnreachable, psycopg.Error."""
    kept = _kept.get()
    if kept is not None and not kept.closed and kept.info.transaction_status == TransactionStatus.IDLE:
        try:
            kept.execute(query("audit", "append"), event)
        except psycopg.OperationalError:
            pass  # Its session has ended, or was ended; an event that is there twice is better than none.
        else:
            return
    with _writer() as connection:
        connection.execute(query("audit", "append"), event)


@contextmanager
def kept_open() -> Iterator[None]:
    """Events of this block share a session, if there is one to have: without it, each has its own."""
    with ExitStack() as stack:
        try:
            token = _kept.set(stack.enter_context(_writer()))
        except (TargetUnreachable, psycopg.Error):
            token = _kept.set(None)
        try:
            yield
        finally:
            _kept.reset(token)


def events(*, after: int = 0) -> Iterator[dict[str, str]]:
    """Every event as it is exported, from one snapshot, never all in memory. Raises TargetUnreachable."""
    with (
        session.connect(DEFAULT_DB_ALIAS, application_name=READER, autocommit=False) as reader,
        reader.cursor(name="audit_events", row_factory=dict_row) as cursor,
    ):
        cursor.itersize = BATCH
        for row in cursor.execute(query("audit", "events"), {"after": after}):
            yield {name: str(value) for name, value in row.items()}


def head() -> tuple[int, str] | None:
    """Number and hash of the last event. Raises TargetUnreachable, psycopg.Error."""
    with session.connect(DEFAULT_DB_ALIAS, application_name=READER) as connection:
        found = connection.execute(query("audit", "head")).fetchone()
    return (int(found[0]), str(found[1])) if found else None


def hash_of(sequence: int) -> str | None:
    """The hash of one event; None if it is not there. Raises TargetUnreachable, psycopg.Error."""
    with session.connect(DEFAULT_DB_ALIAS, application_name=READER) as connection:
        found = connection.execute(query("audit", "hash_of"), {"sequence": sequence}).fetchone()
    return str(found[0]) if found else None


def last_of(*actions: str) -> dict[str, str] | None:
    """Action and details of the last event of these actions. Raises TargetUnreachable, psycopg.Error."""
    with session.connect(DEFAULT_DB_ALIAS, application_name=READER) as connection:
        found = connection.execute(query("audit", "last_of"), {"actions": list(actions)}).fetchone()
    return {"action": str(found[0]), "details": str(found[1])} if found else None


def guards_off() -> list[str]:
    """The triggers of the trail, the approvals, the sign-offs and the holds that are missing, or not enabled ALWAYS.

    Raises TargetUnreachable.
    """
    guards = GUARDS + APPROVAL_GUARDS + SIGNOFF_GUARDS + HOLD_GUARDS
    with session.connect(DEFAULT_DB_ALIAS, application_name=READER) as connection:
        enabled = dict(connection.execute(query("audit", "triggers"), {"names": list(guards)}).fetchall())
    return [
        f"trigger {name} is {'not ENABLE ALWAYS' if name in enabled else 'missing'}"
        for name in guards
        if enabled.get(name) != "A"
    ]


@contextmanager
def _writer() -> Iterator[session.Connection]:
    with session.connect(DEFAULT_DB_ALIAS, application_name=WRITER) as connection:
        connection.execute(query("audit", "isolate"))
        yield connection
