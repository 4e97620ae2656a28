"""``memops withdraw RUN``: take a request back that nobody has started."""

from __future__ import annotations

import argparse

from memops.console.commands import Exit, following, records
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import approvals

HELP = "take back a request that awaits approval"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", type=number, help="the number of the run")
    parser.add_argument("--comment", default="", help="why; kept with the run")


def run(options: argparse.Namespace, out: Output) -> int:
    withdrawn = approvals.withdraw(find_run(options.id), requester=following.requester(), comment=options.comment)
    out.say(f"Run {withdrawn.pk} is withdrawn. Nothing was changed.")
    out.result(run=records.described(withdrawn))
    return Exit.DONE
