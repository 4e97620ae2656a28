"""How far the checklist of a run is. Machine items tick themselves when the run ends, with their evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import BooleanField, F, Func, IntegerField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from memops.console.audit import SYSTEM, record_or_log
from memops.console.models import ChecklistItem, ChecklistTemplate, Run, RunClosing, SignOff
from memops.console.runs import evidence

journal = structlog.get_logger("memops.checklist")


@dataclass(frozen=True, kw_only=True)
class ItemStanding:
    """An item, with everything that was said of it; the newest holds."""

    item: ChecklistItem
    said: list[SignOff]

    @property
    def newest(self) -> SignOff | None:
        return self.said[-1] if self.said else None

    @property
    def is_settled(self) -> bool:
        return self.newest is not None and self.newest.decision in SignOff.SETTLED

    @property
    def word(self) -> str:
        return self.newest.get_decision_display() if self.newest else "Open"

    @property
    def state(self) -> str:
        return self.newest.decision if self.newest else "open"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far the checklist of a run is. ``open_items`` is the database's own count of required ones."""

    run: Run
    template: ChecklistTemplate
    items: list[ItemStanding]
    closings: list[RunClosing]
    open_items: int

    @property
    def is_closed(self) -> bool:
        return bool(self.closings) and self.closings[-1].decision == RunClosing.Decision.CLOSED

    @property
    def closing(self) -> RunClosing | None:
        return self.closings[-1] if self.is_closed else None

    @property
    def blocks(self) -> list[tuple[str, list[ItemStanding]]]:
        found: dict[str, list[ItemStanding]] = {}
        for one in self.items:
            found.setdefault(one.item.block, []).append(one)
        return list(found.items())


def is_due(run: Run) -> bool:
    """Has it ended, with something to sign for? A run that changed nothing is closed by its end."""
    return run.checklist_id is not None and run.ended_at is not None and run.outcome != Run.Outcome.NOTHING


def standing(run: Run) -> Standing | None:
    """None where the run has no checklist: its kind had none when it was requested."""
    if run.checklist_id is None:
        return None
    tick(run)
    template = ChecklistTemplate.objects.get(pk=run.checklist_id)
    said: dict[int, list[SignOff]] = {}
    for one in run.signoffs.all():
        said.setdefault(one.item_id, []).append(one)
    return Standing(
        run=run,
        template=template,
        items=[ItemStanding(item=item, said=said.get(item.pk, [])) for item in template.items.all()],
        closings=list(run.closings.all()),
        open_items=counted(Run.objects.filter(pk=run.pk)).values_list("open_items", flat=True).get(),
    )


def counted(runs: QuerySet[Run]) -> QuerySet[Any]:
    """Runs with ``open_items`` and ``is_closed``, as the database counts them."""
    return runs.annotate(
        open_items=Func(F("pk"), function="public.memops_open_items", output_field=IntegerField()),
        is_closed=Func(F("pk"), function="public.memops_run_is_closed", output_field=BooleanField()),
    )


def unclosed() -> QuerySet[Run]:
    """Runs that have ended and that nobody has closed, the newest first; with ``open_items``. There may be many: take
    some, and count the others."""
    ended = Run.objects.filter(checklist__isnull=False, ended_at__isnull=False).exclude(outcome=Run.Outcome.NOTHING)
    # The newest closing holds, as in memops_run_is_closed, which takes several times as long when it is asked of all.
    newest = RunClosing.objects.filter(run=OuterRef("pk")).order_by("-pk").values("decision")[:1]
    closing = Coalesce(Subquery(newest), Value(""))
    not_closed = ended.annotate(newest_closing=closing).exclude(newest_closing=RunClosing.Decision.CLOSED)
    found: QuerySet[Run] = counted(not_closed).select_related("target")
    return found


def words(run: Run) -> str:
    """Whether a run is closed, in words; "" while it goes on."""
    if run.ended_at is None:
        return ""
    if run.checklist_id is None:
        return "no checklist"
    if not is_due(run):
        return "nothing to sign"
    found = run if hasattr(run, "open_items") else counted(Run.objects.filter(pk=run.pk)).get()
    if getattr(found, "is_closed", False):
        return "closed"
    left = getattr(found, "open_items", 0)
    return f"not closed: {left} item{'' if left == 1 else 's'} open" if left else "not closed: every item is settled"


def tick(run: Run) -> None:
    """Tick the machine items of a run that has ended, with their evidence; safe to repeat, and to be too late for.

    It never raises: a run's end is not held back, and whoever looks at the checklist later ticks what is missing.
    """
    if not is_due(run):
        return
    try:
        ticked, not_proved = _ticked(run)
    except DatabaseError as error:
        journal.error("machine items not ticked", run=run.pk, error=type(error).__name__)
        return
    if ticked or not_proved:
        record_or_log("checklist.ticked", actor=SYSTEM, run=run, ticked=ticked, not_proved=not_proved)


def _ticked(run: Run) -> tuple[int, int]:
    """How many items were ticked now, and how many are not proved."""
    ticked = not_proved = 0
    unsaid = ChecklistItem.objects.filter(template=run.checklist_id).exclude(machine="").exclude(signoffs__run=run)
    for item in unsaid:
        found = evidence.look(run, item.machine)
        try:
            with transaction.atomic():
                SignOff.objects.create(
                    run=run,
                    item=item,
                    decision=found.decision,
                    signer_key=SignOff.MACHINE,
                    signer_name=SignOff.MACHINE,
                    note=found.text,
                )
        except IntegrityError:
            continue  # Somebody else has ticked it at the same moment.
        not_proved += found.decision == SignOff.Decision.FAILED
        ticked += found.decision != SignOff.Decision.FAILED
    return ticked, not_proved
