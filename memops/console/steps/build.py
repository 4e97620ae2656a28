"""Build the indexes, the constraints, the row-level security and the grants of what was loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memops.console.models import Run
from memops.console.pg import staging
from memops.console.pg.staging import Building
from memops.console.pg.structure import Statement
from memops.console.steps import StepLog, restoring, step
from memops.console.steps.pace import Pace
from memops.console.units import duration


@dataclass(frozen=True, kw_only=True)
class Built:
    """What was built, and what each took, in seconds."""

    built: dict[str, float]


@step("build", "Build its indexes and its security")
def build(run: Run, log: StepLog) -> Built:
    """After the rows, which is several times faster than with them. Raises LoadFailed, TargetDiskFull: nothing is
    left beside the table, which was not touched."""
    statements = [Statement(**stored) for stored in run.saw("load")["statements"]]
    place = restoring.place_of(run)
    paces: dict[str, Pace] = {}

    def tell(building: Building) -> None:
        if not building.phase:
            return
        name = f"{building.name}, {building.phase}"
        if name not in paces:
            paces[name] = Pace(log=log, unit="rows", what=name)
        paces[name].tell(building.done, building.total)

    with restoring.leaving_nothing(run, log):
        took = staging.build(
            place,
            statements,
            path=Path(restoring.backup_of(run).location),
            workers=staging.safe_workers(place),
            tell=tell,
        )
    for name, time in took:
        log.line(f"Built {name} in {duration(time)}.")
    return Built(built={name: round(time.total_seconds(), 3) for name, time in took})
