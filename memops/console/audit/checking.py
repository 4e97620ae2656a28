"""Is the trail what it was? Its chain, its triggers, and every anchor that is known, in one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memops.console.audit import anchors
from memops.console.audit.verify_export import START, Anchor, Unreadable, Verdict, anchors_of, verify
from memops.console.characters import quoted
from memops.console.errors import AnchorUnreadable
from memops.console.pg import trail

RECENT = 50_000
"""How many events a page checks while somebody waits for it."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """``first`` is the first event that was looked at; ``anchors`` says how many heads were compared."""

    verdict: Verdict
    triggers: list[str]
    foreign: list[Anchor]
    unreadable: str
    anchors: int
    first: int = 1

    @property
    def holds(self) -> bool:
        return not (self.verdict.wrong or self.triggers or self.foreign or self.unreadable)

    @property
    def sentences(self) -> list[str]:
        """What was found, the wrong things first."""
        found = []
        if self.verdict.wrong:
            found.append(f"WRONG at number {self.verdict.sequence}, {self.verdict.kind}: {self.verdict.wrong}.")
        found += [f"WRONG, trigger off: {guard}." for guard in self.triggers]
        found += [f"WRONG, anchor of number {one.sequence}: this console did not sign it." for one in self.foreign]
        if self.unreadable:
            found.append(f"WRONG, the console's own anchors: {self.unreadable}.")
        if not found:
            which = f"events {self.first:,} to" if self.first > 1 else "all"
            found.append(f"The chain holds: {which} {self.verdict.sequence:,} events, head {self.verdict.hash}.")
        return found

    @property
    def hints(self) -> list[str]:
        if self.anchors:
            return [f"{self.anchors:,} anchors were compared."]
        return ["No anchor was compared, so nobody can see whether the end was cut off or everything rewritten."]


def whole(files: Sequence[str | Path]) -> Checked:
    """Check every event, against the console's own anchors and those in ``files``.

    Takes some seconds for a hundred thousand events. Raises AnchorUnreadable, TargetUnreachable, psycopg.Error.
    """
    given: list[Anchor] = []
    for file in files:
        try:
            given += anchors_of(str(file))
        except Unreadable as error:
            raise AnchorUnreadable(file=quoted(str(file)), problem=str(error)) from error
    return _check(given, after=(0, START))


def recent() -> Checked:
    """Check the last ``RECENT`` events and their anchors. Raises TargetUnreachable, psycopg.Error."""
    head = trail.head()
    start = max(0, head[0] - RECENT) if head else 0
    previous = trail.hash_of(start) if start else START
    return _check([], after=(start, previous) if previous else (0, START))


def _check(given: list[Anchor], *, after: tuple[int, str]) -> Checked:
    own, unreadable = [], ""
    try:
        own = anchors.kept()
        unreadable = "" if own else _gone()
    except Unreadable as error:
        unreadable = str(error)
    return Checked(
        triggers=trail.guards_off(),
        verdict=verify(trail.events(after=after[0]), [*own, *given], after=after),
        foreign=[anchor for anchor in own if not anchors.is_ours(anchor)],
        unreadable=unreadable,
        anchors=len([anchor for anchor in (*own, *given) if anchor.sequence > after[0]]),
        first=after[0] + 1,
    )


def _gone() -> str:
    return "their file is empty or gone" if trail.last_of(anchors.BEGUN) else ""
