"""The manifest beside an archive: what it is, where it came from, and what it has to come to when it is restored."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memops.console.errors import BackupFolderUnusable, ManifestUnusable
from memops.console.pg import keptfile
from memops.console.pg.archive import FORMATS
from memops.console.pg.fingerprint import Fingerprint

VERSION = 1
SUFFIX = ".json"
LARGEST_BYTES = 1024 * 1024
SHA256 = re.compile(r"[0-9a-f]{64}")
VERSIONS = frozenset(("memops", "server", "client"))
ARCHIVE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,250}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """``archive`` is a bare file name in the manifest's own folder; sizes in bytes, times in UTC (ISO 8601).

    ``functions`` are those that the table calls and the archive does not hold: schema and definition of each.
    """

    archive: str
    format: str
    sha256: str
    size_bytes: int
    raw_bytes: int
    schema: str
    name: str
    table_oid: int
    fingerprint: str
    catalogue: dict[str, Any]
    server: dict[str, Any]
    versions: dict[str, str]
    extensions: dict[str, str]
    functions: dict[str, list[str]]
    target: str
    snapshot: str
    started_at: str
    ended_at: str
    facts: dict[str, Any]
    memops_manifest: int = VERSION

    @property
    def rows(self) -> int:
        return self.expected.rows

    @property
    def expected(self) -> Fingerprint:
        return Fingerprint.parse(self.fingerprint)

    def as_text(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


def path_of(archive: Path) -> Path:
    """Where the manifest of an archive lies."""
    return archive.with_name(archive.name.partition(".")[0] + SUFFIX)


def read(archive: Path) -> Manifest:
    """Read and check the manifest of an archive. Raises ManifestUnusable, BackupOpenToOthers."""
    path = path_of(archive)

    def refuse(problem: str) -> ManifestUnusable:
        return ManifestUnusable(manifest=path.name, problem=problem)

    content = _content(path, refuse)
    if not isinstance(content, dict) or content.get("memops_manifest") != VERSION:
        raise refuse(f"is not a manifest of version {VERSION}")
    kinds: dict[str, type] = {"size_bytes": int, "raw_bytes": int, "table_oid": int, "memops_manifest": int}
    kinds |= dict.fromkeys(("catalogue", "server", "versions", "extensions", "functions", "facts"), dict)
    for name in Manifest.__dataclass_fields__:
        if not isinstance(content.get(name), kinds.get(name, str)) or isinstance(content.get(name), bool):
            raise refuse(f"has no valid {name.replace('_', ' ')}")
    if unknown := sorted(content.keys() - Manifest.__dataclass_fields__.keys()):
        raise refuse(f"has entries that memops does not write: {', '.join(unknown)[:100]}")
    found = Manifest(**content)
    if found.archive != archive.name or not ARCHIVE.fullmatch(found.archive):
        raise refuse("belongs to another file")
    if not SHA256.fullmatch(found.sha256) or found.size_bytes <= 0:
        raise refuse("has no valid hash and size")
    try:
        found.expected  # noqa: B018  parsing is the check
    except ValueError:
        raise refuse("has no valid fingerprint") from None
    if not _is_complete(found.catalogue):
        raise refuse("does not describe a whole table: its catalogue was edited")
    if not found.versions.keys() >= VERSIONS or not all(
        isinstance(value, str) for value in (*found.versions.values(), *found.extensions.values())
    ):
        raise refuse("has no valid versions")
    if not all(
        isinstance(made, list) and len(made) == 2 and all(isinstance(part, str) for part in made)
        for made in found.functions.values()
    ):
        raise refuse("has no valid functions")
    if found.format not in FORMATS:
        raise refuse("is of a format that this memops does not know")
    return found


def _content(path: Path, refuse: Callable[[str], ManifestUnusable]) -> Any:
    try:
        with os.fdopen(keptfile.open_(path), encoding="utf-8") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise refuse("is not a file")
            text = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise refuse("is missing") from None
    except BackupFolderUnusable as error:
        raise refuse("lies in a folder that is a symbolic link") from error
    except OSError as error:
        problem = (
            "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be read ({os.strerror(error.errno or 0)})"
        )
        raise refuse(problem) from error
    except UnicodeDecodeError:
        raise refuse("is not text: it was damaged") from None
    if len(text) > LARGEST_BYTES:
        raise refuse("is larger than any manifest of memops")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise refuse("is not JSON: it was cut off or edited") from None


def _is_complete(catalogue: dict[str, Any]) -> bool:
    """Is every part there that has to be compared? One that is missing would be passed over."""
    kinds: dict[str, type] = {"owner": str, "persistence": str, "columns": list, "grants": list, "row_security": dict}
    kinds |= dict.fromkeys(("policies", "constraints", "indexes", "triggers"), dict)
    if not all(isinstance(catalogue.get(part), kind) for part, kind in kinds.items()):
        return False
    columns_and_grants = [*catalogue["columns"], *catalogue["grants"]]
    return all(
        isinstance(row, list) and len(row) == 4 and isinstance(row[0], str) for row in columns_and_grants
    ) and all(
        isinstance(policy, list)
        and len(policy) == 5
        and isinstance(policy[1], list)
        and all(isinstance(role, str) for role in policy[1])
        for policy in catalogue["policies"].values()
    )
