"""Where a backup is proved: a database that is made for it and dropped afterwards."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import structlog
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from memops.console.errors import NoScratch, TargetLost, TargetUnreachable
from memops.console.pg import catalogue, session
from memops.console.pg.session import Connection
from memops.console.pg.sql import query
from project import embedded

journal = structlog.get_logger("memops.scratch")

TEMPLATE = "memops_scratch"
PREFIX = "memops_scratch_"
PATTERN = f"^{PREFIX}[0-9]{{1,12}}_([0-9a-f]{{8}})$"
DROP_WITHIN_SECONDS = 30

NOTICED_WITHIN_SECONDS = 3
"""A session looks every half second whether its client is there (client_connection_check_interval), but not while it
waits for the disk."""

IN_USE = 0x6D656D73
"""First key of the lock that whoever uses a scratch database holds for as long as it lives, in the database from which
it was made; the second is the last part of its name."""


@dataclass(frozen=True, kw_only=True)
class ScratchPlace:
    """A server on which memops may make databases.

    ``is_ours``: nobody else lives there, so roles may be made too. ``preparing`` are the parameters of the role that
    makes them. ``home`` is that of the embedded server, which runs only where it is needed.
    """

    title: str
    params: dict[str, str]
    preparing: dict[str, str]
    server_version: int
    is_ours: bool
    home: Path | None = None

    def __str__(self) -> str:
        return self.title


def place(alias: str) -> ScratchPlace:
    """Where backups of a target can be proved. Raises NoScratch, TargetUnreachable."""
    try:
        return _place(alias)
    except psycopg.OperationalError as error:
        raise TargetUnreachable(target=alias, reason="the connection was lost") from error


def _place(alias: str) -> ScratchPlace:
    wanted = settings.MEMOPS_SCRATCH_URL
    if wanted is None:
        params = session.libpq_params(alias)
        return _ask(alias, params, name=alias, title="a database on the same server", is_ours=False)
    if wanted == "embedded":
        found = _embedded(alias)
    else:
        params = _strings(conninfo_to_dict(wanted))
        try:
            found = _ask(
                alias, params, name="of MEMOPS_SCRATCH_URL", title="a database on the scratch server", is_ours=True
            )
        except TargetUnreachable as error:
            reason = f"the server of MEMOPS_SCRATCH_URL does not answer: {error.facts['reason']}"
            raise NoScratch(target=alias, reason=reason) from error
    with session.connect(alias, application_name="memops looks for a scratch place") as connection:
        needed = catalogue.server(connection).version_num // 10000
    if found.server_version // 10000 < needed:
        raise NoScratch(
            target=alias,
            reason=f"{found} is PostgreSQL {found.server_version // 10000}, older than the target's {needed}",
        )
    return found


@contextmanager
def database(place: ScratchPlace, *, alias: str) -> Iterator[dict[str, str]]:
    """A fresh database with the extension; gives libpq's parameters for it. It is dropped at the end, whatever happens.

    Raises NoScratch, TargetUnreachable.
    """
    token = secrets.token_hex(4)
    name = f"{PREFIX}{int(time.time())}_{token}"
    begun = False
    try:
        if place.home is not None:
            embedded.start(place.home)
        with session.connect_to(
            place.params, name=alias, application_name="memops holds a scratch database", works_long=True
        ) as connection:
            _drop_left_behind(connection)
            # The server frees it when this process dies, which is how the next one knows.
            connection.execute(query("scratch", "hold"), {"space": IN_USE, "token": token})
            begun = True
            _create(connection, place, name, alias)
            yield place.params | {"dbname": name}
    except embedded.EmbeddedFailed as error:
        raise NoScratch(target=alias, reason=f"the embedded server does not start: {error}") from error
    except TargetLost:
        raise  # It was there.
    except TargetUnreachable as error:
        if not place.is_ours:
            raise
        raise NoScratch(target=alias, reason=f"{place} does not answer: {error.facts['reason']}") from error
    finally:
        if begun:
            _drop(place, name, alias)


def drop_left_behind(place: ScratchPlace, *, alias: str) -> list[str]:
    """Drop the scratch databases whose users have died, and give their names.

    Waits for sessions that may be those of a process that was just killed: the server notices in its own time, and a
    database that one of them still makes would be seen by nobody.

    Raises NoScratch where the embedded server does not start, TargetUnreachable.
    """
    if place.home is not None:
        try:
            embedded.start(place.home)
        except embedded.EmbeddedFailed as error:
            raise NoScratch(target=alias, reason=f"the embedded server does not start: {error}") from error
    dropped = []
    deadline = time.monotonic() + NOTICED_WITHIN_SECONDS
    with session.connect_to(
        place.params, name=alias, application_name="memops drops scratch databases", works_long=True
    ) as connection:
        try:
            while True:
                is_anybody_there = connection.execute(query("scratch", "is_held"), {"space": IN_USE}).fetchall()[0][0]
                dropped += _drop_left_behind(connection)
                if not is_anybody_there or time.monotonic() > deadline:
                    return dropped
                time.sleep(0.1)
        except psycopg.Error as error:
            raise TargetUnreachable(target=alias, reason="the connection was lost") from error


def _create(connection: Connection, place: ScratchPlace, name: str, alias: str) -> None:
    try:
        connection.execute(SQL(query("scratch", "create")).format(Identifier(name), Identifier(TEMPLATE)))
    except psycopg.Error as error:
        raise NoScratch(target=alias, reason=f"{place} could not be made ({session.lost(error)})") from error


def _embedded(alias: str) -> ScratchPlace:
    if embedded.bin_dir(embedded.MAJOR) is None:
        raise NoScratch(target=alias, reason="the library with the embedded server is not installed")
    home = Path(settings.MEMOPS_HOME) / "scratch"
    return ScratchPlace(
        title="a database on the embedded server",
        params=_strings(conninfo_to_dict(embedded.url(home))),
        preparing=_strings(conninfo_to_dict(embedded.superuser_url(home))),
        server_version=embedded.MAJOR * 10000,
        is_ours=True,
        home=home,
    )


def _ask(alias: str, params: dict[str, str], *, name: str, title: str, is_ours: bool) -> ScratchPlace:
    with session.connect_to(params, name=name, application_name="memops looks for a scratch place") as connection:
        server = catalogue.server(connection)
        has_template = bool(connection.execute(query("scratch", "has_template"), {"name": TEMPLATE}).fetchall()[0][0])
    if server.is_standby:
        raise NoScratch(target=alias, reason="the server is a standby")
    if not server.can_create_databases:
        raise NoScratch(
            target=alias,
            reason=f"the role {server.role} may not create databases (alter role {server.role} createdb), and"
            " MEMOPS_SCRATCH_URL names no other server; MEMOPS_SCRATCH_URL=embedded uses the server that memops brings",
        )
    if not has_template:
        raise NoScratch(
            target=alias,
            reason=f"the server has no template database {TEMPLATE} with the extension vector (manage.py memops sql"
            " roles prints how to make it); MEMOPS_SCRATCH_URL=embedded uses the server that memops brings",
        )
    return ScratchPlace(
        title=title, params=params, preparing=params, server_version=server.version_num, is_ours=is_ours
    )


def _drop(place: ScratchPlace, name: str, alias: str) -> None:
    """Force ends a forgotten session, but fails at an autovacuum, which only a superuser may end; a plain drop sends
    that one away, but not the session. After a large restore an autovacuum is the rule.

    What cannot be dropped now is dropped before the next scratch database is made, or by reconcile.
    """
    deadline = time.monotonic() + DROP_WITHIN_SECONDS
    while not (_is_dropped(place, name, alias, "drop") or _is_dropped(place, name, alias, "drop_unused")):
        if time.monotonic() > deadline:
            journal.warning("scratch database is still there", target=alias, database=name, place=str(place))
            return
        time.sleep(0.2)


def _is_dropped(place: ScratchPlace, name: str, alias: str, how: str) -> bool:
    try:
        with session.connect_to(
            place.params, name=alias, application_name="memops drops a scratch database", works_long=True
        ) as connection:
            connection.execute(SQL(query("scratch", how)).format(Identifier(name)))
    except (TargetUnreachable, psycopg.Error):
        return False
    return True


def _drop_left_behind(connection: Connection) -> list[str]:
    """What a killed process has left: nobody holds its lock."""
    dropped = []
    for (name,) in connection.execute(
        query("scratch", "left_behind"), {"pattern": PATTERN, "space": IN_USE}
    ).fetchall():
        # Force fails at an autovacuum, a plain drop at a session of the killed process that has not noticed yet.
        for how in ("drop", "drop_unused"):
            with suppress(psycopg.Error):
                connection.execute(SQL(query("scratch", how)).format(Identifier(name)))
                dropped.append(name)
                break
    return dropped


def _strings(params: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in params.items() if value is not None}
