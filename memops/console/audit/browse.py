"""The trail as people look through it: newest first, a page at a time, never counted and never read as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Q, QuerySet

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

    @property
    def is_dated(self) -> bool:
        return self.since is not None or self.until is not None


@dataclass(frozen=True, kw_only=True)
class Page:
    """``older`` is what the next page has to be ``before``; None at the end. ``looked_back_to`` is the oldest event
    that was looked at for words, if there are older ones."""

    events: list[AuditEvent]
    older: int | None = None
    looked_back_to: int | None = None


def page(wanted: Wanted) -> Page:
    """The newest events that were wanted."""
    # Days are found by time, whose order is not that of the numbers where a clock was set back.
    order = ("-at", "-sequence") if wanted.is_dated else ("-sequence",)
    found, last = _filtered(wanted), None
    if wanted.words:
        found = found.filter(details__icontains=wanted.words)
        # One more than the window, to know whether there are older ones.
        window = list(_in_time(wanted).order_by(*order).values_list("sequence", flat=True)[WINDOW - 1 : WINDOW + 1])
        last = window[0] if len(window) == 2 else None
        if last is not None:
            found = found.filter(_beside(last, wanted, older=False))
    events = list(found.order_by(*order)[: PAGE + 1])
    if len(events) > PAGE:
        return Page(events=events[:PAGE], older=events[PAGE - 1].sequence)
    return Page(events=events, older=last, looked_back_to=last)


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
    return _in_time(wanted).filter(**exact)


def _in_time(wanted: Wanted) -> QuerySet[AuditEvent]:
    """Every event of the wanted days that no newer page has shown."""
    found = AuditEvent.objects.all()
    if wanted.since is not None:
        found = found.filter(at__gte=datetime.combine(wanted.since, time(), UTC))
    if wanted.until is not None and wanted.until < date.max:
        found = found.filter(at__lt=datetime.combine(wanted.until, time(), UTC) + timedelta(days=1))
    if wanted.before is not None:
        found = found.filter(_beside(wanted.before, wanted, older=True))
    return found


def _beside(sequence: int, wanted: Wanted, *, older: bool) -> Q:
    """What is older than an event in the order of the list; or else the event, and what is newer."""
    at = AuditEvent.objects.filter(pk=sequence).values_list("at", flat=True).first() if wanted.is_dated else None
    by_number = Q(sequence__lt=sequence) if older else Q(sequence__gte=sequence)
    if at is None:
        return by_number
    # The first condition follows from the second, and is what an index can be asked.
    return Q(at__lte=at) & (Q(at__lt=at) | by_number) if older else Q(at__gte=at) & (Q(at__gt=at) | by_number)
