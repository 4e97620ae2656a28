"""Prove an archive: its hash, its end, a restore in which nothing may fail, and what it comes to (design rule 5)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO

import psycopg
from django.conf import settings

from memops.console.errors import (
    RestoredDiffers,
    RestoreFailed,
    ScratchDiskFull,
    TargetLost,
)
from memops.console.pg import catalogue, fingerprint, packed, scratch, session
from memops.console.pg.archive import FORMATS, RESTORES, Sink, first_error
from memops.console.pg.beside import Progress, Teller, beside, ended, result
from memops.console.pg.feed import feed
from memops.console.pg.fingerprint import Fingerprint
from memops.console.pg.furnish import furnish
from memops.console.pg.manifest import Manifest
from memops.console.pg.patience import Watch
from memops.console.pg.relation import differences
from memops.console.pg.scratch import ScratchPlace

CHUNK_BYTES = 1024 * 1024

NOT_ENOUGH_SHARED_MEMORY = "could not resize shared memory segment"
"""What a parallel index build says where /dev/shm is small, as in most containers (64 MB)."""

DISK_FULL = ("could not extend file", "No space left on device", "Disk quota exceeded", "File too large")
"""What a server says in English. In another language its words are told, and nothing is made of them."""

SHM = Path("/dev/shm")

PARALLEL_WORKERS = 2
"""On a server whose cores we cannot count: PostgreSQL's own default."""

MOST_WORKERS = 4

_without_shared_memory: set[str] = set()
"""Scratch servers where a parallel index build has failed; a restore that fails at its end is dear."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was proved, and how long each part of it took."""

    fingerprint: Fingerprint
    place: str
    hashing: timedelta
    restoring: timedelta
    comparing: timedelta
    took: timedelta


def verify(*, path: Path, manifest: Manifest, alias: str, scratch_place: ScratchPlace, progress: Progress) -> Verified:
    """Restore an archive into a scratch database and compare it with its manifest.

    Raises ArchiveDamaged, BackupOpenToOthers, RestoreFailed, ScratchDiskFull, RestoredDiffers, NoScratch,
    TargetUnreachable; the scratch database is gone afterwards, also where ``progress`` raises.
    """
    began = time.monotonic()
    teller = Teller(progress=progress, total=manifest.size_bytes)
    with packed.opened(path) as file, _server_errors_told(path, scratch_place):
        packed.check_hash(file, path, manifest, lambda: teller.tell(0))
        hashed = time.monotonic()
        workers = safe_workers(scratch_place.params)
        while True:
            with scratch.database(scratch_place, alias=alias) as params:
                furnish(params, alias, manifest, scratch_place)
                try:
                    _restore(file, path, manifest, params, scratch_place, workers=workers, teller=teller)
                except RestoreFailed as error:
                    if workers and NOT_ENOUGH_SHARED_MEMORY in str(error):
                        _without_shared_memory.add(_server(scratch_place.params))
                        workers = 0
                        continue
                    raise
                restored = time.monotonic()
                found = _compare(path, manifest, params, alias, scratch_place, teller)
            break
    teller.finish()
    end = time.monotonic()
    return Verified(
        fingerprint=found,
        place=str(scratch_place),
        hashing=timedelta(seconds=hashed - began),
        restoring=timedelta(seconds=restored - hashed),
        comparing=timedelta(seconds=end - restored),
        took=timedelta(seconds=end - began),
    )


@contextmanager
def _server_errors_told(path: Path, place: ScratchPlace) -> Iterator[None]:
    try:
        yield
    except TargetLost as error:
        ended_with = "its session has ended"
        raise RestoreFailed(archive=path.name, place=place, ended=ended_with, said=error.facts["reason"]) from error
    except psycopg.Error as error:
        raise _failed(path, place, ended=f"SQLSTATE {error.sqlstate or 'none'}", said=session.lost(error)) from error


def _failed(path: Path, place: ScratchPlace, *, ended: str, said: str) -> RestoreFailed | ScratchDiskFull:
    if NOT_ENOUGH_SHARED_MEMORY not in said and any(sign in said for sign in DISK_FULL):
        return ScratchDiskFull(archive=path.name, place=place, said=said)
    return RestoreFailed(archive=path.name, place=place, ended=ended, said=said)


