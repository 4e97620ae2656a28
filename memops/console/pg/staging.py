"""A backup beside the table whose place it is to take: a schema of the run's own in the target's database.

In the same database, because what takes the table's place has to do it by a change of the catalogue. Nothing of the
archive is trusted for having been loaded: fingerprint and catalogue say what it is (``compare``, ``trial``).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from django.conf import settings
from psycopg.sql import SQL, Identifier

from memops.console.errors import LoadFailed, StagedDiffers, TargetDiskFull, TargetLost
from memops.console.pg import catalogue, fingerprint, packed, restore, session
from memops.console.pg.archive import FORMATS, Part, first_error
from memops.console.pg.beside import Progress, Teller, beside, ended, result
from memops.console.pg.feed import feed
from memops.console.pg.fingerprint import Fingerprint
from memops.console.pg.manifest import Manifest
from memops.console.pg.patience import Watch
from memops.console.pg.relation import Relation, differences
from memops.console.pg.sql import query
from memops.console.pg.structure import Statement, Structure

PREFIX = "memops_restore_"
PATTERN = f"^{PREFIX}[0-9a-f]{{32}}$"
TABLE = "memory_chunks"
LOADS, BUILDS = "memops loads a backup", "memops builds indexes"

PRIVILEGE = re.compile(r"[a-z]+")
HEAD_BYTES = 1024 * 1024
CHUNK_BYTES = 1024 * 1024
LARGEST_STRUCTURE_BYTES = 8 * 1024 * 1024
END_OF_ROWS = b"\n\\.\n"
COPY = re.compile(rb"^COPY [^\n(]* \(", re.MULTILINE)

DROP_WITHIN = timedelta(seconds=10)
"""A session of a killed process keeps its locks until the server has noticed, about a second later."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one run stages: ``schema`` on the target ``alias``."""

    alias: str
    schema: str


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What was loaded, and what is still to be built on it."""

    oid: int
    fingerprint: Fingerprint
    afterwards: list[Statement]
    left_out: list[str]
    took: timedelta


@dataclass(frozen=True, kw_only=True)
class Building:
    """How far an index is. ``total`` None: the server does not say how much there is to do."""

    name: str
    phase: str
    done: int
    total: int | None


def place_of(alias: str, key: str) -> Place:
    """``key`` is the run's: 32 hexadecimal digits."""
    return Place(alias=alias, schema=f"{PREFIX}{key}")


def load(place: Place, *, path: Path, manifest: Manifest, grants: list[list[Any]], progress: Progress) -> Loaded:
    """Load the rows of an archive into a table of its own; its indexes and its security are still to be built.

    Hash and size are checked before anything is unpacked, and the rows against the fingerprint of the snapshot.
    ``grants`` are given besides those in the archive: a quarantined table has none.
    Raises ArchiveDamaged, BackupOpenToOthers, LoadFailed, TargetDiskFull, StagedDiffers, TargetUnreachable.
    """
    began = time.monotonic()
    teller = Teller(progress=progress, total=manifest.size_bytes)
    with (
        packed.opened(path) as file,
        _server_errors_told(path),
        session.connect(place.alias, application_name=LOADS, works_long=True) as connection,
    ):
        packed.check_hash(file, path, manifest, lambda: teller.tell(0))
        version = catalogue.server(connection).version_num
        structure = _structure(file, path, manifest, place, version)
        with connection.transaction():
            _make(connection, place, structure)
            _copy(connection, file, path, manifest, place, structure, version, teller)
        teller.finish()
        found = _fingerprint(connection, place, manifest, teller)
        if found != manifest.expected:
            expected = manifest.expected
            raise StagedDiffers(
                archive=path.name,
                differences=f"it has {found.rows:,} rows with fingerprint {found}, dumped were {expected.rows:,} with"
                f" {expected}",
            )
        relation = catalogue.relation(connection, place.schema, TABLE)
        assert relation is not None
    return Loaded(
        oid=relation.oid,
        fingerprint=found,
        afterwards=structure.afterwards + [_granting(place, grant) for grant in grants],
        left_out=structure.left_out,
        took=timedelta(seconds=time.monotonic() - began),
    )


