"""Many watch the same run. While it is at work everybody sees the same of it, so one look serves all who ask within a
quarter of a second: fifty people cost the database about as much as four."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import AnonymousUser
from django.db import DEFAULT_DB_ALIAS, connections
from django.template.loader import render_to_string

from memops.console.admin.progress import live
from memops.console.models import Run, Step

FRESH_FOR = timedelta(milliseconds=250)
"""As often as a step tells how far it is (``runs/log.py``), and less than a page waits between two questions: what it
gets is never older than what it has."""

FORGOTTEN_AFTER = timedelta(minutes=1)
"""Nobody has asked for so long: the pages were closed."""

LIVE = "memops_console/run/live.html"


@dataclass(frozen=True, kw_only=True)
class Look:
    """A run as it was at one moment. ``live`` is the fragment, and ``steps`` are there, where they are everybody's."""

    run: Run
    steps: list[Step] | None = None
    live: str = ""
    until: float = 0.0


_looks: dict[tuple[str, int], Look] = {}
_one_at_a_time = threading.Lock()


def look(number: int, find: Callable[[], Run | None]) -> Look | None:
    """The run as it is now; one that is at work, as it was a moment ago at most. None if there is none.

    ``find`` reads it. Whether somebody may see it is the caller's to ask.
    """
    place = (str(connections[DEFAULT_DB_ALIAS].settings_dict["NAME"]), number)
    known = _looks.get(place)
    if known is None:
        return _look_anew(place, find)
    if time.monotonic() < known.until:
        return known
    with _one_at_a_time:
        known = _looks.get(place)
        if known is not None and time.monotonic() < known.until:
            return known
        return _look_anew(place, find)


def _look_anew(place: tuple[str, int], find: Callable[[], Run | None]) -> Look | None:
    began = time.monotonic()
    run = find()
    if run is None:
        return None
    if run.state == Run.State.RUNNING:
        # Nobody's rights are in it: while it is at work there is nothing to do on the page.
        context = live(run, AnonymousUser()) | {"log_by_offset": True}
        if not context["lost"]:
            found = Look(
                run=run,
                steps=[shown.step for shown in context["steps"]],
                live=render_to_string(LIVE, context),
                until=began + FRESH_FOR.total_seconds(),
            )
            _keep(place, found, now=began)
            return found
    _looks.pop(place, None)
    return Look(run=run)


def _keep(place: tuple[str, int], found: Look, *, now: float) -> None:
    for other, known in list(_looks.items()):
        if known.until < now - FORGOTTEN_AFTER.total_seconds():
            _looks.pop(other, None)
    _looks[place] = found
