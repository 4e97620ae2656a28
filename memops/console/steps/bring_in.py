"""Bring the rows that stand in the table into the backup that is to take its place, as the plan says."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from memops.console.models import Run
from memops.console.pg import session, standing
from memops.console.pg.beside import beside, result
from memops.console.pg.standing import Merged
from memops.console.steps import NotNeeded, StepLog, restoring, step


@step("bring_in", "Bring in the rows that stand in the table")
def bring_in(run: Run, log: StepLog) -> dict[str, Any]:
    """Every standing row is looked at; what stirs from now on is brought in by the swap itself.

    Raises LoadFailed: nothing is left beside the table, which was only read.
    """
    choice, place = restoring.choice_of(run), restoring.place_of(run)
    if choice is None:
        raise NotNeeded("No row stood in the table when this was planned: there is nothing to bring in.")
    if not choice.takes_rows:
        raise NotNeeded(choice.words)
    log.line(choice.words)
    with (
        restoring.leaving_nothing(run, log),
        session.connect(run.target_id, application_name="memops brings rows in", works_long=True) as connection,
    ):

        def look(connection: session.Connection) -> Merged:
            return standing.begin(connection, place.schema, choice=choice)

        with beside(connection, look) as looking:
            merged = result(looking, meanwhile=lambda: None)
    tell(merged, log)
    return asdict(merged)


def once_more(run: Run, log: StepLog) -> None:
    """An index took its time, and the application went on: what came meanwhile is brought in while it still does."""
    choice, place = restoring.choice_of(run), restoring.place_of(run)
    if choice is None or not choice.takes_rows:
        return
    with (
        session.connect(run.target_id, application_name="memops brings rows in", works_long=True) as connection,
        beside(connection, lambda c: standing.again(c, place.schema, choice=choice)) as looking,
    ):
        stirred = result(looking, meanwhile=lambda: None)
    log.line(f"Rows that stirred while it was built: {stirred:,}; they are brought in.")


def tell(merged: Merged, log: StepLog) -> None:
    """The numbers and the ids of what differs; never a content."""
    log.line(
        f"{merged.standing:,} standing rows: {merged.added:,} that the backup does not have, {merged.conflicts:,} that"
        f" differ from it; of those {merged.standing_won:,} stay as they stood."
    )
    for id, winner in merged.listed:
        log.line(f"Differs: {id} (taken: the {winner})")
    if merged.conflicts > len(merged.listed):
        log.line(f"... and {merged.conflicts - len(merged.listed):,} more.")
