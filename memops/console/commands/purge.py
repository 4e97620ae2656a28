"""``memops purge NAME``: drop a quarantined table for good, when its time is over and a backup proves its rows."""

from __future__ import annotations

import argparse

from memops.console.commands import following, plan
from memops.console.commands.lookup import find_quarantined
from memops.console.commands.output import Output
from memops.console.runs import targets
from memops.console.runs.plan import plan_purge

HELP = "drop a quarantined table for good: nothing but a backup brings its rows back"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the quarantined table: memops status lists them")
    parser.add_argument("--target", default="default", metavar="ALIAS", help="the target (default: default)")
    following.add_without_backup(parser)
    following.add_confirmation(parser)
    following.add_window(parser)


def run(options: argparse.Namespace, out: Output) -> int:
    targets.get(options.target)
    following.demand_usable(options, target=options.target)
    table = find_quarantined(options.name, target=options.target, or_gone=True)
    planned = plan_purge(table, without_backup=options.without_backup)
    return plan.ask_for(planned, options, out, called=f"purge of {table.name}")
