"""``memops rollback``: take memory_chunks out of service, and prove that nothing is lost."""

from __future__ import annotations

import argparse

from memops.console.commands import following, plan
from memops.console.commands.output import Output
from memops.console.runs import idle, targets
from memops.console.runs.plan import plan_rollback

HELP = "roll memory_chunks back into quarantine, with a verified backup"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", default="default", metavar="ALIAS", help="the target (default: default)")
    parser.add_argument("--emergency", action="store_true", help="roll back first, back up and prove afterwards")
    following.add_end_idle(parser)
    following.add_confirmation(parser)
    following.add_approval(parser)


def run(options: argparse.Namespace, out: Output) -> int:
    targets.get(options.target)
    following.demand_usable(options, target=options.target)
    planned = plan_rollback(options.target, emergency=options.emergency, end_idle=idle.read_argument(options.end_idle))
    return plan.ask_for(planned, options, out, called=planned.kind)
