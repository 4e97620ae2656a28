"""Others who hold the table: real sessions, prepared transactions and autovacuums, for tests of who is in the way."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import psycopg

from memops.console.pg import session
from tests.databases import as_superuser

SECRET = "secret-in-a-query"
"""Part of everything that they execute: whoever says what they execute says it."""

READS = f"select count(*), '{SECRET}' from public.memory_chunks"
WRITES = (
    "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index)"
    f" values (repeat('b', 64), '{SECRET}', 'written by a holder', 0)"
)


class Other(psycopg.Connection):
    """Somebody's session. ``pid`` is that of its server process, also after it was ended."""

    pid: int


@contextmanager
def idle(alias: str, statement: str = READS, **params: str) -> Iterator[Other]:
    """A transaction that holds the table and idles. It may have been ended when the block ends."""
    with open_session(alias, **params) as other:
        other.execute(statement)
        yield other


@contextmanager
def active(alias: str, seconds: int = 300, **params: str) -> Iterator[Other]:
    """A reader whose one statement takes that long. It is cancelled when the block ends."""
    with open_session(alias, **params) as other:
        reader = Thread(target=_sleep_over_the_table, args=(other, seconds))
        reader.start()
        try:
            yield other
        finally:
            with suppress(psycopg.Error):
                other.cancel_safe(timeout=10)
            reader.join()


def _sleep_over_the_table(other: Other, seconds: int) -> None:
    with suppress(psycopg.Error):
        other.execute(f"select pg_sleep({seconds}), '{SECRET}' from (select from public.memory_chunks limit 1) t")


@contextmanager
def open_session(alias: str, **params: str) -> Iterator[Other]:
    other = Other.connect(**session.libpq_params(alias) | {"application_name": "reporting"} | params)
    other.pid = other.info.backend_pid
    with contextlib.closing(other):
        yield other


def is_alive(other: Other) -> bool:
    """Can whoever idles go on in the same transaction?"""
    try:
        other.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def busy_autovacuum(dba: psycopg.Connection) -> Iterator[None]:
    """The server's autovacuum comes at once, and is made slow on the table: it will be at work on it."""
    dba.execute(
        "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index, text_plain)"
        " select repeat('a', 64), 'd', 's', n, repeat('x', 1000) from generate_series(1, 4000) n;"
        " delete from public.memory_chunks where text_plain = repeat('x', 1000) and chunk_index > 3;"
        " alter table public.memory_chunks set (autovacuum_vacuum_threshold = 0,"
        " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
    )
    dba.execute("select pg_stat_force_next_flush()")
    as_superuser("alter system set autovacuum_naptime = 1")
    as_superuser("select pg_reload_conf()")
    try:
        yield
    finally:
        as_superuser("alter system reset autovacuum_naptime")
        as_superuser("select pg_reload_conf()")


def autovacuums(dba: psycopg.Connection) -> list[int]:
    """The pids of those that are at work on the table."""
    found = dba.execute(
        "select l.pid from pg_locks l join pg_stat_activity a using (pid) where l.granted"
        " and a.backend_type = 'autovacuum worker' and l.relation = 'public.memory_chunks'::regclass"
    )
    return [pid for (pid,) in found.fetchall()]
