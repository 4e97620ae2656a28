"""Sizes, durations and moments as people read them, the same in the console and on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import timezone

NOTHING = "\N{EN DASH}"
"""Where a value would stand and there is none."""


def size(number_bytes: int | None) -> str:
    """512 bytes, 64.2 MB: units of 1024, as PostgreSQL's pg_size_pretty counts."""
    if number_bytes is None:
        return "not known"
    if abs(number_bytes) < 1024:
        return f"{number_bytes} bytes"
    amount = float(number_bytes)
    for unit in ("kB", "MB", "GB"):
        amount /= 1024
        if abs(amount) < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TB"


def duration(took: timedelta | None) -> str:
    """45 ms, 3.2 s, 2 min 5 s, 3 h 20 min, 4 d."""
    if took is None:
        return ""
    seconds = took.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return _two(whole, (60, "min"), (1, "s"))
    if whole < 48 * 3600:
        return _two(whole, (3600, "h"), (60, "min"))
    return _two(whole, (86400, "d"), (3600, "h"))


def _two(seconds: int, large: tuple[int, str], small: tuple[int, str]) -> str:
    rest = seconds % large[0] // small[0]
    return f"{seconds // large[0]} {large[1]}" + (f" {rest} {small[1]}" if rest else "")


def moment(when: datetime | None) -> str:
    if when is None:
        return NOTHING
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def ago(when: datetime) -> str:
    """How long ago, in the one unit that matters."""
    passed = timezone.now() - when
    if passed < timedelta(seconds=5):
        return "just now"
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if amount := int(passed.total_seconds() // length):
            return f"{amount} {unit}{'' if amount == 1 else 's'} ago"
    return f"{int(passed.total_seconds())} seconds ago"
