"""``memops reopen RUN ITEM``: take an item of a checklist back to open; a closed run is reopened by it."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import checklists, signing

HELP = "reopen an item of a run's checklist, and the run if it was closed"


def configure(parser: argparse.ArgumentParser) -> None:
    person.add_arguments(parser)
    parser.add_argument("item", metavar="ITEM", type=number, help="the number of the item: memops checklist RUN")
    parser.add_argument("--reason", required=True, help="why it is open again; it is kept")


def run(options: argparse.Namespace, out: Output) -> int:
    found = find_run(options.id)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        said = signing.reopen(found, options.item, by=user, reason=options.reason)
    out.say(f"Item {said.item.number} ({said.item.text}) is open again. Run {found.pk} is {checklists.words(found)}.")
    out.result(run=found.pk, item=said.item.number, signoff=records.sign_off(said), checklist=checklists.words(found))
    return Exit.DONE
