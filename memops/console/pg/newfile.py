"""Files that get their name only when they are complete and on the disk, and of which nothing is left otherwise."""

from __future__ import annotations

import errno
import fcntl
import fnmatch
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from memops.console.errors import BackupDiskFull, BackupFolderUnusable, BackupNameTaken
from memops.console.pg import folder as folders
from project.private import make_folder

PARTIAL = ".partial"
NOT_LOCKED_YET_SECONDS = 60

NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NewFile:
    """``write``, then ``put_down``, which gives the file its name. Raises BackupDiskFull, BackupFolderUnusable,
    BackupNameTaken.

    Its folder is held open: whatever takes the folder's place meanwhile, nothing is written there, nor removed."""

    def __init__(self, descriptor: int, final: Path, folder: int) -> None:
        self._descriptor = descriptor
        self._folder = folder
        self.path = final
        self._has_name = False

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        with _told(self.path.parent):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def put_down(self) -> int:
        """On the disk first, then under its name, which is never taken from another file; returns its size in bytes."""
        partial, final = self.path.name + PARTIAL, self.path.name
        with _told(self.path.parent):
            os.fsync(self._descriptor)
            try:
                # Unlike a rename it fails where the name was taken meanwhile.
                os.link(partial, final, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            except FileExistsError:
                raise BackupNameTaken(name=final, problem="is there already") from None
            except OSError as error:
                if error.errno not in NO_HARD_LINKS:
                    raise
                self._take_name(partial, final)
            else:
                self._has_name = True
                os.unlink(partial, dir_fd=self._folder)
            self._has_name = True
            os.fsync(self._folder)
            folders.demand_in_place(self.path.parent, self._folder)
            return os.fstat(self._descriptor).st_size

    def discard(self) -> None:
        """Remove whatever is there of it."""
        for leftover in [self.path.name + PARTIAL] + [self.path.name] * self._has_name:
            with suppress(OSError):
                os.unlink(leftover, dir_fd=self._folder)

    def _take_name(self, partial: str, final: str) -> None:
        """For file systems without hard links: the name is looked at just before it is taken."""
        if _is_there(final, self._folder):
            raise BackupNameTaken(name=final, problem="is there already")
        os.rename(partial, final, src_dir_fd=self._folder, dst_dir_fd=self._folder)


@contextmanager
def new_file(folder: Path, name: str) -> Iterator[NewFile]:
    """A file for its owner alone (0600), in a folder that is made if need be; if anything goes wrong, nothing is left.

    Raises BackupFolderUnusable, BackupNameTaken.
    """
    with ExitStack() as stack:
        with _told(folder):
            make_folder(folder)
            place = stack.enter_context(folders.opened(folder))
            folders.demand_closed(folder, place)
            if _is_there(name, place):
                raise BackupNameTaken(name=name, problem="is there already")
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(name + PARTIAL, flags, 0o600, dir_fd=place)
            except FileExistsError:
                raise BackupNameTaken(name=name, problem="is being written already") from None
        stack.callback(os.close, descriptor)
        file = NewFile(descriptor, folder / name, place)
        try:
            with _told(folder):
                os.fchmod(descriptor, 0o600)  # Some umasks take the owner's own rights away.
            # As long as this process lives nobody takes it for a leftover.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield file
        except BaseException:
            file.discard()
            raise


def partial_of(path: Path) -> Path:
    """What a file is called until it is complete."""
    return path.with_name(path.name + PARTIAL)


def remove_leftovers(folder: Path) -> list[str]:
    """Remove what killed processes have left unfinished, files that nobody holds any more; gives their names."""
    return remove_unheld(folder, "*" + PARTIAL, unless_empty=True)


def remove_unheld(folder: Path, pattern: str, *, unless_empty: bool = False) -> list[str]:
    """Remove the files of this pattern that no living process writes, and give their names.

    ``unless_empty``: a new file is empty until it is locked, so an empty one may be somebody's at this moment. Where
    the folder is a link, what lies behind it is not ours to remove.
    """
    removed: list[str] = []
    with suppress(OSError, BackupFolderUnusable), folders.opened(folder) as place:
        for name in sorted(fnmatch.filter(os.listdir(place), pattern)):
            with suppress(OSError):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
                descriptor = os.open(name, flags, dir_fd=place)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    found = os.fstat(descriptor)
                    is_old = time.time() - found.st_mtime > NOT_LOCKED_YET_SECONDS
                    if found.st_size or is_old or not unless_empty:
                        os.unlink(name, dir_fd=place)
                        removed.append(name)
                finally:
                    os.close(descriptor)
    return removed


def _is_there(name: str, folder: int) -> bool:
    """Whatever it is, a link that leads nowhere as well."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise BackupDiskFull(folder=folder) from error
        raise BackupFolderUnusable(folder=folder, problem=os.strerror(error.errno or 0)) from error
