"""``memops review RUN``: look at a run that somebody else started without approvals, and say so."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import approvals

HELP = "review a run that was started without approvals"


def configure(parser: argparse.ArgumentParser) -> None:
    person.add_arguments(parser)
    parser.add_argument("--note", required=True, help="what you looked at, and what follows from it")


def run(options: argparse.Namespace, out: Output) -> int:
    found = find_run(options.id)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        approvals.review(found, by=user, note=options.note)
    out.say(f"{user.get_username()} has reviewed run {found.pk}. {found.target_id} takes new runs again.")
    out.result(run=records.described(found))
    return Exit.DONE
