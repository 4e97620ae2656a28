"""Files of backups as they are read again, or removed: no link is followed to them, and nobody else may write them
meanwhile."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from memops.console.errors import BackupFolderUnusable, BackupNotInPlace, BackupOpenToOthers
from memops.console.pg import folder


def open_(path: Path) -> int:
    """Open a regular file of a backup to read it; gives a descriptor.

    Raises OSError (ELOOP where it is a link), BackupFolderUnusable where its folder is one, and BackupOpenToOthers
    where what is proved now may be something else a moment later.
    """
    with folder.opened(path.parent) as place:
        # Opening a pipe would wait for somebody to write to it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path.name, flags, dir_fd=place)
        try:
            problem = _who_may_write(os.fstat(descriptor), os.fstat(place))
        except BaseException:
            os.close(descriptor)
            raise
    if problem:
        os.close(descriptor)
        raise BackupOpenToOthers(file=path.name, problem=problem)
    return descriptor


def problem_with(path: Path, *, size_bytes: int | None) -> str:
    """Why the file that was written there, with this size, cannot be the one that is there now, or ""."""
    try:
        with folder.opened(path.parent) as place:
            found = os.stat(path.name, dir_fd=place, follow_symlinks=False)
    except BackupFolderUnusable as error:
        return f"its folder cannot be used: {error.facts['problem']}"
    except OSError as error:
        return f"it cannot be found ({os.strerror(error.errno or 0)})"
    if not stat.S_ISREG(found.st_mode):
        return "it is a link, or no file"
    if size_bytes is not None and found.st_size != size_bytes:
        return f"it has {found.st_size:,} bytes, and {size_bytes:,} were written"
    return ""


def remove(*paths: Path) -> list[str]:
    """Remove files of one folder for good, through its descriptor; gives the names of those that were there.

    Raises BackupNotInPlace where one is a link, a folder, or cannot be removed, BackupFolderUnusable where the folder
    is a link. What was removed before that stays removed; again is safe.
    """
    removed = []
    try:
        with folder.opened(paths[0].parent) as place:
            for path in paths:
                try:
                    found = os.stat(path.name, dir_fd=place, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if not stat.S_ISREG(found.st_mode):
                    raise BackupNotInPlace(file=path.name, problem="it is a link, or no file")
                os.unlink(path.name, dir_fd=place)
                removed.append(path.name)
            os.fsync(place)
    except OSError as error:
        raise BackupNotInPlace(file=paths[0].name, problem=os.strerror(error.errno or 0)) from error
    return removed


def readable_by_others(path: Path) -> str:
    """Its mode, where accounts beside the owner's may read the file, or ""."""
    mode = stat.S_IMODE(path.lstat().st_mode)
    return f"{mode:o}" if mode & 0o044 else ""


def _who_may_write(file: os.stat_result, place: os.stat_result) -> str:
    """Some file systems give every file one owner: that of the folder."""
    mode = stat.S_IMODE(file.st_mode)
    if mode & 0o022:
        return f"others may write it (mode {mode:o})"
    if file.st_uid not in (0, os.geteuid(), place.st_uid):
        return f"it belongs to another account (uid {file.st_uid})"
    return ""
