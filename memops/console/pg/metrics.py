"""How a server does: what runbook R10 watches after a rollback, sampled before it as well."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from memops.console.pg import session
from memops.console.pg.session import Connection
from memops.console.pg.sql import query

ROUNDS = 5
LONGEST_READ = timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """One sample. What could not be read is None, with the reason in ``not_known``."""

    sampled_at: datetime
    round_trip_ms: float
    newest_rows_ms: float | None
    connections: int
    max_connections: int
    active: int
    idle_in_transaction: int
    oldest_transaction_seconds: float | None
    commits: int
    rollbacks: int
    deadlocks: int
    cache_hit_share: float | None
    replication_lag_bytes: int | None
    database_bytes: int
    not_known: dict[str, str] = field(default_factory=dict)


def sample(alias: str) -> Metrics:
    """Sample a target. Raises TargetUnreachable."""
    with session.connect(alias, application_name="memops samples") as connection:
        not_known: dict[str, str] = {}
        with connection.cursor(row_factory=dict_row) as cursor:
            counters = cursor.execute(query("metrics", "counters")).fetchall()[0]
        return Metrics(
            sampled_at=datetime.now(UTC),
            round_trip_ms=_milliseconds(connection, query("metrics", "round_trip")),
            newest_rows_ms=_newest_rows(connection, not_known),
            **counters,
            not_known=not_known,
        )


def _newest_rows(connection: Connection, not_known: dict[str, str]) -> float | None:
    limit = f"{LONGEST_READ / timedelta(milliseconds=1):.0f}"
    try:
        with connection.transaction():
            connection.execute(query("session", "limit"), {"statement_timeout": limit, "lock_timeout": limit})
            return _milliseconds(connection, query("metrics", "newest_rows"))
    except psycopg.errors.UndefinedTable:
        not_known["newest_rows_ms"] = "there is no public.memory_chunks"
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
        not_known["newest_rows_ms"] = f"it took longer than {LONGEST_READ.total_seconds():g} s"
    except psycopg.errors.InsufficientPrivilege:
        not_known["newest_rows_ms"] = "the role may not read all rows"
    return None


def _milliseconds(connection: Connection, statement: Any) -> float:
    """The median of a few rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        connection.execute(statement).fetchall()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1000, 3)
