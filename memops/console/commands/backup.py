"""``memops backup``: a backup of memory_chunks, or of a quarantined table, that is proved by restoring it."""

from __future__ import annotations

import argparse

from memops.console.commands import following, plan
from memops.console.commands.lookup import find_quarantined
from memops.console.commands.output import Output
from memops.console.runs import targets
from memops.console.runs.plan import plan_backup

HELP = "back up memory_chunks, and prove the backup by restoring it"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", default="default", metavar="ALIAS", help="the target (default: default)")
    parser.add_argument("--quarantined", metavar="NAME", help="back up this quarantined table instead")
    parser.add_argument("--reason", default="Asked for on the command line.", help="why; kept in the history")
    following.add_detach(parser)


def run(options: argparse.Namespace, out: Output) -> int:
    targets.get(options.target)
    following.demand_usable(options, target=options.target)
    name = options.quarantined
    table = find_quarantined(name, target=options.target) if name is not None else None
    planned = plan_backup(options.target, quarantined=table)
    plan.show(planned, out)
    return following.carry_out(planned, reason=options.reason, detach=options.detach, out=out)
