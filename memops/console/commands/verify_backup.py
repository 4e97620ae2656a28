"""``memops verify-backup ID``: prove a backup again, by restoring it into a scratch database."""

from __future__ import annotations

import argparse

from memops.console.commands import following, plan
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_backup
from memops.console.commands.output import Output
from memops.console.runs.plan import plan_verify

HELP = "prove a backup by restoring it into a scratch database"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=number, help="the number of the backup")
    parser.add_argument("--reason", default="Asked for on the command line.", help="why; kept in the history")
    following.add_detach(parser)


def run(options: argparse.Namespace, out: Output) -> int:
    backup = find_backup(options.id)
    following.demand_usable(options, target=backup.target_id)
    planned = plan_verify(backup)
    plan.show(planned, out)
    return following.carry_out(planned, reason=options.reason, detach=options.detach, out=out)
