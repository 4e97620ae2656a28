"""What stands where a backup is to be restored, and whether the server has what the backup needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg.sql import SQL, Identifier

from memops.console.pg import catalogue, furnish, session, trial
from memops.console.pg.manifest import Manifest
from memops.console.pg.session import Connection
from memops.console.pg.sql import query


@dataclass(frozen=True, kw_only=True)
class Ground:
    """``has_rows`` None: somebody has locked the table. ``written_since`` None: counting took too long.
    ``free_bytes`` None: the server's disk cannot be seen from here."""

    has_rows: bool | None
    written_since: int | None
    missing_roles: list[str]
    publishing_all: list[str]
    extension: str | None
    may_try_isolation: bool
    free_bytes: int | None


def look(alias: str, *, manifest: Manifest, taken_at: datetime, app_role: str, within: timedelta) -> Ground:
    """Raises TargetUnreachable, UnknownTarget."""
    with session.connect(alias, application_name="memops looks before a restore") as connection:
        has_rows, written_since = _rows(connection, taken_at, within)
        names = sorted(furnish.roles(manifest) - {"public"})
        missing = connection.execute(query("scratch", "missing_roles"), {"names": names}).fetchall()
        return Ground(
            has_rows=has_rows,
            written_since=written_since,
            missing_roles=[name for (name,) in missing],
            publishing_all=[name for (name,) in connection.execute(query("staging", "publishing_all")).fetchall()],
            extension=catalogue.extensions(connection).get(furnish.VECTOR),
            may_try_isolation=trial.may_act_as(connection, app_role),
            free_bytes=_free_bytes(alias, connection),
        )


def is_older(extension: str, wanted: str) -> bool:
    return furnish.parts(extension) < furnish.parts(wanted)


def _rows(connection: Connection, taken_at: datetime, within: timedelta) -> tuple[bool | None, int | None]:
    table = Identifier("public"), Identifier("memory_chunks")
    limit = f"{within / timedelta(milliseconds=1):.0f}"
    if catalogue.relation(connection, "public", "memory_chunks") is None:
        return False, 0
    try:
        with connection.transaction():
            connection.execute(query("session", "limit"), {"statement_timeout": limit, "lock_timeout": limit})
            has_rows = bool(connection.execute(SQL(query("staging", "has_rows")).format(*table)).fetchall()[0][0])
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
        return None, None
    try:
        with connection.transaction():
            connection.execute(query("session", "limit"), {"statement_timeout": limit, "lock_timeout": limit})
            counting = SQL(query("staging", "written_since")).format(*table)
            return has_rows, int(connection.execute(counting, {"moment": taken_at}).fetchall()[0][0])
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedColumn):
        return has_rows, None


def _free_bytes(alias: str, connection: Connection) -> int | None:
    """Of the disk that the database is on, where it is this machine's and this account may look."""
    if not session.is_local(session.libpq_params(alias)):
        return None
    folder = connection.execute(query("staging", "data_directory")).fetchall()[0][0]
    try:
        filesystem = os.statvfs(folder) if folder else None
    except OSError:
        return None
    return filesystem.f_bavail * filesystem.f_frsize if filesystem else None
