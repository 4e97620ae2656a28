"""``memops run ID``: one run, with its steps and proof."""

from __future__ import annotations

import argparse

from memops.console.commands import following
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output

HELP = "show one run; --follow waits for its end"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=number, help="the number of the run")
    parser.add_argument("--follow", action="store_true", help="wait until a worker has ended it")


def run(options: argparse.Namespace, out: Output) -> int:
    found = find_run(options.id)
    out.say(f"Run {found.pk}: {found.title.lower()} on {found.target_id}. {found.reason}", style="bold")
    return following.watch(found, out) if options.follow else following.look(found, out)
