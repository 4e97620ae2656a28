"""The folder of backups: never reached through a link, and open to nobody else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memops.console.errors import BackupFolderUnusable

LINK = "it is a symbolic link"
REPLACED = "another one has taken its place"


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Its descriptor, for as long as the block lasts: what lies in it is then reached through nothing else.

    Raises BackupFolderUnusable where it is a link, OSError.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        if folder.is_symlink():
            raise BackupFolderUnusable(folder=folder, problem=LINK) from None
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def demand_in_place(folder: Path, descriptor: int) -> None:
    """Raises BackupFolderUnusable if the path does not lead to the opened folder any more, OSError if it leads
    nowhere."""
    if not os.path.samestat(os.stat(folder, follow_symlinks=False), os.fstat(descriptor)):
        raise BackupFolderUnusable(folder=folder, problem=REPLACED)


def demand_closed(folder: Path, descriptor: int) -> None:
    """Raises BackupFolderUnusable where everybody on this machine may remove or replace what is put into it."""
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & 0o002:
        raise BackupFolderUnusable(folder=folder, problem=f"everybody on this machine may write to it (mode {mode:o})")


def open_to_change(folder: Path, file_mode: int) -> str:
    """What lets others on this machine remove, replace or change the backups in it, or "". ``file_mode`` is that of a
    file of ours there: some file systems have one of their own for all."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o002:
        return f"everybody on this machine may write to it (mode {mode:o}; chmod 700 ends that)"
    if file_mode & 0o022:
        return f"files in it get mode {stat.S_IMODE(file_mode):o} from their file system (mount it with file_mode=0600)"
    return ""


def doubts(folder: Path) -> Iterator[str]:
    """What else is not as memops would make it: who may look into it, or change it in part."""
    found, above = folder.stat(), folder.parent.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o020:
        yield f"the accounts of its group may remove and replace what is in it (mode {mode:o})"
    elif mode & 0o055:
        yield f"others may see which backups there are (mode {mode:o})"
    if found.st_uid not in (0, os.geteuid()):
        yield f"it belongs to another account (uid {found.st_uid})"
    if above.st_mode & 0o002 and not above.st_mode & stat.S_ISVTX:
        yield f"everybody may put another folder in its place (mode {stat.S_IMODE(above.st_mode):o} of {folder.parent})"
