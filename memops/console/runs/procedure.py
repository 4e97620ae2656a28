"""Is the procedure fit for use? When it was last rehearsed, who stands for it, and whom to call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from django.conf import settings
from django.utils import timezone

from memops.console.models import Contact, Review, Run


@dataclass(frozen=True, kw_only=True)
class Procedure:
    """``rehearsal`` is the newest undo of a guided rollback that both succeeded: down, proved, and up again."""

    rehearsal: Run | None
    rehearsal_due: date | None
    review: Review | None
    contacts: list[Contact]
    overdue: list[str]
    """What is overdue, each in a sentence."""

    @property
    def rehearsed_at(self) -> datetime | None:
        return self.rehearsal.ended_at if self.rehearsal else None


def procedure() -> Procedure:
    today = timezone.now().date()
    rehearsal = _rehearsal()
    review = Review.objects.first()
    due = (rehearsal.ended_at + settings.MEMOPS_REHEARSE_EVERY).date() if rehearsal and rehearsal.ended_at else None
    overdue = []
    if due is None:
        overdue.append(
            "The rollback was never rehearsed: no guided rollback in the history was undone again. Do both where it"
            " harms nobody."
        )
    elif due < today:
        overdue.append(f"A rehearsal is overdue since {due:%Y-%m-%d}: a guided rollback, and its undo.")
    if review is None:
        overdue.append("Nobody has approved the procedure yet: sign a review on the console's start page.")
    elif review.next_due < today:
        overdue.append(f"A review is overdue since {review.next_due:%Y-%m-%d}.")
    if not (contacts := list(Contact.objects.all())):
        overdue.append("No contact is recorded, so nobody knows whom to call: add some on the console's start page.")
    return Procedure(rehearsal=rehearsal, rehearsal_due=due, review=review, contacts=contacts, overdue=overdue)


def _rehearsal() -> Run | None:
    return (
        Run.objects.filter(
            kind=Run.Kind.UNDO,
            state=Run.State.DONE,
            undoes__kind=Run.Kind.ROLLBACK,
            undoes__state=Run.State.DONE,
            undoes__emergency=False,
        )
        .exclude(origin=Run.Origin.BY_HAND)
        .exclude(undoes__origin=Run.Origin.BY_HAND)
        .select_related("undoes")
        .order_by("-ended_at")
        .first()
    )
