"""What steps record, as people read it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils.dateparse import parse_datetime, parse_duration

from memops.console import units

LONG_TEXT = 90
"""A text of more characters than this is folded."""

CODES = ("oid", "pid", "port", "xid", "version", "version_num", "id", "backup", "run", "position")
"""Numbers that name something: no thousands separator."""

RAW = ("catalogue", "binding", "statements")
"""What is kept for machines to compare; it is shown as they see it."""

NAMED = ("other_tables", "extensions")
"""Their keys are names that somebody gave, not words of ours."""

ACRONYMS = {
    "acl": "access list",
    "ddl": "DDL",
    "id": "id",
    "oid": "OID",
    "pid": "process id",
    "raw": "before compression",
    "rls": "row-level security",
    "seconds": "took",
    "sha256": "SHA-256",
    "sql": "SQL",
    "xid": "transaction id",
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One fact, or a group of them, under its name."""

    label: str
    text: str = ""
    is_long: bool = False
    lines: list[Line] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    items: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.lines) or len(self.rows) or len(self.items)


@dataclass(frozen=True, kw_only=True)
class Check:
    """A thing that was looked at, and whether it is as it has to be."""

    name: str
    ok: bool
    detail: str


def lines(saw: dict[str, Any]) -> list[Line]:
    """What a step recorded, its checks left out: they are shown as checks."""
    return [_line(name, value) for name, value in saw.items() if not _are_checks(name, value)]


def checks(saw: dict[str, Any]) -> list[Check]:
    return [
        Check(
            name=label(str(found.get("name", ""))),
            ok=bool(found.get("ok")),
            detail=text("detail", found.get("detail") or " ").strip(),
        )
        for name, value in saw.items()
        if _are_checks(name, value)
        for found in value
    ]


def label(name: str) -> str:
    """table_bytes -> Table; row_security_forced -> Row security forced. The value carries the unit."""
    for unit in ("_bytes", "_seconds", "_ms"):
        name = name.removesuffix(unit)
    words = [ACRONYMS.get(word, word) for word in name.replace("_", " ").split()]
    joined = " ".join(words)
    return joined[:1].upper() + joined[1:]


def text(name: str, value: Any) -> str:
    """A plain value, with the unit that its name tells."""
    if value is None or value == "":
        return units.NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(name, value)
    if isinstance(value, list | tuple):
        return ", ".join(text(name, item) for item in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{label(str(key))}: {text(str(key), item)}" for key, item in value.items()) or "none"
    return _dated(str(value))


def _line(name: str, value: Any) -> Line:
    called = label(name)
    if name in RAW and value:
        return Line(label=called, text=json.dumps(value, indent=2, ensure_ascii=False), is_long=True)
    if name in NAMED and isinstance(value, dict) and value:
        return Line(label=called, items=[f"{key}: {item}" for key, item in value.items()])
    if isinstance(value, dict) and value:
        return Line(label=called, lines=[_line(str(key), item) for key, item in value.items()])
    if isinstance(value, list) and value:
        return _list(called, name, value)
    shown = text(name, value) if value not in ([], {}) else "none"
    return Line(label=called, text=shown, is_long=len(shown) > LONG_TEXT or "\n" in shown)


def _list(called: str, name: str, values: list[Any]) -> Line:
    if all(isinstance(value, dict) for value in values):
        keys = list(dict.fromkeys(key for value in values for key in value))
        return Line(
            label=called,
            heads=[label(str(key)) for key in keys],
            rows=[[text(str(key), value.get(key)) for key in keys] for value in values],
        )
    return Line(label=called, items=[text(name, value) for value in values])


def _are_checks(name: str, value: Any) -> bool:
    return name == "checks" and isinstance(value, list) and all(isinstance(found, dict) for found in value)


def _number(name: str, value: int | float) -> str:
    if name.endswith("_bytes") or name == "bytes":
        return units.size(int(value)) + (f" ({int(value):,} bytes)" if value >= 1024 else "")
    if name.endswith(("_seconds", "seconds")):
        return units.duration(timedelta(seconds=value))
    if name.endswith(("_ms", "milliseconds")):
        return f"{value:,.1f} ms"
    if name in CODES or name.endswith(tuple(f"_{code}" for code in CODES)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _dated(value: str) -> str:
    """JSON has no moments and durations: these are the forms in which DjangoJSONEncoder writes them."""
    try:
        if value[:1] in "P-" and "T" in value and (length := parse_duration(value)) is not None:
            return units.duration(length)
        if value[4:5] == "-" and "T" in value and (when := parse_datetime(value)) is not None and when.tzinfo:
            return units.moment(when)
    except ValueError:
        pass
    return value
