"""How long does a reader stand still while a rollback goes on, and how soon after it may does the rollback end?

A process reads one row of its tenant in a loop as the application's role, while (a) nobody else is there, (b) a
transaction that has read the table idles, (c) an autovacuum works on the table. The peer is the same catalogue change
without a bound on its wait for the lock: `alter table ... set schema`, as a migration usually does it.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from django.conf import settings

from memops.demo import user_id
from memops.tenancy import hmac_user
from project import embedded
from tests.bench import figures, ground, rollbacks

ROWS = (10_000,)
ROUNDS = 5
HELD_SECONDS = 3.0
QUIET_SECONDS = 0.5


@dataclass
class Table:
    """When the table became free, by the monotonic clock; None while somebody holds it, or where nobody did."""

    free_at: float | None = None


@dataclass(frozen=True)
class Read:
    began: float
    took: float
    ok: bool


@dataclass(frozen=True)
class Seen:
    """Seconds: the longest read before the change began and during it, and from the free table to the change's end."""

    quiet: float
    stall: float
    change: float
    after_free: float | None


Change = Callable[[str], tuple[float, float]]
"""Does it, and says when its transaction was begun for the first time and when it had committed."""


def run(sizes: tuple[int, ...], rounds: int) -> None:
    rows = sizes[0]
    template = ground.filled(rows)
    cases = {"nothing in the way": _nobody, "an idle transaction": _idle_transaction, "an autovacuum": _autovacuum}
    changes: dict[str, Change] = {"memops": _rollback, "no lock_timeout": _unbounded}
    seen = defaultdict[tuple[str, str], list[Seen]](list)
    for _ in range(rounds):
        for case, holding in cases.items():
            for name, change in changes.items():
                with ground.copy_of(template) as database, holding(database) as table:
                    seen[case, name].append(_observe(database, table, change))

    limit = settings.MEMOPS_LOCK_TIMEOUT.total_seconds()
    figures.heading(
        f"A reader during a rollback of {rows:,} rows (goals: {limit * 1000:.0f} ms lock_timeout + 50 ms; 2 s)"
    )
    for case in cases:
        for name in changes:
            what, found = f"{case}, {name}:", seen[case, name]
            figures.line(f"{what} longest stall", figures.spread([one.stall * 1000 for one in found], "ms", 0))
            figures.line(f"{what} longest read before", figures.spread([one.quiet * 1000 for one in found], "ms", 0))
            figures.line(f"{what} begin to commit", figures.spread([one.change for one in found], "s"))
            freed = [one.after_free for one in found if one.after_free is not None]
            if freed:
                figures.line(f"{what} free table to commit", figures.spread(freed, "s"))
        ours, peers = ([one.stall for one in seen[case, name]] for name in changes)
        figures.line(f"{case}: stall, memops / no lock_timeout", figures.spread(figures.ratios(ours, peers)))


def _observe(database: str, table: Table, change: Change) -> Seen:
    with _reader(database) as reads:
        time.sleep(QUIET_SECONDS)
        began, committed = change(database)
        time.sleep(0.1)
    before = [read.took for read in reads if read.began + read.took < began]
    during = [read.took for read in reads if read.began + read.took >= began and read.began < committed]
    assert before, "The reader has read nothing."
    assert not reads[-1].ok, "The table is still there."
    return Seen(
        quiet=max(before),
        stall=max(during, default=0.0),
        change=committed - began,
        after_free=committed - table.free_at if table.free_at is not None else None,
    )


@contextmanager
def _reader(database: str) -> Iterator[list[Read]]:
    """A process that reads; the list is filled when the block has ended."""
    reads: list[Read] = []
    url = embedded.url(settings.MEMOPS_HOME, role=embedded.APP_ROLE, database=database)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "reads"
        argv = [sys.executable, "-m", "tests.bench.reader", url, hmac_user(user_id(1)), str(file)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE) as reader:
            try:
                while not (file.exists() and file.stat().st_size):
                    assert reader.poll() is None, "The reader could not read."
                    time.sleep(0.02)
                yield reads
            finally:
                reader.communicate()
        for line in file.read_text().splitlines():
            start, took, ok = line.split()
            reads.append(Read(float(start), float(took), ok == "1"))


def _rollback(database: str) -> tuple[float, float]:
    """An emergency run. Its own records say when; they are brought to the clock of the reader."""
    offset = time.monotonic() - time.time()
    done = rollbacks.emergency(database)
    step = done.steps.get(name="reverse")
    assert step.started_at is not None
    assert step.ended_at is not None
    return step.started_at.timestamp() + offset, step.ended_at.timestamp() + offset


def _unbounded(database: str) -> tuple[float, float]:
    with psycopg.connect(ground.owner_url(database), autocommit=True) as connection:
        began = time.monotonic()
        connection.execute("alter table public.memory_chunks set schema memops_quarantine")
        return began, time.monotonic()


@contextmanager
def _nobody(database: str) -> Iterator[Table]:
    yield Table()


@contextmanager
def _idle_transaction(database: str) -> Iterator[Table]:
    """It has read the table, and ends some seconds after the block has begun."""
    table = Table()
    with psycopg.connect(ground.owner_url(database)) as connection:
        connection.execute("select count(*) from public.memory_chunks")

        def end() -> None:
            connection.rollback()
            table.free_at = time.monotonic()

        timer = threading.Timer(QUIET_SECONDS + HELD_SECONDS, end)
        timer.start()
        try:
            yield table
        finally:
            timer.join()


@contextmanager
def _autovacuum(database: str) -> Iterator[Table]:
    """The server's own, and slow: it would hold the table for minutes."""
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME, database), autocommit=True) as dba:
        dba.execute(
            "alter table public.memory_chunks set (autovacuum_vacuum_threshold = 0,"
            " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
        )
        dba.execute("delete from public.memory_chunks where chunk_index = 1")
        dba.execute("alter system set autovacuum_naptime = '1s'")
        dba.execute("select pg_reload_conf()")
        try:
            while not _is_vacuumed(dba):
                time.sleep(0.05)
            yield Table()
        finally:
            dba.execute("alter system reset autovacuum_naptime")
            dba.execute("select pg_reload_conf()")


def _is_vacuumed(dba: psycopg.Connection) -> bool:
    """Does an autovacuum hold the table?"""
    return bool(
        dba.execute(
            "select exists (select from pg_locks l join pg_stat_activity a using (pid)"
            " where a.backend_type = 'autovacuum worker' and l.relation = 'public.memory_chunks'::regclass"
            " and l.mode = 'ShareUpdateExclusiveLock' and l.granted)"
        ).fetchall()[0][0]
    )
