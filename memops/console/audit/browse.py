"""The trail as people look through it: newest first, a page at a time, never counted and never read as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import QuerySet

from memops.console.audit import verify_export
from memops.console.models import AuditEvent
from memops.console.pg import trail

PAGE = 50
WINDOW = 100_000
"""How many events one page looks through for words: no index finds them."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What somebody looks for; None and "" are anything. Days are UTC, both of them included."""

    actor: str = ""
    action: str = ""
    target: str = ""
    object_type: str = ""
    object_id: str = ""
    words: str = ""
    run: int | None = None
    since: date | None = None
    until: date | None = None
    before: int | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """``older`` is what the next page has to be ``before``; None at the end. ``looked_back_to`` is the first event
    that was looked at for words, if there are older ones."""

    events: list[AuditEvent]
    older: int | None = None
    looked_back_to: int | None = None


def page(wanted: Wanted) -> Page:
    """The newest events that were wanted."""
    found = _filtered(wanted)
    bottom = 0
    if wanted.words:
        newest = AuditEvent.objects.values_list("sequence", flat=True).first() or 0
        top = min(wanted.before - 1, newest) if wanted.before is not None else newest
        bottom = max(0, top - WINDOW)
        found = found.filter(sequence__gt=bottom, sequence__lte=top, details__icontains=wanted.words)
    events = list(found.order_by("-sequence")[: PAGE + 1])
    if len(events) > PAGE:
        return Page(events=events[:PAGE], older=events[PAGE - 1].sequence)
    if bottom:
        return Page(events=events, older=bottom + 1, looked_back_to=bottom + 1)
    return Page(events=events)


def neighbours(event: AuditEvent) -> tuple[AuditEvent | None, AuditEvent | None]:
    """The events before and after one."""
    around = AuditEvent.objects.filter(sequence__in=(event.sequence - 1, event.sequence + 1))
    found = {one.sequence: one for one in around}
    return found.get(event.sequence - 1), found.get(event.sequence + 1)


def problem_of(event: AuditEvent, previous: AuditEvent | None) -> str:
    """What is wrong with this event by itself, and with the link to the one before; "" if nothing. Raises
    TargetUnreachable."""
    content = next(trail.events(after=event.sequence - 1), None)
    if content is None or verify_export.digest(content) != event.hash:
        return "its hash is not that of its content"
    if event.previous != (previous.hash if previous else verify_export.START):
        return "it does not continue the event before it"
    return ""


def _filtered(wanted: Wanted) -> QuerySet[AuditEvent]:
    exact = {
        name: value
        for name in ("actor", "action", "target", "object_type", "object_id", "run")
        if (value := getattr(wanted, name)) not in ("", None)
    }
    found = AuditEvent.objects.filter(**exact)
    if wanted.since is not None:
        found = found.filter(at__gte=datetime.combine(wanted.since, time(), UTC))
    if wanted.until is not None:
        found = found.filter(at__lt=datetime.combine(wanted.until, time(), UTC) + timedelta(days=1))
    if wanted.before is not None:
        found = found.filter(sequence__lt=wanted.before)
    return found
