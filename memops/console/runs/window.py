"""A maintenance window: when a run may begin, by the clock of the console's database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Least, Now
from django.utils import timezone

from memops.console.errors import WindowInvalid
from memops.console.models import Run
from memops.console.pg import clock

FURTHEST = timedelta(days=90)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A run begins neither before nor after; either end may be open."""

    not_before: datetime | None = None
    not_after: datetime | None = None

    def __bool__(self) -> bool:
        return self.not_before is not None or self.not_after is not None

    def check(self) -> None:
        """Raises WindowInvalid: nothing could ever begin in it, or it is too far away."""
        now = clock.now()
        if self.not_after is not None and self.not_after <= now:
            raise WindowInvalid(problem="it is over")
        if self.not_before is not None and self.not_after is not None and self.not_after <= self.not_before:
            raise WindowInvalid(problem="it ends before it begins")
        if any(abs(end - now) > FURTHEST for end in (self.not_before, self.not_after) if end is not None):
            raise WindowInvalid(problem=f"it is more than {FURTHEST.days} days away")

    def until(self, valid_for: timedelta) -> Combinable:
        """By when a request with this window is approved and started, or expires."""
        begins = Value(self.not_before) if self.not_before is not None else Now()
        expires: Combinable = begins + valid_for
        return Least(expires, Value(self.not_after)) if self.not_after is not None else expires


ANY_TIME = Window()


def is_to_come(run: Run) -> bool:
    return run.not_before is not None and run.not_before > clock.now()


def read_moment(text: str) -> datetime:
    """ISO 8601 as it is typed, in UTC where it names no zone. Raises WindowInvalid."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise WindowInvalid(problem="a time in it is not written as 2027-01-31T02:00") from error
    return found if timezone.is_aware(found) else timezone.make_aware(found, timezone.get_fixed_timezone(0))
