"""Sessions of memops' own on a target: direct, unfiltered, without the time-outs and settings that others gave the
role."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import errors as pg_errors

from memops.console.errors import TargetUnreachable, UnknownTarget
from memops.console.pg.sql import query

Connection = psycopg.Connection[tuple[Any, ...]]

# What Django adds to the parameters of libpq for itself, or for its own session.
NOT_LIBPQ = frozenset(
    ("cursor_factory", "context", "prepare_threshold", "row_factory", "autocommit", "isolation_level", "assume_role",
     "pool", "server_side_binding", "client_encoding")
)  # fmt: skip

CONNECT_TIMEOUT_SECONDS = 5

NOT_FOR_CHILDREN = frozenset(("password", "options", "application_name", "client_encoding"))

ENVIRONMENT = {
    option.keyword.decode(): option.envvar.decode()
    for option in psycopg.pq.Conninfo.get_defaults()
    if option.envvar and option.keyword.decode() not in NOT_FOR_CHILDREN
}
"""What a child is told of a connection. See https://www.postgresql.org/docs/current/libpq-envars.html."""

QUOTED = re.compile(r'"[^"]*"')
"""Names and addresses in libpq's messages: a database may be called "timeout"."""

INHERITED = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")


def libpq_params(alias: str) -> dict[str, str]:
    """How libpq reaches a target. Raises UnknownTarget."""
    if alias not in connections.databases:
        raise UnknownTarget(target=alias, targets=", ".join(settings.MEMOPS_TARGETS))
    given = connections[alias].get_connection_params()
    return {key: str(value) for key, value in given.items() if key not in NOT_LIBPQ and value not in (None, "")}


@contextmanager
def connect(
    alias: str, *, application_name: str = "memops", database: str | None = None, autocommit: bool = True
) -> Iterator[Connection]:
    """A session on a target, closed at the end: row_security off (a filtered read is an error), no time-outs, UTC,
    nothing but pg_catalog on the search path. Raises TargetUnreachable, UnknownTarget."""
    params = libpq_params(alias)
    if database is not None:
        params["dbname"] = database
    with connect_to(params, name=alias, application_name=application_name, autocommit=autocommit) as connection:
        yield connection


@contextmanager
def connect_to(
    params: dict[str, str], *, name: str, application_name: str = "memops", autocommit: bool = True
) -> Iterator[Connection]:
    """The same for a server that is no target; ``name`` is what errors call it. Raises TargetUnreachable."""
    wanted = {"connect_timeout": str(CONNECT_TIMEOUT_SECONDS)} | params | {"application_name": application_name}
    try:
        connection = psycopg.connect(**wanted, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise TargetUnreachable(target=name, reason=_reason(error)) from None
    try:
        try:
            connection.execute(query("session", "configure"))
        except psycopg.Error as error:
            raise TargetUnreachable(target=name, reason=_reason(error)) from None
        if not autocommit:
            connection.autocommit = False
        yield connection
    finally:
        connection.close()


def is_pooled(alias: str) -> bool:
    """Do two sessions that are held at the same time share a server process? Then a pooler hands them out by
    transaction."""
    with connect(alias) as one, connect(alias) as other:
        return _backend(one) == _backend(other)


@contextmanager
def child_environment(params: dict[str, str], **more: str) -> Iterator[dict[str, str]]:
    """The environment of pg_dump and its like: clean, told by variables, and the password in a file that only we
    read."""
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PGAPPNAME": "memops"}
    environment |= {"PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_SECONDS)}
    environment |= {ENVIRONMENT[key]: value for key, value in params.items() if key in ENVIRONMENT}
    with tempfile.TemporaryDirectory(prefix="memops-") as folder:
        if "password" in params:
            passfile = Path(folder) / "pgpass"
            password = params["password"].replace("\\", "\\\\").replace(":", "\\:")
            descriptor = os.open(passfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"*:*:*:*:{password}\n")
            environment["PGPASSFILE"] = str(passfile)
        elif "PGPASSFILE" not in environment:
            # A .pgpass of the user that runs the worker is the user's, not the target's.
            environment["PGPASSFILE"] = str(Path(folder) / "none")
        yield environment | more


def _backend(connection: Connection) -> int:
    return int(connection.execute(query("session", "backend")).fetchall()[0][0])


def _reason(error: psycopg.Error) -> str:
    """Why there is no connection, without what libpq quotes: addresses, roles, or a whole connection string."""
    text = QUOTED.sub('""', str(error).lower())
    if isinstance(error, psycopg.errors.ConnectionTimeout) or "timeout" in text or "timed out" in text:
        return f"no answer within {CONNECT_TIMEOUT_SECONDS} s"
    for sign, reason in (
        ("password authentication failed", "the password is wrong, or the role does not exist"),
        ("no password supplied", "it asks for a password and none is configured"),
        ("pg_hba.conf", "its pg_hba.conf does not let this role or address in"),
        ("authentication failed", "authentication failed"),
        ("too many connections", "it has no connection left"),
        ("connection slots", "it has no connection left"),
        ("starting up", "it is starting up"),
        ("shutting down", "it is shutting down"),
        ("in recovery mode", "it is recovering from a crash"),
        ("could not translate host name", "its host name does not resolve"),
        ("name or service not known", "its host name does not resolve"),
        ("connection refused", "nothing listens at its address"),
        ("no such file", "nothing listens at its socket"),
        ("ssl", "TLS could not be agreed on"),
        ("permission denied for database", "the role may not connect to the database"),
        ("not permitted to log in", "the role may not log in"),
        ("not currently accepting connections", "the database takes no connections"),
    ):
        if sign in text:
            return reason
    if "database" in text and "does not exist" in text:
        return "the database does not exist"
    if "role" in text and "does not exist" in text:
        return "the role does not exist"
    known = isinstance(error, pg_errors.Error) and error.sqlstate
    return f"the connection failed (SQLSTATE {error.sqlstate})" if known else "the connection failed"


def is_local(params: dict[str, str]) -> bool:
    """Is the server on this machine, as far as its address tells?"""
    host = params.get("host", "")
    return host.startswith("/") or host in ("", "localhost", "127.0.0.1", "::1", socket.gethostname())
