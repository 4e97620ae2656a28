"""Write a backup: one table, as one snapshot shows it, compressed and hashed on its way to the disk."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
import zstandard
from django.conf import settings
from psycopg.sql import SQL, Identifier, Literal

import memops
from memops.console.errors import BackupNameTaken, BackupUnderRowSecurity, DumpFailed, TableGone, TargetLost
from memops.console.pg import catalogue, fingerprint, manifest, session
from memops.console.pg.archive import DUMPS, FORMATS, QUEUED_LOCK_WAIT, Format, Source, first_error
from memops.console.pg.beside import TICK, Progress, Teller, beside, ended, result
from memops.console.pg.fingerprint import Fingerprint
from memops.console.pg.manifest import Manifest
from memops.console.pg.newfile import NewFile, new_file, partial_of, remove_leftovers, remove_unheld
from memops.console.pg.patience import Watch
from memops.console.pg.relation import Relation
from memops.console.pg.sql import query

ZSTD_LEVEL = 1
"""Measured: the second core does it while pg_dump works on the first, and it is the smallest there."""

CHUNK_BYTES = 1024 * 1024
STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,180}")

LOCK_WAIT = timedelta(seconds=30)
"""How long the lock may take that only a change of the table itself holds up."""


@dataclass(frozen=True, kw_only=True)
class Dumped:
    """A complete backup: archive and manifest, both on the disk under their names."""

    path: Path
    manifest: Manifest
    size_bytes: int
    raw_bytes: int
    sha256: str
    fingerprint: Fingerprint
    exit_code: int
    took: timedelta


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A table that cannot be altered, seen in a snapshot, for as long as the session lives that holds it."""

    server: catalogue.Server
    snapshot: str
    relation: Relation
    extensions: dict[str, str]
    functions: list[catalogue.Function]


def dump(
    alias: str,
    *,
    schema: str,
    name: str,
    folder: Path,
    stem: str,
    progress: Progress,
    facts: dict[str, Any],
    format_name: str = "archive",
) -> Dumped:
    """Dump a table to ``folder/stem.*``. Readers and writers go on meanwhile.

    Raises TableGone, BackupUnderRowSecurity, BackupFolderUnusable, BackupNameTaken, BackupDiskFull, DumpFailed,
    TargetUnreachable; no file is left then, nor where ``progress`` raises.
    """
    began, started_at = time.monotonic(), datetime.now(UTC)
    form = FORMATS[format_name]
    if not STEM.fullmatch(stem):
        raise BackupNameTaken(name=stem[:100], problem="is not a name for a file")
    remove_leftovers(folder)
    with (
        _server_errors_told(alias, f"{schema}.{name}"),
        session.connect(alias, application_name="memops holds a snapshot", works_long=True) as holder,
        new_file(folder, archive_path(folder, stem, format_name=format_name).name) as archive,
        new_file(folder, manifest.path_of(archive.path).name) as beside_it,
    ):
        held = _hold(holder, alias, schema, name)
        source = Source(
            params=session.libpq_params(alias),
            server_version=held.server.version_num,
            schema=schema,
            name=name,
            snapshot=held.snapshot,
        )
        raw_bytes, sha256, counted = _write(form, source, archive, alias, progress)
        size_bytes = archive.put_down()
        written = Manifest(
            archive=archive.path.name,
            format=form.name,
            sha256=sha256,
            size_bytes=size_bytes,
            raw_bytes=raw_bytes,
            schema=schema,
            name=name,
            table_oid=held.relation.oid,
            fingerprint=str(counted),
            catalogue=held.relation.catalogue(),
            server={
                "system_identifier": held.server.system_identifier,
                "database": held.server.database,
                "database_oid": held.server.database_oid,
                "role": held.server.role,
            },
            versions={
                "memops": memops.__version__,
                "server": held.server.version,
                "client": form.client_version(source),
            },
            extensions=held.extensions,
            functions={one.name: [one.schema, one.definition] for one in held.functions},
            target=alias,
            snapshot=held.snapshot,
            started_at=started_at.isoformat(),
            ended_at=(started_at + timedelta(seconds=time.monotonic() - began)).isoformat(),
            facts=facts,
        )
        beside_it.write(written.as_text().encode())
        beside_it.put_down()
    return Dumped(
        path=archive.path,
        manifest=written,
        size_bytes=size_bytes,
        raw_bytes=raw_bytes,
        sha256=sha256,
        fingerprint=counted,
        exit_code=0,
        took=timedelta(seconds=time.monotonic() - began),
    )


def archive_path(folder: Path, stem: str, *, format_name: str = "archive") -> Path:
    """Where the archive of a dump will be."""
    return folder / (stem + FORMATS[format_name].suffix)


