"""What happened on the target, read from the target: the journal that the DDL transaction itself writes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
from django.conf import settings

from memops.console.errors import TargetUnreachable
from memops.console.pg import catalogue, session
from memops.console.pg.catalogue import JournalEntry

BETWEEN_LOOKS_SECONDS = 0.25

ELSEWHERE = "elsewhere"
"""What the database that was changed has to say cannot be heard now."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``entry`` is the proof that the table was changed; without one, ``known`` says that it was not. ``before`` are
    entries of the same transaction for what had to make room first."""

    entry: JournalEntry | None
    known: bool
    before: list[JournalEntry] = field(default_factory=list)


def read(alias: str, *, key: str, xid: str, server: str = "", patience: timedelta | None = None) -> Outcome:
    """Did the change of the run with this key commit? ``xid`` is its transaction, stored before the change began.

    ``server`` is the identity of the database that was changed: another one behind the alias, or a standby that may be
    behind the primary, proves nothing by not having heard of it.

    Waits ``patience`` (MEMOPS_PATIENCE, if None) for a target that does not answer, and for a transaction that is still
    in progress: the server notices in its own time that it has lost its client. Otherwise the outcome is not known.
    See https://www.postgresql.org/docs/current/functions-info.html (pg_xact_status).
    """
    until = time.monotonic() + (patience or settings.MEMOPS_PATIENCE).total_seconds()
    was_committed = False
    status: str | None
    while True:
        try:
            with session.connect(alias, application_name="memops reads an outcome") as connection:
                entries = [entry for entry in catalogue.journal(connection) if entry.run_id == key]
                if entries:
                    return Outcome(entry=entries[-1], known=True, before=entries[:-1])
                asked = catalogue.server(connection)
                if asked.is_standby or server not in ("", asked.identity):
                    status = ELSEWHERE
                else:
                    status = catalogue.transaction_status(connection, xid) if xid else None
        except (TargetUnreachable, psycopg.OperationalError):  # or it went away between two queries
            status = ELSEWHERE
        if status == "committed" and not was_committed:
            was_committed = True  # Perhaps between the two queries: then there is an entry now.
            continue
        if status not in ("in progress", ELSEWHERE):
            return Outcome(entry=None, known=True)
        if time.monotonic() > until:
            return Outcome(entry=None, known=False)
        time.sleep(BETWEEN_LOOKS_SECONDS)
