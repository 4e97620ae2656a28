"""``memops undo RUN``: move the table that a rollback has quarantined back."""

from __future__ import annotations

import argparse

from memops.console.commands import following, plan
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import idle
from memops.console.runs.plan import plan_undo

HELP = "move the quarantined table of a rollback back to public"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", type=number, help="the number of the rollback")
    parser.add_argument("--target", metavar="ALIAS", help="refuse if the run is on another target than this")
    following.add_end_idle(parser)
    following.add_confirmation(parser)
    following.add_approval(parser)


def run(options: argparse.Namespace, out: Output) -> int:
    rollback = find_run(options.id, target=options.target)
    following.demand_usable(options, target=rollback.target_id)
    planned = plan_undo(rollback, end_idle=idle.read_argument(options.end_idle))
    return plan.ask_for(planned, options, out, called=f"undo of run {rollback.pk}")
