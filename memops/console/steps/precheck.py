"""Look before touching: the state before, typed and kept on the run, and everything that forbids it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from memops.console.errors import PlanRefused
from memops.console.models import Run
from memops.console.models.plans import Finding, Level
from memops.console.steps import StepLog, examination, keeping, restoring, step
from memops.console.steps.examination import Examination


@dataclass(frozen=True, kw_only=True)
class Prechecked:
    """The state before the run. ``catalogue`` is what copies of the table are compared with."""

    server: dict[str, Any]
    migrations: list[str]
    table: dict[str, Any] | None
    catalogue: dict[str, Any] | None
    extensions: dict[str, str]
    other_tables: dict[str, int]
    in_use_by: list[str]
    prepared_transactions: list[str]
    replication: list[str]
    findings: list[Finding]
    client: str
    scratch: str
    free_bytes: int | None


@step("precheck", "Check what is there")
def precheck(run: Run, log: StepLog) -> Prechecked:
    """Read the state of the table that the run is about. Raises PlanRefused with every reason, before anything is
    touched."""
    schema, _, name = examined(run).partition(".")
    found = examination.look(run.target_id, schema=schema, name=name)
    plan = run.planned()
    if plan.idle:
        examination.idle_rules(found, end_idle=plan.end_idle)
    if plan.purge is not None and run.purges is not None:
        # What the plan goes by is bound by its digest; what forbids it may have come since.
        now = keeping.purge_of(run.purges, without_backup=plan.purge.without_backup)
        keeping.purge_rules(found, run.purges, now)
    if run.kind == Run.Kind.RESTORE:
        restoring.rules(
            found, restoring.backup_of(run), choice=restoring.choice_of(run), elsewhere=run.planned().elsewhere
        )
    if plan.backup_folder:
        examination.backup_rules(found, folder=examination.backup_folder(run.target_id))
    refusals = [finding for finding in found.findings if finding.level == Level.REFUSES and _forbids(run, finding)]
    for finding in found.findings:
        log.line(f"{'Refused' if finding in refusals else 'Noticed'}: {finding.text}")
    if refusals:
        raise PlanRefused(
            kind=run.title.lower(), target=run.target_id, reasons=" ".join(finding.text for finding in refusals)
        )
    if found.table is not None:
        about = "" if found.table.rows_exact else "about "
        log.line(f"{schema}.{name}: {about}{found.table.rows:,} rows, {found.table.total_bytes:,} bytes with indexes.")
    return Prechecked(
        server=asdict(found.server),
        migrations=found.migrations,
        table=asdict(found.table) if found.table else None,
        catalogue=found.relation.catalogue() if found.relation else None,
        extensions=found.extensions,
        other_tables=found.other_tables,
        in_use_by=[str(blocker) for blocker in found.blockers],
        prepared_transactions=found.prepared,
        replication=found.replication,
        findings=found.findings,
        client=found.client,
        scratch=found.scratch,
        free_bytes=found.free_bytes,
    )


def examined(run: Run) -> str:
    """Which relation a run is about: schema and name."""
    if run.kind == Run.Kind.UNDO and run.undoes is not None:
        return str(run.undoes.quarantined_table.relation)
    return run.planned().relation


def _forbids(run: Run, finding: Finding) -> bool:
    if run.kind == Run.Kind.ROLLBACK:
        return not (run.emergency and finding.backup_only)
    if run.kind == Run.Kind.BACKUP:
        return finding.code not in ("dependent", "in use", "not owner")
    return True


def what_was_there(found: Examination) -> dict[str, int]:
    """Every table and its oid, without what memops itself moves."""
    return {name: oid for name, oid in found.other_tables.items() if not name.startswith("memops_quarantine.")}