def left_of(archive: Path) -> list[str]:
    """The files of a backup that are there, complete or not."""
    complete = (archive, manifest.path_of(archive))
    return [file.name for path in complete for file in (path, partial_of(path)) if os.path.lexists(file)]


def remove(archive: Path) -> list[str]:
    """Remove the files of a backup, but for one that a living process writes; gives their names."""
    stem = archive.name.partition(".")[0]
    return remove_unheld(archive.parent, f"{stem}.*")


@contextmanager
def _server_errors_told(alias: str, table: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise TableGone(target=alias, table=table) from error
    except TargetLost as error:
        ended = "its session has ended"
        raise DumpFailed(target=alias, table=table, ended=ended, said=error.facts["reason"]) from error
    except psycopg.Error as error:
        ended = f"SQLSTATE {error.sqlstate or 'none'}"
        raise DumpFailed(target=alias, table=table, ended=ended, said=session.lost(error)) from error


def _hold(holder: session.Connection, alias: str, schema: str, name: str) -> _Held:
    server = catalogue.server(holder)
    _limit_lock_wait(holder, LOCK_WAIT)
    holder.execute(query("dump", "begin"))
    holder.execute(SQL(query("dump", "hold")).format(Identifier(schema), Identifier(name)))
    snapshot = str(holder.execute(query("dump", "export")).fetchall()[0][0])
    relation = catalogue.relation(holder, schema, name)
    if relation is None:
        raise TableGone(target=alias, table=f"{schema}.{name}")
    if relation.row_security_active:
        raise BackupUnderRowSecurity(target=alias, table=f"{schema}.{name}")
    return _Held(
        server=server,
        snapshot=snapshot,
        relation=relation,
        extensions=catalogue.extensions(holder),
        functions=catalogue.functions(holder, relation.oid),
    )


def _write(
    form: Format, source: Source, archive: NewFile, alias: str, progress: Progress
) -> tuple[int, str, Fingerprint]:
    """Write the archive, and fingerprint the table in the same snapshot meanwhile."""
    table = f"{source.schema}.{source.name}"
    teller = Teller(progress=progress)
    with session.connect(alias, application_name="memops fingerprints", works_long=True) as counter:
        algorithm = fingerprint.algorithm_of(counter)
        _limit_lock_wait(counter, QUEUED_LOCK_WAIT)
        counter.execute(query("dump", "begin"))
        counter.execute(SQL(query("dump", "join")).format(Literal(source.snapshot)))

        def count(connection: session.Connection) -> Fingerprint:
            return fingerprint.of(
                connection, schema=source.schema, name=source.name, algorithm=algorithm, one_process=True
            )

        watch = Watch(patience=settings.MEMOPS_PATIENCE, asks=partial(session.is_at_work, source.params, DUMPS))
        with beside(counter, count) as counting, form.writer(source) as child:

            def meanwhile() -> None:
                if counting.done():
                    counting.result()  # Raises what the fingerprint has raised: without it the archive is worthless.
                if child.poll() is None:
                    watch.look()
                teller.tell()

            raw_bytes, sha256 = _pump(child.stdout, archive, teller, watch, meanwhile)
            end = ended(child, meanwhile=meanwhile)
            if not end.well:
                raise DumpFailed(target=alias, table=table, ended=str(end), said=first_error(end.stderr))
            counted = result(counting, meanwhile=meanwhile)
    teller.finish()
    return raw_bytes, sha256, counted


def _limit_lock_wait(connection: session.Connection, limit: timedelta) -> None:
    milliseconds = f"{limit / timedelta(milliseconds=1):.0f}"
    connection.execute(query("dump", "limit_lock_wait"), {"lock_timeout": milliseconds})


def _pump(
    source: BinaryIO, archive: NewFile, teller: Teller, watch: Watch, meanwhile: Callable[[], None]
) -> tuple[int, str]:
    """Compress and hash everything that comes; returns the bytes that came and the hash of those that were written."""
    descriptor = source.fileno()
    with suppress(OSError, AttributeError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    readable = select.poll()
    readable.register(descriptor, select.POLLIN)
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
    hashed = hashlib.sha256()
    raw_bytes = 0

    def write(data: bytes) -> None:
        hashed.update(data)
        archive.write(data)

    while True:
        if readable.poll(TICK / timedelta(milliseconds=1)):
            if not (chunk := os.read(descriptor, CHUNK_BYTES)):
                break
            watch.saw_life()
            raw_bytes += len(chunk)
            write(compressor.compress(chunk))
            teller.done = raw_bytes
        meanwhile()
    write(compressor.flush())
    return raw_bytes, hashed.hexdigest()
