"""``memops approve RUN``: agree to what somebody else asked for."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import approvals

HELP = "approve a run that somebody else asked for"


def configure(parser: argparse.ArgumentParser) -> None:
    person.add_arguments(parser)
    parser.add_argument("--comment", default="", help="kept with the approval")


def run(options: argparse.Namespace, out: Output) -> int:
    found = find_run(options.id)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        approvals.approve(found, by=user, comment=options.comment)
    missing = approvals.standing(found).missing
    out.say(f"{user.get_username()} has approved run {found.pk}.", style="bold")
    out.say(f"It needs {missing} more." if missing else f"It can be started: manage.py memops start {found.pk}")
    out.result(run=records.described(found))
    return Exit.DONE
