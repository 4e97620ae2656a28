"""What goes on beside each other: a run at work, readers in a loop, and whoever is in their way."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

import psycopg
from django.db import connections

from memops.console.models import AuditEvent, Run
from memops.console.pg import session
from memops.console.runs.advance import advance
from tests.faults import ground

READERS = 4
LONGEST_READ = "3s"
"""Many lock waits, and less than a whole budget: whoever waits for the run instead of for a try meets it."""


@contextmanager
def at_work(run: Run, in_the_way: psycopg.Connection) -> Iterator[None]:
    """The run in a thread, until it meets who is in its way; when the block ends, until its end."""
    thread = Thread(target=_work, args=(run.pk,))
    thread.start()
    try:
        ground.until(lambda: "Try 1: " in log_of(run) or not thread.is_alive(), "the run meets who is in its way")
        yield
    except BaseException:
        in_the_way.close()  # A test that has failed does not wait for the run's budget.
        raise
    finally:
        thread.join()
        run.refresh_from_db()


def _work(run_id: int) -> None:
    try:
        advance(run_id)
    finally:
        connections.close_all()


def carry_out(run: Run) -> Run:
    advance(run.pk)
    run.refresh_from_db()
    return run


def log_of(run: Run) -> str:
    return "".join(run.steps.values_list("log", flat=True))


def everything_said(run: Run) -> str:
    """Wherever a run could say what others execute."""
    steps = run.steps.values_list("log", "error", "saw")
    events = AuditEvent.objects.values_list("details", flat=True)
    return json.dumps([run.error, run.plan, [*steps], [*events]], default=str)


@dataclass
class Reads:
    done: int = 0
    errors: list[str] = field(default_factory=list)


@contextmanager
def readers() -> Iterator[list[Reads]]:
    """Sessions that read the table over and over, and give up a read that takes longer than ``LONGEST_READ``."""
    over, each = Event(), [Reads() for _ in range(READERS)]
    threads = [Thread(target=_read, args=(reads, over)) for reads in each]
    for thread in threads:
        thread.start()
    try:
        ground.until(lambda: all(reads.done for reads in each), "every reader reads")
        yield each
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _read(reads: Reads, over: Event) -> None:
    options = f"-c statement_timeout={LONGEST_READ}"
    with psycopg.connect(**session.libpq_params(ground.TARGET) | {"options": options}, autocommit=True) as reader:
        while not over.is_set():
            try:
                reader.execute("select count(*) from public.memory_chunks")
                reads.done += 1
            except psycopg.errors.UndefinedTable:
                return  # It is out of service.
            except psycopg.Error as error:
                reads.errors.append(type(error).__name__)
            time.sleep(0.005)
