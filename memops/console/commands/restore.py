"""``memops restore BACKUP``: bring a verified backup back as memory_chunks."""

from __future__ import annotations

import argparse

from memops.console.commands import following, plan
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_backup
from memops.console.commands.output import Output
from memops.console.runs import idle, restores
from memops.console.runs.plan import plan_restore

HELP = "bring a verified backup back as public.memory_chunks; what stands there goes to quarantine"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="BACKUP", type=number, help="the number of the backup")
    parser.add_argument("--target", metavar="ALIAS", help="refuse if the backup is of another target than this")
    following.add_restore_choices(parser)
    following.add_end_idle(parser)
    following.add_confirmation(parser)
    following.add_approval(parser)


def run(options: argparse.Namespace, out: Output) -> int:
    backup = find_backup(options.id, target=options.target)
    following.demand_usable(options, target=backup.target_id)
    planned = plan_restore(
        backup,
        rows=restores.read(options.rows or ""),
        elsewhere=options.other_database,
        end_idle=idle.read_argument(options.end_idle),
    )
    return plan.ask_for(planned, options, out, called=f"restore of backup {backup.pk}")
