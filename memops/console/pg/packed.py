"""The file of an archive, read again: is it what was written, and what does it unpack to?"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard

from memops.console.errors import ArchiveDamaged, BackupFolderUnusable
from memops.console.pg import keptfile
from memops.console.pg.manifest import Manifest

CHUNK_BYTES = 1024 * 1024


def opened(path: Path) -> BinaryIO:
    """Raises ArchiveDamaged where it is no file, BackupOpenToOthers."""
    try:
        file = os.fdopen(keptfile.open_(path), "rb", buffering=0)
    except BackupFolderUnusable as error:
        raise ArchiveDamaged(archive=path.name, problem="its folder is a symbolic link") from error
    except OSError as error:
        raise ArchiveDamaged(archive=path.name, problem=os.strerror(error.errno or 0)) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ArchiveDamaged(archive=path.name, problem="it is not a file")
    return file


def check_hash(file: BinaryIO, path: Path, manifest: Manifest, meanwhile: Callable[[], None]) -> None:
    """Nothing unpacks an archive that is not the one that was written: a crafted one could run code in pg_restore.
    Raises ArchiveDamaged."""
    size = os.fstat(file.fileno()).st_size
    if size != manifest.size_bytes:
        raise ArchiveDamaged(
            archive=path.name, problem=f"it has {size:,} bytes, and {manifest.size_bytes:,} were written"
        )
    hashed = hashlib.sha256()
    archive = _Readable(file, path)
    while chunk := archive.read(CHUNK_BYTES):
        hashed.update(chunk)
        meanwhile()
    if hashed.hexdigest() != manifest.sha256:
        raise ArchiveDamaged(archive=path.name, problem="its SHA-256 is not the one in its manifest")


def unpacked(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Its content from the beginning, piece by piece. Raises ArchiveDamaged."""
    file.seek(0)
    source = cast(IO[bytes], _Readable(file, path))  # Nothing but ``read`` is asked of it.
    try:
        yield from zstandard.ZstdDecompressor().read_to_iter(source, read_size=CHUNK_BYTES, write_size=CHUNK_BYTES)
    except zstandard.ZstdError:
        raise ArchiveDamaged(archive=path.name, problem="its compression is broken") from None


class _Readable:
    """What a disk does not give back is told as the damage that it is."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            problem = f"it cannot be read ({os.strerror(error.errno or 0)})"
            raise ArchiveDamaged(archive=self._path.name, problem=problem) from error
