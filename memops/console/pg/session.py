"""Sessions of memops' own on a target: direct, unfiltered, without the time-outs and settings that others gave the
role."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import errors as pg_errors
from psycopg.conninfo import make_conninfo

from memops.console.characters import quoted
from memops.console.errors import PoolerBetween, TargetLost, TargetUnreachable, TemporaryFolderUnusable, UnknownTarget
from memops.console.pg.patience import PatientConnection, ServerSilent, Watch
from memops.console.pg.sql import query
from project.environment import CONNECTION

Connection = psycopg.Connection[tuple[Any, ...]]

# What Django adds to the parameters of libpq for itself, or for its own session.
NOT_LIBPQ = frozenset(
    ("cursor_factory", "context", "prepare_threshold", "row_factory", "autocommit", "isolation_level", "assume_role",
     "pool", "server_side_binding", "client_encoding")
)  # fmt: skip

PROMPT = timedelta(seconds=10)
"""The patience with a question that somebody at a page waits for."""

LOOKS = 5
"""How often two sessions are asked for their server process: other clients of a pooler may come in between."""

NO_ROOM = "it has no connection left"

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

NO_PASSFILE = "/dev/null/none"
"""Nothing can be there. A .pgpass of the user that runs the worker is the user's, not the target's."""


def libpq_params(alias: str) -> dict[str, str]:
    """How libpq reaches a target. Raises UnknownTarget."""
    if alias not in connections.databases:
        raise UnknownTarget(target=quoted(alias), targets=", ".join(settings.MEMOPS_TARGETS))
    given = connections[alias].get_connection_params()
    return {key: str(value) for key, value in given.items() if key not in NOT_LIBPQ and value not in (None, "")}


@contextmanager
def connect(
    alias: str,
    *,
    application_name: str = "memops",
    database: str | None = None,
    autocommit: bool = True,
    patience: timedelta | None = None,
    works_long: bool = False,
) -> Iterator[Connection]:
    """A session on a target, closed at the end: row_security off (a filtered read is an error), no time-outs, UTC,
    nothing but pg_catalog on the search path.

    A server that is silent for ``patience`` (MEMOPS_PATIENCE, if None) is not waited for; where the session
    ``works_long``, only if the server, asked on another one, does not work for it. Raises TargetUnreachable,
    UnknownTarget.
    """
    params = libpq_params(alias)
    if database is not None:
        params["dbname"] = database
    with connect_to(
        params,
        name=alias,
        application_name=application_name,
        autocommit=autocommit,
        patience=patience,
        works_long=works_long,
    ) as connection:
        yield connection


@contextmanager
def connect_to(
    params: dict[str, str],
    *,
    name: str,
    application_name: str = "memops",
    autocommit: bool = True,
    patience: timedelta | None = None,
    works_long: bool = False,
) -> Iterator[Connection]:
    """The same for a server that is no target; ``name`` is what errors call it. Raises TargetUnreachable."""
    asks = partial(is_at_work, params, application_name) if works_long else None
    watch = Watch(patience=patience or settings.MEMOPS_PATIENCE, asks=asks)
    try:
        connection = _open(params, application_name)
    except psycopg.Error as error:
        raise TargetUnreachable(target=name, reason=_reason(error, params)) from None
    try:
        connection.watch = watch
        try:
            _configure(connection, params, name)
        except psycopg.Error as error:
            raise TargetUnreachable(target=name, reason=_reason(error, params)) from None
        if not autocommit:
            connection.autocommit = False
        yield connection
    except psycopg.OperationalError as error:
        # It may be the error of another session, which is passed on through this block.
        if not connection.closed:
            raise
        raise TargetLost(target=name, reason=lost(error)) from None
    finally:
        connection.close()


def _open(params: dict[str, str], application_name: str) -> PatientConnection:
    usual = {setting: str(value) for setting, value in CONNECTION.items()}
    wanted = usual | params | {"application_name": application_name}
    return PatientConnection.connect(**wanted, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]


def _configure(connection: PatientConnection, params: dict[str, str], name: str) -> None:
    """Nothing is set behind a pooler in transaction mode, where it would be the next client's. Raises PoolerBetween."""
    notices = query("session", "notice_lost_client")
    if not connection.execute(notices, {"pid": connection.info.backend_pid}).fetchall():
        with _open(params, "memops looks for a pooler") as other:
            other.watch = connection.watch
            if _share(connection, other):
                raise PoolerBetween(target=name, reason="a pooler in transaction mode is in between")
        connection.execute(notices, {"pid": None})
    connection.execute(query("session", "configure"))