def build(
    place: Place, statements: list[Statement], *, path: Path, workers: int, tell: Callable[[Building], None]
) -> list[tuple[str, timedelta]]:
    """Build indexes, constraints, policies and grants, one by one; gives what each took.

    Raises LoadFailed, TargetDiskFull, TargetUnreachable.
    """
    took = []
    memory = f"{settings.MEMOPS_MAINTENANCE_WORK_MEM_BYTES // 1024}kB"
    with (
        _server_errors_told(path),
        session.connect(place.alias, application_name=BUILDS, works_long=True) as connection,
        session.connect(place.alias, application_name="memops looks at an index") as looker,
    ):
        connection.execute(query("staging", "build_settings"), {"memory": memory, "workers": str(workers)})
        pid = connection.info.backend_pid
        for statement in statements:
            began = time.monotonic()
            execute = partial(_execute, statement=statement)
            with beside(connection, execute) as building:
                result(building, meanwhile=lambda name=statement.name: tell(_progress(looker, pid, name)))  # type: ignore[misc]
            took.append((f"{statement.kind.lower()} {statement.name}", timedelta(seconds=time.monotonic() - began)))
        _analyze(connection, place)
    return took


def stamp_of(manifest: Manifest) -> str:
    """What a rollback has put behind every name of a table that was dumped from quarantine; empty for any other."""
    return manifest.name.removeprefix(TABLE) if manifest.schema == "memops_quarantine" else ""


def expected_of(manifest: Manifest, grants: list[list[Any]]) -> dict[str, Any]:
    """What the catalogue of the restored table has to be: that of the snapshot, under the names of its own place.
    ``grants`` as for ``load``."""
    described = manifest.catalogue
    if stamp := stamp_of(manifest):
        written = json.dumps(described).replace(f"{manifest.schema}.", "public.").replace(stamp, "")
        described = json.loads(written)
    return described | {"grants": sorted([*described["grants"], *grants])}


def safe_workers(place: Place) -> int:
    """How many processes may build an index beside the session itself."""
    return restore.safe_workers(session.libpq_params(place.alias))


def compare(connection: session.Connection, schema: str, *, archive: str, expected: dict[str, Any]) -> None:
    """Compare the whole catalogue of ``schema``.memory_chunks: owner, grants, row-level security, policies,
    constraints, indexes, triggers, columns and their defaults. Raises StagedDiffers."""
    relation = catalogue.relation(connection, schema, TABLE)
    if relation is None:
        raise StagedDiffers(archive=archive, differences=f"there is no {schema}.{TABLE}")
    if differ := unlike(expected, relation):
        raise StagedDiffers(archive=archive, differences="; ".join(differ))


def unlike(expected: dict[str, Any], relation: Relation) -> list[str]:
    """What of a table is not as ``expected_of`` says."""
    described = relation.catalogue()
    known = {grant[1] for grant in expected["grants"]}
    # A newer server gives an owner rights that the older one has no name for, such as MAINTAIN.
    described["grants"] = [
        grant for grant in described["grants"] if grant[1] in known or grant[0] != described["owner"]
    ]
    return differences(expected, described)


def drop(place: Place) -> list[str]:
    """Remove what a run has staged, if anything; gives the names of the schemas that are gone.

    Table by table and never with CASCADE: what somebody has put there stays, and the schema with it.
    Raises TargetUnreachable, psycopg.Error where it cannot be removed now.
    """
    with session.connect(place.alias, application_name="memops removes what was staged") as connection:
        return _drop(connection, [place.schema])


def drop_left_behind(alias: str) -> list[str]:
    """Remove what runs have left that are not at work. Whoever calls this holds the target: nobody stages meanwhile."""
    with session.connect(alias, application_name="memops removes what was staged") as connection:
        return _drop(connection, left_behind(connection))


def left_behind(connection: session.Connection) -> list[str]:
    """The schemas that restores have made and not removed."""
    return [name for (name,) in connection.execute(query("staging", "left_behind"), {"pattern": PATTERN}).fetchall()]


