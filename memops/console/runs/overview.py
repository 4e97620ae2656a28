"""The state of a target at a glance, read from it now."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import psycopg
from django.conf import settings

from memops.console.errors import ConsoleError, PoolerBetween, TableLocked
from memops.console.models import Backup, QuarantinedTable, Run, Target
from memops.console.models.plans import TableSeen
from memops.console.runs import history, reconcile, targets
from memops.console.steps import examination
from memops.console.steps.examination import Examination

LATEST = 3
"""How many of the tables that were dropped for good are told of."""


class TargetState(StrEnum):
    DEPLOYED = "deployed"
    ROLLED_BACK = "rolled back"
    EMPTY = "not deployed"
    INCONSISTENT = "inconsistent"
    LOCKED = "locked"
    UNREACHABLE = "unreachable"


@dataclass(kw_only=True)
class Overview:
    """What a person at the console has to know about a target first."""

    target: Target
    environment: str
    state: TargetState
    state_text: str
    reachable: bool = False
    problem: str = ""
    server_version: str = ""
    database: str = ""
    role: str = ""
    revision: str = ""
    table: TableSeen | None = None
    protection: str = ""
    warnings: list[str] = field(default_factory=list)
    quarantined: list[QuarantinedTable] = field(default_factory=list)
    purged: list[QuarantinedTable] = field(default_factory=list)
    last_verified: Backup | None = None
    active: Run | None = None
    active_is_lost: bool = False
    last_run: Run | None = None


def overviews() -> list[Overview]:
    """Every configured target; one that does not answer says so and holds up nothing but its own line."""
    return [overview(target.alias) for target in targets.sync()]


def overview(alias: str) -> Overview:
    """One target. It also takes changes that were made by hand into the history. Raises UnknownTarget."""
    target = targets.get(alias)
    try:
        history.notice(alias)
        found = examination.glance(alias)
    except (ConsoleError, psycopg.Error) as error:
        state, text = TargetState.UNREACHABLE, "It does not answer, so its state is not known."
        if isinstance(error, TableLocked):
            state, text = TargetState.LOCKED, "Another session has locked memory_chunks, so its state is not known."
        elif isinstance(error, PoolerBetween):
            text = "It is reached through a pooler, so its state is not known."
        seen = Overview(
            target=target,
            environment=_environment(alias),
            state=state,
            state_text=text,
            problem=str(error) if isinstance(error, ConsoleError) else _refused(error),
        )
    else:
        state, text = _state(found, alias)
        seen = Overview(
            target=target,
            environment=_environment(alias),
            state=state,
            state_text=text,
            reachable=True,
            server_version=found.server.version,
            database=found.server.database,
            role=found.server.role,
            revision=found.migrations[-1] if found.migrations else "",
            table=found.table,
            protection=_protection(found),
            warnings=[finding.text for finding in found.findings],
        )
    seen.quarantined = list(
        QuarantinedTable.objects.filter(target=alias, state=QuarantinedTable.State.KEPT).select_related("run", "backup")
    )
    seen.purged = list(QuarantinedTable.objects.filter(target=alias, state=QuarantinedTable.State.PURGED)[:LATEST])
    seen.last_verified = (
        Backup.objects.filter(target=alias, state=Backup.State.VERIFIED).order_by("-written_at").first()
    )
    seen.active = Run.objects.filter(target=alias, state__in=Run.ACTIVE).first()
    seen.active_is_lost = seen.active is not None and reconcile.is_lost(seen.active)
    seen.last_run = Run.objects.filter(target=alias, ended_at__isnull=False).first()
    return seen


def _state(found: Examination, alias: str) -> tuple[TargetState, str]:
    kept = QuarantinedTable.objects.filter(target=alias, state=QuarantinedTable.State.KEPT).count()
    if found.table is not None and found.migrations:
        return TargetState.DEPLOYED, "memory_chunks is deployed."
    if found.table is not None:
        return (
            TargetState.INCONSISTENT,
            "public.memory_chunks is there, but no migration of it is recorded:"
            f" manage.py migrate memops --fake --database={alias}, if it is memops' table.",
        )
    if found.migrations:
        return (
            TargetState.INCONSISTENT,
            "The migration is recorded, but public.memory_chunks is not there: roll back to set the history right,"
            " or undo the rollback that took it away.",
        )
    if kept:
        return TargetState.ROLLED_BACK, "memory_chunks is rolled back; its rows are in quarantine."
    return TargetState.EMPTY, f"memory_chunks is not deployed: manage.py migrate memops --database={alias}."


def _protection(found: Examination) -> str:
    if found.table is None:
        return ""
    if not found.table.row_security:
        return "row-level security off"
    forced = "on and forced" if found.table.row_security_forced else "on, not forced for the owner"
    return f"row-level security {forced}, policies: {', '.join(found.table.policies) or 'none'}"


def _refused(error: psycopg.Error) -> str:
    said = error.diag.message_primary
    return f"It answers, but not what is asked of it: {said or type(error).__name__}."


def _environment(alias: str) -> str:
    return str(settings.MEMOPS_ENVIRONMENTS.get(alias, alias))
