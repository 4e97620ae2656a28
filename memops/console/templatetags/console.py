"""What the console's templates say: sizes, times, and states as word, shape and colour."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import template
from django.contrib.admin.utils import quote
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from memops.console import units
from memops.console.admin.progress import state_of
from memops.console.audit import actions
from memops.console.models import Run
from memops.console.runs import checklists
from memops.console.runs.reconcile import is_lost

register = template.Library()

SHAPES = {
    "awaiting": "clock",
    "queued": "clock",
    "waiting": "ring",
    "running": "play",
    "writing": "play",
    "done": "check",
    "ok": "check",
    "verified": "check",
    "deployed": "check",
    "restored": "back",
    "written": "ring",
    "skipped": "dash",
    "kept": "box",
    "purged": "cross",
    "deleting": "play",
    "deleted": "cross",
    "rolled back": "box",
    "failed": "cross",
    "missing": "cross",
    "refused": "bar",
    "interrupted": "pause",
    "unknown": "question",
    "inconsistent": "triangle",
    "unreachable": "unplugged",
    "locked": "bar",
    "lost": "unplugged",
    "warns": "triangle",
    "cancelled": "slash",
    "rejected": "bar",
    "withdrawn": "slash",
    "expired": "slash",
    "open": "ring",
    "passed": "check",
    "signed": "check",
    "not_applicable": "dash",
    "accepted": "triangle",
    "reopened": "back",
    "closed": "check",
}


@register.simple_tag
def state(value: str, word: str) -> SafeString:
    """A state: its shape is decoration for those who see it, the word says it."""
    return format_html(
        '<span class="state state-{}"><svg class="shape" aria-hidden="true" focusable="false">'
        '<use href="{}#{}"></use></svg>{}</span>',
        value.replace(" ", "-"),
        static("memops_console/shapes.svg"),
        SHAPES.get(value, "ring"),
        word,
    )


@register.simple_tag
def run_state(run: Run) -> SafeString:
    """A run's state in a list. One whose worker is gone does not say that it is running."""
    return state(*state_of(run, lost=is_lost(run)))


@register.filter
def closing_words(run: Run) -> str:
    """Whether a run is closed, and how many items of its checklist are open."""
    return checklists.words(run)


@register.filter
def action_words(action: str) -> str:
    """What an event of the audit trail is about."""
    return actions.words(action)


@register.filter
def target_url(alias: str) -> str:
    """The page of a target."""
    return reverse("admin:memops_console_target_change", args=[quote(alias)])


@register.filter
def size(number_bytes: int | None) -> str:
    return units.size(number_bytes)


@register.filter
def count(number: int | None) -> str:
    return "not known" if number is None else f"{number:,}"


@register.filter
def duration(took: timedelta | None) -> str:
    return units.duration(took)


@register.filter
def moment(when: datetime | None) -> str | SafeString:
    """A moment to read, with the exact one for machines."""
    if when is None:
        return units.NOTHING
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), units.moment(when))


@register.filter
def ago(when: datetime | None) -> str | SafeString:
    """How long ago; the moment itself is in the title."""
    if when is None:
        return "never"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', when.isoformat(), units.moment(when), units.ago(when)
    )
