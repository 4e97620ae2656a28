"""``memops plan rollback`` and ``memops plan restore BACKUP``: what would be done, and what forbids it. It reads and
starts nothing."""

from __future__ import annotations

import argparse

from memops.console.commands import Exit, following, restore
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_backup
from memops.console.commands.output import Output
from memops.console.models import Run
from memops.console.models.plans import Plan
from memops.console.pg.standing import Choice
from memops.console.runs import idle, restores
from memops.console.runs.plan import plan_restore, plan_rollback
from memops.console.units import size

HELP = "what a rollback or a restore would do, with the SQL, and what would refuse it"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["rollback", "restore"], help="which kind of run")
    parser.add_argument("id", metavar="BACKUP", nargs="?", type=number, help="which backup is restored")
    parser.add_argument(
        "--target", default="default", metavar="ALIAS", help="the target of a rollback (default: default)"
    )
    parser.add_argument("--emergency", action="store_true", help="roll back first, back up afterwards")
    restore.add_choices(parser)
    following.add_end_idle(parser)


def run(options: argparse.Namespace, out: Output) -> int:
    end_idle = idle.read_argument(options.end_idle)
    if options.what == "restore":
        backup = find_backup(options.id or 0)
        rows = restores.read(options.rows or "")
        plan = plan_restore(backup, rows=rows, elsewhere=options.other_database, end_idle=end_idle)
    else:
        plan = plan_rollback(options.target, emergency=options.emergency, end_idle=end_idle)
    show(plan, out, with_sql=True)
    out.result(plan=plan.as_json(), possible=plan.is_possible, emergency_possible=plan.emergency_possible)
    return Exit.DONE if plan.is_possible else Exit.REFUSED


def show(plan: Plan, out: Output, *, with_sql: bool = False) -> None:
    """The plan as a person reads it."""
    kind = f"Emergency {plan.kind}" if plan.emergency else plan.kind.capitalize()
    out.say(f"{kind} on {plan.target}", style="bold")
    facts = {}
    if plan.table is not None:
        about = "" if plan.table.rows_exact else "about "
        facts["Table"] = f"{plan.table.schema}.{plan.table.name}"
        facts["Rows"] = f"{about}{plan.table.rows:,}"
        facts["Size"] = (
            f"{size(plan.table.total_bytes)} (table {size(plan.table.table_bytes)},"
            f" {len(plan.table.indexes)} indexes {size(plan.table.index_bytes)})"
        )
    if plan.kind == Run.Kind.RESTORE:
        facts["Backup"] = f"{plan.subject}, into {plan.relation}"
        facts["Rows that stand there"] = Choice(plan.rows_choice).words if plan.rows_choice else "none may stand there"
        facts["Application"] = plan.application
    facts["Lock"] = plan.lock
    facts["Lock budget"] = (
        f"a try waits {plan.lock_timeout.total_seconds():g} s at most; tries for {plan.lock_budget.total_seconds():g} s"
    )
    if plan.idle:
        facts["Idle transactions"] = plan.idle
    if plan.backup_folder:
        facts["Backup"] = plan.backup_folder
    if plan.scratch:
        facts["Proof"] = f"restored into {plan.scratch}"
    facts["Steps"] = " → ".join(step.title for step in plan.steps)
    facts["Digest"] = plan.digest
    if plan.brings_back:
        facts["Afterwards"] = plan.brings_back
    out.facts(facts)
    if with_sql and plan.sql:
        out.say("The SQL:", style="bold")
        out.lines(plan.sql)
    for finding in plan.warnings:
        out.say(f"Note: {finding.text}", style="yellow")
    for finding in plan.refusals:
        out.say(f"Refused: {finding.text}", style="red")
    if plan.refusals and plan.emergency_possible and not plan.emergency:
        out.say("A rollback into quarantine, with the backup afterwards, is possible: --emergency.")