def _drop(connection: session.Connection, schemas: list[str]) -> list[str]:
    there = left_behind(connection)
    dropped = []
    until = time.monotonic() + DROP_WITHIN.total_seconds()
    for schema in [schema for schema in schemas if schema in there]:
        while True:
            try:
                with connection.transaction():
                    connection.execute(query("staging", "limit"), {"lock_timeout": "1s"})
                    for (table,) in connection.execute(query("staging", "tables"), {"schema": schema}).fetchall():
                        connection.execute(
                            SQL(query("staging", "drop_table")).format(Identifier(schema), Identifier(table))
                        )
                    connection.execute(SQL(query("staging", "drop_schema")).format(Identifier(schema)))
            except psycopg.errors.LockNotAvailable:
                if time.monotonic() > until:
                    raise
                continue
            dropped.append(schema)
            break
    return dropped


def _structure(file: BinaryIO, path: Path, manifest: Manifest, place: Place, server_version: int) -> Structure:
    printed = bytearray()
    with FORMATS[manifest.format].printer(Part.STRUCTURE, server_version=server_version) as child:
        # What it prints has to fit into the pipe: nobody reads it until it has stopped reading.
        with suppress(OSError, AttributeError):
            fcntl.fcntl(child.stdout.fileno(), fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
        _feed_head(child.stdin, file, path)
        while chunk := child.stdout.read(CHUNK_BYTES):
            printed += chunk
            if len(printed) > LARGEST_STRUCTURE_BYTES:
                raise LoadFailed(archive=path.name, ended="pg_restore", said="it printed more than makes a table")
        end = child.wait()
    if not end.well:
        raise LoadFailed(archive=path.name, ended=str(end), said=first_error(end.stderr))
    try:
        text = printed.decode()
    except UnicodeDecodeError:
        raise LoadFailed(archive=path.name, ended="pg_restore", said="what makes the table is not UTF-8") from None
    return Structure.read(
        text,
        archive=path.name,
        schema=manifest.schema,
        names=[manifest.name, *manifest.catalogue["indexes"]],
        stamp=stamp_of(manifest),
        into=place.schema,
    )


def _granting(place: Place, grant: list[Any]) -> Statement:
    grantee, privilege, _, column = map(str, grant)
    if not PRIVILEGE.fullmatch(privilege):
        raise ValueError(privilege)
    text = SQL("grant {}{} on table {} to {}{}").format(
        SQL(privilege),
        SQL(" ({})").format(Identifier(column)) if column else SQL(""),
        Identifier(place.schema, TABLE),
        SQL("public") if grantee == "PUBLIC" else Identifier(grantee),
        SQL(" with grant option") if grant[2] else SQL(""),
    )
    return Statement(kind="ACL", name=f"{privilege} to {grantee}", text=text.as_string())


def _feed_head(sink: BinaryIO, file: BinaryIO, path: Path) -> None:
    """As much as it wants: it stops reading where the rows begin."""
    with suppress(BrokenPipeError):
        for raw in packed.unpacked(file, path):
            sink.write(raw)
        sink.close()


def _make(connection: session.Connection, place: Place, structure: Structure) -> None:
    connection.execute(SQL(query("staging", "make_schema")).format(Identifier(place.schema)))
    connection.execute(SQL(query("staging", "describe_schema")).format(Identifier(place.schema)))
    connection.execute(query("staging", "no_path"))
    for statement in structure.first:
        connection.execute(statement.text.encode())


def _copy(
    connection: session.Connection,
    file: BinaryIO,
    path: Path,
    manifest: Manifest,
    place: Place,
    structure: Structure,
    server_version: int,
    teller: Teller,
) -> None:
    """The rows are parsed once, as data: nothing of them is executed."""
    parameters = {"schema": place.schema, "name": TABLE}
    columns = connection.execute(query("staging", "copied_columns"), parameters).fetchall()[0][0]
    copying = SQL(query("staging", "copy")).format(Identifier(place.schema), Identifier(TABLE), SQL(columns))
    asks = partial(session.is_at_work, session.libpq_params(place.alias), LOADS)
    watch = Watch(patience=settings.MEMOPS_PATIENCE, asks=asks)

    def take(connection: session.Connection) -> None:
        connection.execute(query("staging", "encoding"), {"encoding": structure.encoding})
        with connection.cursor() as cursor, cursor.copy(copying) as copy:
            for rows in _rows(child.stdout, path, columns):
                copy.write(rows)

    with FORMATS[manifest.format].printer(Part.ROWS, server_version=server_version) as child:
        with beside(connection, take) as taking:

            def meanwhile() -> None:
                if taking.done():
                    taking.result()  # Raises what the server has said: it takes no more.
                watch.look()
                teller.tell()

            try:
                took_all = feed(file, path, manifest, child.stdin, teller, watch, meanwhile)
                result(taking, meanwhile=teller.tell)
            except BaseException:
                child.kill()  # The session waits for its rows, and cannot be cancelled while it does.
                raise
        end = ended(child, meanwhile=teller.tell)
    if not end.well:
        raise LoadFailed(archive=path.name, ended=str(end), said=first_error(end.stderr))
    if not took_all:
        raise LoadFailed(archive=path.name, ended=str(end), said="it ended before it had read the archive")


def _rows(source: BinaryIO, path: Path, columns: str) -> Iterator[bytes]:
    """What COPY is to take, of what ``pg_restore --data-only`` prints."""
    # A column's name may have any character in it, also the end of a line.
    expected = f"{columns}) FROM stdin;".encode()
    head = b""
    while (begin := COPY.search(head)) is None or len(head) <= begin.end() + len(expected):
        chunk = os.read(source.fileno(), CHUNK_BYTES)
        if not chunk or len(head) > HEAD_BYTES:
            raise LoadFailed(archive=path.name, ended="pg_restore", said="it printed no rows")
        head += chunk
    rest = head[begin.end() :]
    if not rest.startswith(expected + b"\n"):
        raise LoadFailed(archive=path.name, ended="pg_restore", said="its rows have other columns than its table")
    rest = rest[len(expected) :]  # with the line's end, after which the mark of no rows at all may follow
    lead = 1
    while (mark := rest.find(END_OF_ROWS)) < 0:
        kept = len(END_OF_ROWS) - 1
        if len(rest) > lead + kept:
            yield rest[lead:-kept]
            rest, lead = rest[-kept:], 0
        chunk = os.read(source.fileno(), CHUNK_BYTES)
        if not chunk:
            raise LoadFailed(archive=path.name, ended="pg_restore", said="its rows have no end")
        rest += chunk
    if mark + 1 > lead:
        yield rest[lead : mark + 1]
    while os.read(source.fileno(), CHUNK_BYTES):
        pass  # pg_restore has more to say, and would stand still if nobody listened.


def _fingerprint(connection: session.Connection, place: Place, manifest: Manifest, teller: Teller) -> Fingerprint:
    def count(connection: session.Connection) -> Fingerprint:
        algorithm = manifest.expected.algorithm
        return fingerprint.of(connection, schema=place.schema, name=TABLE, algorithm=algorithm)

    with beside(connection, count) as counting:
        return result(counting, meanwhile=teller.tell)


def _execute(connection: session.Connection, *, statement: Statement) -> None:
    with connection.transaction():
        connection.execute(query("staging", "no_path"))
        connection.execute(statement.text.encode())


def _analyze(connection: session.Connection, place: Place) -> None:
    with beside(
        connection,
        lambda c: c.execute(SQL(query("staging", "analyze")).format(Identifier(place.schema), Identifier(TABLE))),
    ) as analyzing:
        result(analyzing, meanwhile=lambda: None)


def _progress(looker: session.Connection, pid: int, name: str) -> Building:
    try:
        found = looker.execute(query("staging", "building"), {"pid": pid}).fetchone()
    except psycopg.Error:
        found = None  # Who cannot look builds all the same.
    if found is None:
        return Building(name=name, phase="", done=0, total=None)
    phase, blocks_done, blocks_total, tuples_done, tuples_total = found
    done, total = (tuples_done, tuples_total) if tuples_total else (blocks_done, blocks_total)
    return Building(name=name, phase=phase, done=done or 0, total=total or None)


@contextmanager
def _server_errors_told(path: Path) -> Iterator[None]:
    try:
        yield
    except TargetLost:
        raise
    except psycopg.Error as error:
        said = session.lost(error)
        if any(sign in said for sign in restore.DISK_FULL) and restore.NOT_ENOUGH_SHARED_MEMORY not in said:
            raise TargetDiskFull(archive=path.name, said=said) from error
        # Of a value that does not fit the server quotes nothing in its first line but what is in double quotes.
        told = session.QUOTED.sub('"..."', said) if error.sqlstate and error.sqlstate.startswith("22") else said
        raise LoadFailed(archive=path.name, ended=f"SQLSTATE {error.sqlstate or 'none'}", said=told) from error
