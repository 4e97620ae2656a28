"""Databases of the embedded server that belong to one run of the tests, or of the benchmarks, and aliases for them.

Their names hold the pid of the run, so that two runs may share the server, and what a killed run left behind is
recognised.
"""

import copy
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import sql

from project import embedded

DATABASE_NAME = re.compile(r"memops_test_(\d+)_.*")
numbers = itertools.count(1)


def database_name(purpose: str) -> str:
    """Names of this run's databases are its own."""
    return f"memops_test_{os.getpid()}_{purpose}"


def as_superuser(statement: str, *names: str) -> None:
    """Run one statement that acts on databases, with quoted names."""
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME), autocommit=True) as server:
        server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def clone_database(name: str, template: str) -> None:
    as_superuser("create database {} template {} owner {}", name, template, embedded.OWNER_ROLE)


def drop_database(name: str) -> None:
    """Drop a database, with sessions and prepared transactions that a failed test has left in it."""
    url = embedded.superuser_url(settings.MEMOPS_HOME, name)
    with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as database:
        left = "select gid from pg_prepared_xacts where database = current_database()"
        for (gid,) in database.execute(left).fetchall():
            database.execute(sql.SQL("rollback prepared {}").format(gid))
    as_superuser("drop database if exists {} with (force)", name)


def drop_left_behind() -> None:
    """Drop the databases of runs that were killed."""
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME), autocommit=True) as server:
        for (name,) in server.execute("select datname from pg_database").fetchall():
            run = DATABASE_NAME.fullmatch(name)
            if run and not Path(f"/proc/{run[1]}").exists():
                drop_database(name)


@contextmanager
def fresh_database(template: str) -> Iterator[str]:
    """The name of a copy of ``template`` that is this caller's own, until the block ends."""
    name = database_name(str(next(numbers)))
    clone_database(name, template)
    try:
        yield name
    finally:
        drop_database(name)


@contextmanager
def default_database(name: str) -> Iterator[None]:
    """Point the alias ``default`` at another database of the same server, in every thread, for a while."""
    entry = connections.databases["default"]
    before = entry["NAME"]
    connections["default"].close()
    entry["NAME"] = name
    try:
        yield
    finally:
        connections["default"].close()
        entry["NAME"] = before


@contextmanager
def alias_of(alias: str, **changes: object) -> Iterator[str]:
    """Register a database alias that differs from ``default`` in the given settings."""
    connections.databases[alias] = {**copy.deepcopy(connections.databases["default"]), **changes}
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.databases[alias]


@contextmanager
def guard_off(table: str, guard: str) -> Iterator[None]:
    """Without one of the console's own triggers on ``default``: as somebody who owns the tables can have it."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(f"alter table {table} disable trigger {guard}")
        yield
        cursor.execute(f"alter table {table} enable always trigger {guard}")