def _restore(
    file: BinaryIO,
    path: Path,
    manifest: Manifest,
    params: dict[str, str],
    place: ScratchPlace,
    *,
    workers: int,
    teller: Teller,
) -> None:
    sink = Sink(
        params=params,
        server_version=place.server_version,
        options={
            "maintenance_work_mem": f"{settings.MEMOPS_MAINTENANCE_WORK_MEM_BYTES // 1024}kB",
            "max_parallel_maintenance_workers": str(workers),
            # The vectors lie beside the table (TOAST), so by its own size the table would seem too small for workers.
            "min_parallel_table_scan_size": "0",
            # Nobody needs the scratch database after a crash.
            "synchronous_commit": "off",
            "statement_timeout": "0",
            "lock_timeout": "0",
            "idle_in_transaction_session_timeout": "0",
        },
    )
    watch = Watch(patience=settings.MEMOPS_PATIENCE, asks=partial(session.is_at_work, params, RESTORES))

    def meanwhile() -> None:
        watch.look()
        teller.tell()

    with FORMATS[manifest.format].reader(sink) as child:
        took_all = feed(file, path, manifest, child.stdin, teller, watch, meanwhile)
        end = ended(child, meanwhile=meanwhile)
    if not end.well:
        raise _failed(path, place, ended=str(end), said=first_error(end.stderr))
    if not took_all:
        said = "it ended before it had read the archive"
        raise RestoreFailed(archive=path.name, place=place, ended=str(end), said=said)


def _compare(
    path: Path, manifest: Manifest, params: dict[str, str], alias: str, place: ScratchPlace, teller: Teller
) -> Fingerprint:
    expected = manifest.expected

    def count(connection: session.Connection) -> Fingerprint:
        return fingerprint.of(connection, schema=manifest.schema, name=manifest.name, algorithm=expected.algorithm)

    with session.connect_to(params, name=alias, application_name="memops compares", works_long=True) as connection:
        relation = catalogue.relation(connection, manifest.schema, manifest.name)
        if relation is None:
            raise RestoredDiffers(archive=path.name, differences=f"there is no {manifest.schema}.{manifest.name} in it")
        with beside(connection, count) as counting:
            found = result(counting, meanwhile=teller.tell)
    described = relation.catalogue()
    if place.server_version // 10000 != _major(manifest.versions["server"]):
        described["grants"] = _known_to_both(described["grants"], manifest.catalogue["grants"])
    differ = differences(manifest.catalogue, described)
    if found != expected:
        differ.insert(
            0, f"it has {found.rows:,} rows with fingerprint {found}, dumped were {expected.rows:,} with {expected}"
        )
    if differ:
        raise RestoredDiffers(archive=path.name, differences="; ".join(differ))
    return found


def _major(version: str) -> int:
    digits = version.partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _known_to_both(found: list[list[object]], expected: list[list[object]]) -> list[list[object]]:
    """A newer server gives an owner rights that the older one has no name for, such as MAINTAIN."""
    known = {grant[1] for grant in expected}
    return [grant for grant in found if grant[1] in known]


def _server(params: dict[str, str]) -> str:
    return "\n".join(f"{key}={params.get(key, '')}" for key in ("host", "hostaddr", "port"))


def safe_workers(params: dict[str, str]) -> int:
    """How many processes may build an index: its shared memory is taken from /dev/shm, all of it at once."""
    if _server(params) in _without_shared_memory:
        return 0
    if not session.is_local(params):
        return PARALLEL_WORKERS
    # The session builds as well. On two cores a second worker took as long as one, and a sixth more of the cores' time.
    workers = min((os.cpu_count() or 1) - 1, MOST_WORKERS)
    try:
        filesystem = os.statvfs(SHM)
    except OSError:
        return workers
    enough = filesystem.f_bavail * filesystem.f_frsize > settings.MEMOPS_MAINTENANCE_WORK_MEM_BYTES
    return workers if enough else 0
