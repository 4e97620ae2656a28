"""The ground that benchmarks stand on: a server of their own, and copies of databases that were filled once.

Filling 100,000 rows takes minutes; so a database of each size is kept in the home, and made anew when what made it has
changed. Every measurement has a copy of its own, fresh from the disk.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from memops import demo
from memops.console.audit import checking
from project import embedded
from tests import databases
from tests.bench import history
from tests.environment import CLONE

MADE_FROM = (
    "memops/demo.py", "memops/sql/*.sql", "memops/migrations/*.py", "memops/console/migrations/*.py",
    "memops/console/migrations/*.sql", "tests/bench/history.py",
)  # fmt: skip
PREFIX = "memops_bench_"


def start() -> None:
    embedded.start(settings.MEMOPS_HOME)
    databases.drop_left_behind()
    _drop_outdated()


def filled(rows: int) -> str:
    """The name of a database with every migration and so many demo rows, which nobody is connected to."""

    def fill() -> None:
        if rows:
            demo.load("default", rows=rows)
            with psycopg.connect(
                owner_url(connections["default"].settings_dict["NAME"]), autocommit=True
            ) as connection:
                connection.execute("vacuum (freeze, analyze) public.memory_chunks")

    return _made(f"{rows}", f"filling a database with {rows:,} rows", fill)


def lived_in(*, runs: int, events: int) -> str:
    """The name of a database with a few rows and a history, which nobody is connected to. Its anchors are beside."""

    suffix = f"history_{runs}_{events}"

    def fill() -> None:
        settings.MEMOPS_ANCHORS.unlink(missing_ok=True)
        history.fill(runs=runs, events=events)
        checked = checking.whole([])
        assert checked.holds, checked.sentences
        settings.MEMOPS_ANCHORS.rename(anchors_of(_named(suffix)))

    return _made(suffix, f"making a history of {runs:,} runs and {events:,} events", fill)


def anchors_of(name: str) -> Path:
    return Path(settings.MEMOPS_HOME / f"{name}.anchors.jsonl")


def _made(suffix: str, what: str, fill: Callable[[], None]) -> str:
    """The name of a database that is kept once it is complete."""
    name = _named(suffix)
    if name in _databases():
        return name
    print(f"({what}, once)", flush=True)
    unfinished = databases.database_name(f"filling_{suffix}")
    databases.clone_database(unfinished, embedded.SCRATCH_TEMPLATE)
    with databases.default_database(unfinished):
        call_command("migrate", verbosity=0)
        call_command("createcachetable", verbosity=0)
        fill()
    databases.as_superuser("alter database {} rename to {}", unfinished, name)
    return name


def _named(suffix: str) -> str:
    return f"{PREFIX}{_version()}_{suffix}"


@contextmanager
def copy_of(template: str) -> Iterator[str]:
    """``default`` is a copy of that database, with an empty folder for backups. Gives the copy's name."""
    name = databases.database_name(f"copy_{next(databases.numbers)}")
    # Checkpoints before and after, and no WAL: nothing of the copying is left to do when the clock starts.
    databases.as_superuser(
        "create database {} template {} owner {} strategy file_copy", name, template, embedded.OWNER_ROLE
    )
    if anchors_of(template).exists():
        shutil.copy(anchors_of(template), settings.MEMOPS_ANCHORS)
    try:
        with databases.default_database(name):
            yield name
    finally:
        databases.drop_database(name)
        shutil.rmtree(settings.MEMOPS_BACKUP_DIR, ignore_errors=True)
        settings.MEMOPS_ANCHORS.unlink(missing_ok=True)


def owner_url(database: str) -> str:
    return embedded.url(settings.MEMOPS_HOME, database=database)


def server() -> str:
    """Its version and the settings that weigh most here."""
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME), autocommit=True) as connection:
        names = ("server_version", "shared_buffers", "wal_level", "max_wal_size", "synchronous_commit")
        values = [connection.execute(f"show {name}").fetchall()[0][0] for name in names]
    return f"PostgreSQL {values[0]} (" + ", ".join(map(" ".join, zip(names[1:], values[1:], strict=True))) + ")"


def _databases() -> set[str]:
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME), autocommit=True) as server:
        return {name for (name,) in server.execute("select datname from pg_catalog.pg_database")}


def _drop_outdated() -> None:
    for name in _databases():
        if name.startswith(PREFIX) and not name.startswith(PREFIX + _version()):
            databases.drop_database(name)
            anchors_of(name).unlink(missing_ok=True)


def _version() -> str:
    content = hashlib.sha256()
    for pattern in MADE_FROM:
        for path in sorted(Path(CLONE).glob(pattern)):
            content.update(path.read_bytes())
    return content.hexdigest()[:12]
