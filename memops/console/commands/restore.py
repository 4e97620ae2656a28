"""``memops restore BACKUP``: bring a verified backup back as memory_chunks."""

from __future__ import annotations

import argparse

from memops.console.commands import following, plan
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_backup
from memops.console.commands.output import Output
from memops.console.errors import PlanRefused
from memops.console.pg.standing import Choice
from memops.console.runs import idle, restores
from memops.console.runs.plan import plan_restore

HELP = "bring a verified backup back as public.memory_chunks; what stands there goes to quarantine"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="BACKUP", type=number, help="the number of the backup")
    parser.add_argument("--target", metavar="ALIAS", help="refuse if the backup is of another target than this")
    add_choices(parser)
    following.add_end_idle(parser)
    following.add_confirmation(parser)
    following.add_approval(parser)


def add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows",
        choices=[choice.value for choice in Choice],
        help="what becomes of rows that stand in the table: none of them is carried over; those that the backup lacks, "
        "and the newer one of each that both have; all of them, and the backup adds what is missing",
    )
    parser.add_argument(
        "--other-database",
        action="store_true",
        help="the backup is of a database that is lost, and this one takes its place",
    )


def run(options: argparse.Namespace, out: Output) -> int:
    backup = find_backup(options.id, target=options.target)
    following.demand_usable(options, target=backup.target_id)
    planned = plan_restore(
        backup,
        rows=restores.read(options.rows or ""),
        elsewhere=options.other_database,
        end_idle=idle.read_argument(options.end_idle),
    )
    plan.show(planned, out)
    if not planned.is_possible:
        raise PlanRefused(
            kind=f"restore of backup {backup.pk}",
            target=planned.target,
            reasons=" ".join(finding.text for finding in planned.refusals),
        )
    reason = following.confirmed_reason(options, out, planned)
    return following.carry_out(planned, reason=reason, out=out, **following.approval(options))
