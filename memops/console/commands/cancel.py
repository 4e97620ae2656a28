"""``memops cancel RUN``: take back a run that no worker has claimed."""

from __future__ import annotations

import argparse

from memops.console.commands import Exit, following, records
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import request

HELP = "cancel a queued run"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", type=number, help="the number of the run")


def run(options: argparse.Namespace, out: Output) -> int:
    cancelled = request.cancel(find_run(options.id), requester=following.requester())
    out.say(f"Run {cancelled.pk} is cancelled. Nothing was changed.")
    out.result(run=records.described(cancelled))
    return Exit.DONE
