"""``memops close RUN``: close a run whose checklist is signed."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import signing

HELP = "close a run whose checklist is signed"


def configure(parser: argparse.ArgumentParser) -> None:
    person.add_arguments(parser)
    parser.add_argument("--note", default="", help="kept with the closing")


def run(options: argparse.Namespace, out: Output) -> int:
    found = find_run(options.id)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        signing.close(found, by=user, note=options.note)
    out.say(f"{user.get_username()} has closed run {found.pk}.")
    out.result(run=records.described(found))
    return Exit.DONE
