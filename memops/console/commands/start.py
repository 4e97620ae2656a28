"""``memops start RUN``: begin a run that enough people have approved, and see it through."""

from __future__ import annotations

import argparse

from memops.console.commands import following
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import approvals

HELP = "start a run that is approved"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", type=number, help="the number of the run")
    following.add_detach(parser)


def run(options: argparse.Namespace, out: Output) -> int:
    started = approvals.start(find_run(options.id), requester=following.requester())
    return following.queued(started, detach=options.detach, out=out)
