"""Files that get their name only when they are complete and on the disk, and of which nothing is left otherwise."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memops.console.errors import BackupDiskFull, BackupFolderUnusable, BackupNameTaken

PARTIAL = ".partial"
NOT_LOCKED_YET_SECONDS = 60

NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NewFile:
    """``write``, then ``put_down``, which gives the file its name. Raises BackupDiskFull, BackupFolderUnusable,
    BackupNameTaken."""

    def __init__(self, descriptor: int, final: Path) -> None:
        self._descriptor = descriptor
        self.path = final
        self._has_name = False

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        with _told(self.path.parent):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def put_down(self) -> int:
        """On the disk first, then under its name, which is never taken from another file; returns its size in bytes."""
        partial = _partial(self.path)
        with _told(self.path.parent):
            os.fsync(self._descriptor)
            try:
                os.link(partial, self.path)  # Unlike a rename it fails where the name was taken meanwhile.
            except FileExistsError:
                raise BackupNameTaken(name=self.path.name, problem="is there already") from None
            except OSError as error:
                if error.errno not in NO_HARD_LINKS:
                    raise
                _take_name(partial, self.path)
            else:
                self._has_name = True
                partial.unlink()
            self._has_name = True
            _sync_folder(self.path.parent)
            return os.fstat(self._descriptor).st_size

    def discard(self) -> None:
        """Remove whatever is there of it."""
        for leftover in [_partial(self.path)] + [self.path] * self._has_name:
            with suppress(OSError):
                leftover.unlink()


@contextmanager
def new_file(folder: Path, name: str) -> Iterator[NewFile]:
    """A file for its owner alone (0600), in a folder that is made if need be; if anything goes wrong, nothing is left.

    Raises BackupFolderUnusable, BackupNameTaken.
    """
    with _told(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_symlink():
            raise BackupFolderUnusable(folder=folder, problem="it is a symbolic link")
        final = folder / name
        if os.path.lexists(final):
            raise BackupNameTaken(name=name, problem="is there already")
        try:
            descriptor = os.open(
                _partial(final), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except FileExistsError:
            raise BackupNameTaken(name=name, problem="is being written already") from None
    try:
        file = NewFile(descriptor, final)
        try:
            # As long as this process lives nobody takes it for a leftover.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield file
        except BaseException:
            file.discard()
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> list[str]:
    """Remove what killed processes have left unfinished, files that nobody holds any more; gives their names."""
    return remove_unheld(folder, "*" + PARTIAL, unless_empty=True)


def remove_unheld(folder: Path, pattern: str, *, unless_empty: bool = False) -> list[str]:
    """Remove the files of this pattern that no living process writes, and give their names.

    ``unless_empty``: a new file is empty until it is locked, so an empty one may be somebody's at this moment.
    """
    removed: list[str] = []
    with suppress(OSError):
        for file in sorted(folder.glob(pattern)):
            with suppress(OSError):
                descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    found = os.fstat(descriptor)
                    is_old = time.time() - found.st_mtime > NOT_LOCKED_YET_SECONDS
                    if found.st_size or is_old or not unless_empty:
                        file.unlink()
                        removed.append(file.name)
                finally:
                    os.close(descriptor)
    return removed


def _partial(final: Path) -> Path:
    return final.with_name(final.name + PARTIAL)


def _take_name(partial: Path, final: Path) -> None:
    """For file systems without hard links: the name is looked at just before it is taken."""
    if os.path.lexists(final):
        raise BackupNameTaken(name=final.name, problem="is there already")
    partial.rename(final)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise BackupDiskFull(folder=folder) from error
        raise BackupFolderUnusable(folder=folder, problem=os.strerror(error.errno or 0)) from error
