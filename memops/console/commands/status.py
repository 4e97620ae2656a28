"""``memops status``: the state of the targets at a glance."""

from __future__ import annotations

import argparse
from typing import Any

from memops.console.checks import people_warnings
from memops.console.commands import Exit, records
from memops.console.commands.output import Output
from memops.console.models import Run
from memops.console.models.plans import TableSeen
from memops.console.runs import approvals, holds, queue
from memops.console.runs.overview import Overview, TargetState, overview, overviews
from memops.console.units import NOTHING, moment, size

HELP = "revision, table, rows, isolation, backups, quarantine and active run of each target"

FINDINGS = (TargetState.INCONSISTENT, TargetState.LOCKED, TargetState.UNREACHABLE)


COLUMNS = ["Target", "State", "Rows", "Size", "Isolation", "Last verified backup", "In quarantine", "Run at work"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", metavar="ALIAS", help="this target alone")


def run(options: argparse.Namespace, out: Output) -> int:
    seen = overviews() if options.target is None else [overview(options.target)]
    alive = queue.worker_is_alive()
    if len(seen) > 1:
        out.table(COLUMNS, [_one_line(one) for one in seen])
    for one in seen:
        out.say()
        _show(one, out)
    out.say()
    out.say("A worker is alive." if alive else "No worker is alive: commands do their work themselves.")
    shown = {one.target.alias for one in seen}
    awaiting = [run for run in approvals.awaiting() if run.target_id in shown]
    for run in awaiting:
        out.say(f"Run {run.pk} on {run.target_id} waits for somebody until {moment(run.expires_at)}.")
    unreviewed = [run for run in approvals.unreviewed() if run.target_id in shown]
    warnings = [_needs_review(run) for run in unreviewed]
    warnings += [f"{warning.msg} {warning.hint}" for warning in people_warnings()]
    for warning in warnings:
        out.say(f"Warning: {warning}", style="yellow")
    out.result(
        worker_alive=alive,
        targets=[_described(one) for one in seen],
        warnings=warnings,
        awaiting=[run.pk for run in awaiting],
        unreviewed=[run.pk for run in unreviewed],
    )
    wrong = unreviewed or any(one.state in FINDINGS or one.active_is_lost or one.warnings for one in seen)
    return Exit.FAILED if wrong else Exit.DONE


def _needs_review(run: Run) -> str:
    late = "The review is overdue. " if approvals.is_overdue(run) else ""
    return (
        f"Run {run.pk} was started without approvals, for {run.incident}. {late}Until somebody else has reviewed it,"
        f" {run.target_id} takes no new run: manage.py memops review {run.pk} --as NAME."
    )


def _one_line(seen: Overview) -> list[Any]:
    """A target as a row of a table."""
    table, backup = seen.table, seen.last_verified
    return [
        seen.target.alias,
        seen.state,
        f"{'' if table.rows_exact else 'about '}{table.rows:,}" if table else NOTHING,
        size(table.total_bytes) if table else NOTHING,
        {(True, True): "on, forced", (True, False): "on"}.get((table.row_security, table.row_security_forced), "off")
        if table
        else NOTHING,
        moment(backup.written_at) if backup else "none",
        len(seen.quarantined),
        seen.active.pk if seen.active else NOTHING,
    ]


def _show(seen: Overview, out: Output) -> None:
    styles = {TargetState.DEPLOYED: "bold green", TargetState.ROLLED_BACK: "bold cyan", TargetState.EMPTY: "bold"}
    out.say(f"{seen.target.alias} ({seen.environment}): {seen.state}", style=styles.get(seen.state, "bold red"))
    out.say(f"  {seen.state_text}")
    if seen.problem:
        out.say(f"  {seen.problem}", style="red")
    facts: dict[str, Any] = {}
    if seen.reachable:
        facts["Server"] = f"PostgreSQL {seen.server_version}, database {seen.database}, as {seen.role}"
        facts["Revision"] = seen.revision or "none applied"
        facts["Table"] = _table(seen.table) if seen.table else "no public.memory_chunks"
        if seen.protection:
            facts["Isolation"] = seen.protection
    backup = seen.last_verified
    facts["Last verified backup"] = (
        f"{backup.pk}, {moment(backup.written_at)}, {backup.rows:,} rows, {size(backup.size_bytes)}"
        if backup
        else "none"
    )
    for table in seen.quarantined:
        rows = f"{table.rows:,} rows" if table.rows is not None else "rows not counted"
        held = "; a hold stands" if holds.standing(table) else ""
        until = f"stays until {moment(holds.kept_until(table))}" if holds.is_too_young(table) else "may be purged"
        facts[f"Quarantined by {table.run_id}"] = f"{table.name}, {rows}, {until}{held}"
    for table in seen.purged:
        rows = f"{table.rows:,} rows" if table.rows is not None else "rows not counted"
        facts[f"Purged, quarantined by {table.run_id}"] = f"{table.name}, {rows}, {moment(table.left_at)}"
    if seen.active:
        lost = ", its worker is lost: manage.py memops reconcile" if seen.active_is_lost else ""
        facts["Active run"] = f"{seen.active.pk}, {seen.active.get_state_display().lower()}{lost}"
    out.facts(facts)
    for warning in seen.warnings:
        out.say(f"  Warning: {warning}", style="yellow")


def _table(table: TableSeen) -> str:
    about = "" if table.rows_exact else "about "
    return f"{about}{table.rows:,} rows, {size(table.total_bytes)} with {len(table.indexes)} indexes"


def _described(seen: Overview) -> dict[str, Any]:
    return {
        "alias": seen.target.alias,
        "environment": seen.environment,
        "state": seen.state,
        "text": seen.state_text,
        "reachable": seen.reachable,
        "problem": seen.problem,
        "server_version": seen.server_version,
        "database": seen.database,
        "role": seen.role,
        "revision": seen.revision,
        "table": vars(seen.table) if seen.table else None,
        "isolation": seen.protection,
        "warnings": seen.warnings,
        "quarantined_tables": [records.quarantined(table) for table in seen.quarantined],
        "purged_tables": [records.quarantined(table) for table in seen.purged],
        "last_verified_backup": records.backup_as_data(seen.last_verified) if seen.last_verified else None,
        "active_run": seen.active.pk if seen.active else None,
        "active_run_is_lost": seen.active_is_lost,
    }
