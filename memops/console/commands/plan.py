"""``memops plan rollback``, ``plan purge NAME``, ``plan restore BACKUP``: what would be done, and what forbids it. It
starts nothing."""

from __future__ import annotations

import argparse
from datetime import datetime

from django.db import DEFAULT_DB_ALIAS

from memops.console.commands import Exit, following
from memops.console.commands.arguments import NUMBER
from memops.console.commands.lookup import find_backup, find_quarantined
from memops.console.commands.output import Output
from memops.console.errors import PlanRefused, PlanUnclear
from memops.console.models import Run
from memops.console.models.plans import Plan, Purge
from memops.console.runs import idle, restores, targets
from memops.console.runs.plan import plan_purge, plan_restore, plan_rollback
from memops.console.units import duration, moment, size

HELP = "what a rollback, a purge or a restore would do, with the SQL, and what would refuse it"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["rollback", "purge", "restore"], help="which kind of run")
    parser.add_argument(
        "subject",
        metavar="NAME|BACKUP",
        nargs="?",
        help="the quarantined table that a purge would drop, or the number of the backup to restore",
    )
    parser.add_argument(
        "--target", metavar="ALIAS", help="the target (default: default; for a restore that of the backup)"
    )
    parser.add_argument("--emergency", action="store_true", help="roll back first, back up afterwards")
    following.add_restore_choices(parser)
    following.add_end_idle(parser)
    following.add_without_backup(parser)


def run(options: argparse.Namespace, out: Output) -> int:
    plan = _planned(options)
    show(plan, out, with_sql=True)
    out.result(plan=plan.as_json(), possible=plan.is_possible, emergency_possible=plan.emergency_possible)
    return Exit.DONE if plan.is_possible else Exit.REFUSED


def _planned(options: argparse.Namespace) -> Plan:
    """Raises PlanUnclear, and as ``plan_rollback``, ``plan_purge`` and ``plan_restore``."""
    end_idle, subject = idle.read_argument(options.end_idle), options.subject
    target = DEFAULT_DB_ALIAS if options.target is None else options.target
    if options.what == "rollback":
        if subject is not None or options.without_backup or options.rows or options.other_database:
            raise PlanUnclear(problem="A rollback has neither a NAME nor --without-backup, --rows or --other-database")
        return plan_rollback(target, emergency=options.emergency, end_idle=end_idle)
    if options.what == "purge":
        if subject is None or options.emergency or end_idle is not None or options.rows or options.other_database:
            raise PlanUnclear(
                problem="A purge has the name of a quarantined table, and --without-backup as its only choice"
            )
        targets.get(target)
        table = find_quarantined(subject, target=target, or_gone=True)
        return plan_purge(table, without_backup=options.without_backup)
    if subject is None or not NUMBER.fullmatch(subject) or options.emergency or options.without_backup:
        raise PlanUnclear(problem="A restore has the number of a backup, and neither --emergency nor --without-backup")
    return plan_restore(
        find_backup(int(subject), target=options.target),
        rows=restores.read(options.rows or ""),
        elsewhere=options.other_database,
        end_idle=end_idle,
    )


def ask_for(plan: Plan, options: argparse.Namespace, out: Output, *, called: str) -> int:
    """Show a plan, and ask for its run, if nothing refuses it and whoever asks is sure. Returns the exit code.

    Raises PlanRefused, ConfirmationMissing, and as ``following.carry_out``.
    """
    show(plan, out)
    if not plan.is_possible:
        raise PlanRefused(kind=called, target=plan.target, reasons=" ".join(finding.text for finding in plan.refusals))
    reason = following.confirmed_reason(options, out, plan)
    return following.carry_out(plan, reason=reason, out=out, **following.approval(options))


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
    if plan.purge is not None:
        facts |= _purge_facts(plan.purge, at=plan.made_at)
    if plan.kind == Run.Kind.RESTORE:
        facts["Backup"] = f"{plan.subject}, into {plan.relation}"
        facts["Rows that stand there"] = restores.WORDS.get(plan.rows_choice, "none may stand there")
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
        facts["What brings it back" if plan.purge else "Afterwards"] = plan.brings_back
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


def _purge_facts(purge: Purge, *, at: datetime) -> dict[str, str]:
    proof = "none, and none is asked for" if purge.without_backup else "none"
    if purge.backup is not None:
        proof = f"backup {purge.backup}, verified {moment(purge.backup_verified_at)}, SHA-256 {purge.backup_sha256}"
    left = purge.left(at)
    return {
        "In quarantine": f"since {moment(purge.since)}, for {duration(purge.age(at))}",
        "Stays until": f"{moment(purge.kept_until)}{f', {duration(left)} yet' if left else ', which is over'}",
        "Fingerprint": f"{purge.fingerprint or 'not taken yet'}; taken again under the lock, before the drop",
        "Proof": proof,
        "Holds": ". ".join(purge.holds) or "none",
    }
