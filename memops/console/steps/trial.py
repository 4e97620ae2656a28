"""Compare what is to take the table's place with the backup, and try it out, before anybody depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from memops.console.errors import MemoriesSealed, NotIsolated
from memops.console.models import Run
from memops.console.pg import session, staging, trial
from memops.console.steps import StepLog, restoring, step
from memops.console.steps.check import Check


@dataclass(frozen=True, kw_only=True)
class Tried:
    checks: list[Check]


@step("trial", "Compare it with the backup, and try it out")
def try_out(run: Run, log: StepLog) -> Tried:
    """The whole catalogue, tenants as the application sees them, and a sample of sealed memories.

    Raises StagedDiffers, NotIsolated, MemoriesSealed: nothing is left beside the table, which was not touched.
    """
    backup, place, role = restoring.backup_of(run), restoring.place_of(run), settings.MEMOPS_APP_ROLE
    expected = staging.expected_of(restoring.manifest_of(backup), restoring.home_grants(backup))
    with (
        restoring.leaving_nothing(run, log),
        session.connect(run.target_id, application_name="memops tries a table out", works_long=True) as connection,
    ):
        staging.compare(connection, place.schema, archive=Path(backup.location).name, expected=expected)
        isolation = trial.isolation(connection, schema=place.schema, name=staging.TABLE, role=role)
        if isolation.problem:
            raise NotIsolated(problem=isolation.problem, role=role)
        opened = trial.opened(connection, schema=place.schema, name=staging.TABLE)
        if opened.unopened:
            raise MemoriesSealed(unopened=opened.unopened, sample=opened.sample, reason=opened.reason)
    checks = [
        Check(
            name="Its catalogue is that of the backup",
            ok=True,
            detail=f"owner, {len(expected['grants'])} grants, row-level security, {len(expected['policies'])} policy,"
            f" {len(expected['constraints'])} constraints, {len(expected['indexes'])} indexes,"
            f" {len(expected['triggers'])} triggers are equal",
        ),
        Check(
            name="It keeps tenants apart",
            ok=True,
            detail=f"tried as {role}: a tenant sees its {isolation.rows_seen:,} rows and no other's, nobody in"
            " particular sees none, and a row for another tenant is refused"
            if isolation.tried
            else f"not tried, for memops' role may not act as {role}; the policies are equal",
        ),
        Check(
            name="Its memories open",
            ok=True,
            detail=f"{opened.sample} of {opened.sample} sealed values of a sample open with the keys of this console"
            if opened.sample
            else "no row of it holds a sealed value",
        ),
    ]
    for check in checks:
        log.line(f"OK {check.name}: {check.detail}")
    return Tried(checks=checks)
