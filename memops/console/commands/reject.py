"""``memops reject RUN``: refuse what somebody else asked for."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import approvals

HELP = "reject a run that somebody else asked for"


def configure(parser: argparse.ArgumentParser) -> None:
    person.add_arguments(parser)
    parser.add_argument("--comment", required=True, help="why; kept with the decision")


def run(options: argparse.Namespace, out: Output) -> int:
    found = find_run(options.id)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        approvals.reject(found, by=user, comment=options.comment)
    out.say(f"{user.get_username()} has rejected run {found.pk}. Nothing was changed.")
    out.result(run=records.described(found))
    return Exit.DONE
