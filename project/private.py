"""Folders for their owner alone, whatever the umask is."""

from __future__ import annotations

import stat
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing. One that is there is left as it is. Raises OSError."""
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        make_folder(folder.parent)
        make_folder(folder)
    except OSError:  # On some file systems another error than "exists" comes first.
        if not folder.is_dir():
            raise
    else:
        if stat.S_IMODE(folder.lstat().st_mode) & 0o700 != 0o700:  # Some umasks take the owner's own rights away.
            folder.chmod(0o700)
