"""The client programs of PostgreSQL: the ones that fit the server, wherever they are installed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings

from memops.console import children
from memops.console.errors import ClientMissing, ClientTooOld
from project import embedded

VERSION = re.compile(rb"\(PostgreSQL\) (\d+)(\S*)")
DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, kw_only=True)
class Client:
    name: str
    path: Path
    version: str
    major: int


def find(name: str, *, server_version: int) -> Client:
    """A client that is not older than the server (``server_version`` as in server_version_num), the nearest first.

    pg_dump refuses newer servers: https://www.postgresql.org/docs/current/app-pgdump.html. Raises ClientMissing,
    ClientTooOld.
    """
    wanted = server_version // 10000
    found = [client for path in _candidates(name, wanted) if (client := _ask(name, path)) is not None]
    if not found:
        raise ClientMissing(name=name, major=wanted)
    fitting = [client for client in found if client.major >= wanted]
    if not fitting:
        newest = max(found, key=lambda client: client.major)
        raise ClientTooOld(name=name, version=newest.version, major=wanted)
    return min(fitting, key=lambda client: client.major)


def _candidates(name: str, major: int) -> Iterator[Path]:
    if settings.MEMOPS_PG_BIN:
        # Who names a folder means it: nothing else is tried.
        yield Path(settings.MEMOPS_PG_BIN) / name
        return
    if bundled := embedded.bin_dir(major):
        yield bundled / name
    if in_path := shutil.which(name):
        yield Path(in_path)
    if DEBIAN.is_dir():
        for folder in sorted(DEBIAN.iterdir()):
            yield folder / "bin" / name


def _ask(name: str, path: Path) -> Client | None:
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return None
    return _asked(name, path, changed) if os.access(path, os.X_OK) else None


@cache
def _asked(name: str, path: Path, changed: int) -> Client | None:
    """What a program says it is; ``changed`` makes an upgraded one be asked again."""
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "LD_LIBRARY_PATH") if key in os.environ}
    try:
        with children.start([str(path), "--version"], env=environment, stdout=children.PIPE) as child:
            said = VERSION.search(child.stdout.read())
            ended = child.wait()
    except OSError:
        return None
    if said is None or not ended.well:
        return None
    return Client(name=name, path=path, version=(said[1] + said[2]).decode(), major=int(said[1]))
