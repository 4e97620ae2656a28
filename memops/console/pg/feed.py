"""Give an archive to a program that reads it, and make sure that all of it is there."""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from memops.console.errors import ArchiveDamaged
from memops.console.pg import packed
from memops.console.pg.beside import TICK, Teller
from memops.console.pg.manifest import Manifest
from memops.console.pg.patience import Watch

CHUNK_BYTES = 1024 * 1024


def feed(
    file: BinaryIO,
    path: Path,
    manifest: Manifest,
    sink: BinaryIO,
    teller: Teller,
    watch: Watch,
    meanwhile: Callable[[], None],
) -> bool:
    """Give the archive to pg_restore, and make sure that all of it is there. Did pg_restore take all of it?"""
    with suppress(OSError, AttributeError):
        fcntl.fcntl(sink.fileno(), fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    os.set_blocking(sink.fileno(), False)
    raw_bytes = 0
    try:
        for raw in packed.unpacked(file, path):
            raw_bytes += len(raw)
            if raw_bytes > manifest.raw_bytes:
                raise ArchiveDamaged(archive=path.name, problem="it unpacks to more than was packed")
            teller.done = file.tell()
            _write(sink, raw, watch, meanwhile)
    except BrokenPipeError:
        return False  # It has ended before, and says why.
    if raw_bytes != manifest.raw_bytes:
        problem = f"it unpacks to {raw_bytes:,} bytes, and {manifest.raw_bytes:,} were packed"
        raise ArchiveDamaged(archive=path.name, problem=problem)
    sink.close()
    return True


def _write(sink: BinaryIO, data: bytes, watch: Watch, meanwhile: Callable[[], None]) -> None:
    writable = select.poll()
    writable.register(sink.fileno(), select.POLLOUT)
    rest = memoryview(data)
    while rest:
        if writable.poll(TICK / timedelta(milliseconds=1)):
            with suppress(BlockingIOError):
                rest = rest[os.write(sink.fileno(), rest) :]
                watch.saw_life()
        meanwhile()
