"""What a run is going to do, as typed data that can be read back from the record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

WITHOUT_BACKUP = "purge-without-backup"


class Level(StrEnum):
    REFUSES = "refuses"
    WARNS = "warns"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that was noticed before the start: it forbids the run, or the operator should know it."""

    code: str
    level: Level
    text: str
    backup_only: bool = False
    """It concerns backup and proof alone: a rollback into quarantine, without them before it, is still possible."""


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    name: str
    title: str


@dataclass(frozen=True, kw_only=True)
class TableSeen:
    """The table at the time of planning."""

    schema: str
    name: str
    oid: int
    rows: int
    rows_exact: bool
    total_bytes: int
    table_bytes: int
    index_bytes: int
    indexes: list[str] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)
    row_security: bool = False
    row_security_forced: bool = False


@dataclass(frozen=True, kw_only=True)
class Purge:
    """What a purge goes by. ``fingerprint`` and ``rows`` are those that the table was last seen with; where nobody has
    taken a fingerprint it is empty. ``without_backup``: it was chosen that no backup has to have the same rows."""

    table: int
    since: datetime
    kept_until: datetime
    fingerprint: str
    rows: int | None
    without_backup: bool = False
    backup: int | None = None
    backup_location: str = ""
    backup_sha256: str = ""
    backup_verified_at: datetime | None = None
    holds: list[str] = field(default_factory=list)

    def age(self, at: datetime) -> timedelta:
        return at - self.since

    def left(self, at: datetime) -> timedelta:
        """How long it has to stay yet."""
        return max(self.kept_until - at, timedelta(0))

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        times = {
            name: datetime.fromisoformat(stored[name])
            for name in ("since", "kept_until", "backup_verified_at")
            if stored[name] is not None
        }
        return cls(**stored | times)


@dataclass(frozen=True, kw_only=True)
class StandingSeen:
    """The rows that stand where a backup is to be restored; None where it took too long to count them."""

    has_rows: bool
    written_since: int | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be done to which table, how, and what forbids it.

    ``binding`` holds everything the plan stands or falls with; ``digest`` is its SHA-256. It is computed again when the
    work is claimed, and a difference refuses the run. Row counts and sizes are not in it: a table that is in use grows.
    """

    kind: str
    target: str
    made_at: datetime
    binding: dict[str, Any]
    table: TableSeen | None
    sql: str
    steps: list[PlannedStep]
    lock: str
    lock_timeout: timedelta
    lock_budget: timedelta
    end_idle: timedelta | None = None
    """Idle transactions that are in the way are ended if they have been idle for longer; None: nobody is."""
    idle: str = ""
    """The same in words, where the plan waits for locks at all."""
    relation: str = "public.memory_chunks"
    emergency: bool = False
    undoes: int | None = None
    """The rollback that an undo undoes."""
    subject: int | None = None
    """The backup that is verified or restored."""
    purge: Purge | None = None
    rows_choice: str = ""
    """What a restore does with the rows that stand in the table: replace, merge or keep-newer; empty: there is none."""
    elsewhere: bool = False
    """A backup of another database may be restored."""
    standing: StandingSeen | None = None
    application: str = ""
    """What is done with the application around a restore, in words."""
    findings: list[Finding] = field(default_factory=list)
    backup_folder: str = ""
    scratch: str = ""
    brings_back: str = ""
    wal_position: int | None = None
    """How far the server had come. One that has not come so far yet is a copy from before, whatever it calls itself."""

    @property
    def digest(self) -> str:
        return digest(self.binding)

    @property
    def approved_as(self) -> str:
        """What it is called where it is said how many have to agree: a purge that nothing proves is a kind of its
        own."""
        return WITHOUT_BACKUP if self.purge is not None and self.purge.without_backup else self.kind

    @property
    def purge_age(self) -> timedelta | None:
        """For how long the table that is to be dropped had been in quarantine."""
        return self.purge.age(self.made_at) if self.purge is not None else None

    @property
    def purge_left(self) -> timedelta | None:
        """For how long it had to stay yet."""
        return self.purge.left(self.made_at) if self.purge is not None else None

    @property
    def refusals(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == Level.REFUSES]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == Level.WARNS]

    @property
    def is_possible(self) -> bool:
        return not self.refusals

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "made_at": self.made_at.isoformat(),
            "lock_timeout": self.lock_timeout.total_seconds(),
            "lock_budget": self.lock_budget.total_seconds(),
            "end_idle": self.end_idle.total_seconds() if self.end_idle is not None else None,
            "digest": self.digest,
        }

    @property
    def emergency_possible(self) -> bool:
        """Is a rollback into quarantine possible where the guided one, with its backup, is not?"""
        return all(finding.backup_only for finding in self.refusals)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        known = dict(stored)
        known.pop("digest", None)
        return cls(
            **known
            | {
                "made_at": datetime.fromisoformat(stored["made_at"]),
                "lock_timeout": timedelta(seconds=stored["lock_timeout"]),
                "lock_budget": timedelta(seconds=stored["lock_budget"]),
                "end_idle": timedelta(seconds=stored["end_idle"]) if stored.get("end_idle") is not None else None,
                "table": TableSeen(**stored["table"]) if stored["table"] else None,
                "standing": StandingSeen(**stored["standing"]) if stored.get("standing") else None,
                "steps": [PlannedStep(**step) for step in stored["steps"]],
                "purge": Purge.from_json(stored["purge"]) if stored.get("purge") else None,
                "findings": [
                    Finding(**{**finding, "level": Level(finding["level"])}) for finding in stored["findings"]
                ],
            }
        )


def digest(binding: dict[str, Any]) -> str:
    """The SHA-256 of a binding, the same for the same content."""
    return hashlib.sha256(json.dumps(binding, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs between two bindings, in words; long values only as changed."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was != now and name == "tool_version":
            found.append(f"it was made by memops {was}, and this process is memops {now}")
        elif was != now:
            short = all(len(str(value)) <= 80 for value in (was, now))
            found.append(f"{name.replace('_', ' ')}: was {was}, is {now}" if short else f"{name.replace('_', ' ')}")
    return found