def is_pooled(alias: str) -> bool:
    """Do two sessions that are held at the same time share a server process? Then a pooler hands them out by
    transaction, even though it gives each the number of a process that it has."""
    with connect(alias) as one, connect(alias) as other:
        return _share(one, other)


def _share(one: Connection, other: Connection) -> bool:
    first, second = set(), set()
    for _ in range(LOOKS):
        first.add(_backend(one))
        second.add(_backend(other))
    return len(first) > 1 or len(second) > 1 or first == second


def is_at_work(params: dict[str, str], application_name: str) -> bool:
    """Does a server work for a session of this name in this database? One that does not answer works for none."""
    try:
        with connect_to(params, name="", application_name="memops looks for a session") as connection:
            answer = connection.execute(query("session", "is_at_work"), {"application_name": application_name})
            return bool(answer.fetchall()[0][0])
    except TargetUnreachable as unreachable:
        # It answers; whether it works can be asked when others have ended.
        return unreachable.facts["reason"] == NO_ROOM


def lost(error: psycopg.Error) -> str:
    """Why a session ended in the middle, in the server's own words, if it had any."""
    return error.diag.message_primary or (str(error) if isinstance(error, ServerSilent) else "the connection was lost")


@contextmanager
def child_environment(params: dict[str, str], **more: str) -> Iterator[dict[str, str]]:
    """The environment of pg_dump and its like: clean, told by variables, and the password in a file that only we
    read. Raises TemporaryFolderUnusable where there has to be such a file, and cannot be."""
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PGAPPNAME": "memops"}
    environment |= {"PGCONNECT_TIMEOUT": str(CONNECTION["connect_timeout"])}
    environment |= {ENVIRONMENT[key]: value for key, value in params.items() if key in ENVIRONMENT}
    environment.setdefault("PGPASSFILE", NO_PASSFILE)
    with ExitStack() as stack:
        if "password" in params:
            try:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="memops-"))
                environment["PGPASSFILE"] = _write_passfile(Path(folder), params["password"])
            except OSError as error:
                raise TemporaryFolderUnusable(
                    folder=tempfile.tempdir or os.environ.get("TMPDIR", "/tmp"),
                    problem=os.strerror(error.errno or 0),
                ) from error
        yield environment | more


def child_conninfo(params: dict[str, str], **more: str) -> str:
    """What a child has to be told of a connection on its command line, since no variable stands for it: nothing that
    is secret."""
    unspoken = [setting for setting in CONNECTION if setting not in ENVIRONMENT]
    return make_conninfo("", **{setting: params.get(setting, CONNECTION[setting]) for setting in unspoken} | more)


def _write_passfile(folder: Path, password: str) -> str:
    folder.chmod(0o700)  # Some umasks take the owner's own rights away.
    passfile = folder / "pgpass"
    quoted = password.replace("\\", "\\\\").replace(":", "\\:")
    descriptor = os.open(passfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(f"*:*:*:*:{quoted}\n")
    return str(passfile)


def _backend(connection: Connection) -> int:
    return int(connection.execute(query("session", "backend")).fetchall()[0][0])


def _reason(error: psycopg.Error, params: dict[str, str]) -> str:
    """Why there is no connection, without what libpq quotes: addresses, roles, or a whole connection string."""
    if isinstance(error, ServerSilent):
        return str(error)
    text = QUOTED.sub('""', str(error).lower())
    if isinstance(error, psycopg.errors.ConnectionTimeout) or "timeout" in text or "timed out" in text:
        return f"no answer within {params.get('connect_timeout', CONNECTION['connect_timeout'])} s"
    for sign, reason in (
        ("password authentication failed", "the password is wrong, or the role does not exist"),
        ("no password supplied", "it asks for a password and none is configured"),
        ("pg_hba.conf", "its pg_hba.conf does not let this role or address in"),
        ("authentication failed", "authentication failed"),
        ("too many connections", NO_ROOM),
        ("connection slots", NO_ROOM),
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
