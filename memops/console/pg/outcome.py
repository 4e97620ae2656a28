"""What happened on the target, read from the target: the journal that the DDL transaction itself writes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from memops.console.errors import TargetUnreachable
from memops.console.pg import catalogue, session
from memops.console.pg.catalogue import JournalEntry

PATIENCE = timedelta(seconds=10)
"""How long a transaction may go on that has lost its client: the server notices only when it next looks."""

BETWEEN_LOOKS_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``entry`` is the proof that the table was changed; without one, ``known`` says that it was not."""

    entry: JournalEntry | None
    known: bool


def read(alias: str, *, key: str, xid: str, patience: timedelta = PATIENCE) -> Outcome:
    """Did the change of the run with this key commit? ``xid`` is its transaction, stored before the change began.

    Waits ``patience`` for a transaction that is still in progress. Where the target does not answer, or the transaction
    goes on, the outcome is not known. See https://www.postgresql.org/docs/current/functions-info.html (pg_xact_status).
    """
    until = time.monotonic() + patience.total_seconds()
    was_committed = False
    while True:
        try:
            with session.connect(alias, application_name="memops reads an outcome") as connection:
                entry = next((entry for entry in catalogue.journal(connection) if entry.run_id == key), None)
                if entry is not None:
                    return Outcome(entry=entry, known=True)
                status = catalogue.transaction_status(connection, xid) if xid else None
        except (TargetUnreachable, psycopg.OperationalError):  # or it went away between two queries
            status = "unreachable"
        if status == "committed" and not was_committed:
            was_committed = True  # Perhaps between the two queries: then there is an entry now.
            continue
        if status not in ("in progress", "unreachable"):
            return Outcome(entry=None, known=True)
        if time.monotonic() > until:
            return Outcome(entry=None, known=False)
        time.sleep(BETWEEN_LOOKS_SECONDS)
