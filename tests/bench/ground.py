"""The ground that benchmarks stand on: a server of their own, and copies of databases that were filled once.

Filling 100,000 rows takes minutes; so a database of each size is kept in the home, and made anew when what made it has
changed. Every measurement has a copy of its own, fresh from the disk.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.conf import settings
from django.core.management import call_command

from memops import demo
from project import embedded
from tests import databases
from tests.environment import CLONE

MADE_FROM = ("memops/demo.py", "memops/sql/*.sql", "memops/migrations/*.py", "memops/console/migrations/*.py")
PREFIX = "memops_bench_"


def start() -> None:
    embedded.start(settings.MEMOPS_HOME)
    databases.drop_left_behind()
    _drop_outdated()


def filled(rows: int) -> str:
    """The name of a database with every migration and so many demo rows, which nobody is connected to."""
    name = f"{PREFIX}{_version()}_{rows}"
    if name in _databases():
        return name
    print(f"(filling a database with {rows:,} rows, once)", flush=True)
    unfinished = databases.database_name(f"filling_{rows}")
    databases.clone_database(unfinished, embedded.SCRATCH_TEMPLATE)
    with databases.default_database(unfinished):
        call_command("migrate", verbosity=0)
        call_command("createcachetable", verbosity=0)
        if rows:
            demo.load("default", rows=rows)
            with psycopg.connect(owner_url(unfinished), autocommit=True) as connection:
                connection.execute("vacuum (freeze, analyze) public.memory_chunks")
    databases.as_superuser("alter database {} rename to {}", unfinished, name)
    return name


@contextmanager
def copy_of(template: str) -> Iterator[str]:
    """``default`` is a copy of that database, with an empty folder for backups. Gives the copy's name."""
    name = databases.database_name("copy")
    # Checkpoints before and after, and no WAL: nothing of the copying is left to do when the clock starts.
    databases.as_superuser(
        "create database {} template {} owner {} strategy file_copy", name, template, embedded.OWNER_ROLE
    )
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


def _version() -> str:
    content = hashlib.sha256()
    for pattern in MADE_FROM:
        for path in sorted(Path(CLONE).glob(pattern)):
            content.update(path.read_bytes())
    return content.hexdigest()[:12]
