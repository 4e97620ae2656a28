"""``memops sign RUN ITEM``: stand for an item of a run's checklist, or set it aside with a reason."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import checklists, signing

HELP = "sign an item of a run's checklist, or set it aside"


def configure(parser: argparse.ArgumentParser) -> None:
    person.add_arguments(parser)
    parser.add_argument("item", metavar="ITEM", type=number, help="the number of the item: memops checklist RUN")
    parser.add_argument("--role", default="", help="the group of yours in whose name you sign")
    parser.add_argument("--note", default="", help="what you saw; kept with the sign-off")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--not-applicable", metavar="REASON", help="it does not apply to this run")
    instead.add_argument("--accept", metavar="REASON", help="accept a machine item that its evidence does not prove")


def run(options: argparse.Namespace, out: Output) -> int:
    found = find_run(options.id)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        if options.not_applicable is not None:
            said = signing.not_applicable(
                found, options.item, by=user, role=options.role, reason=options.not_applicable
            )
        elif options.accept is not None:
            said = signing.accept(found, options.item, by=user, role=options.role, reason=options.accept)
        else:
            said = signing.sign(found, options.item, by=user, role=options.role, note=options.note)
    out.say(f"Item {said.item.number} ({said.item.text}): {said.get_decision_display().lower()} by {said.signer_name}.")
    out.say(f"Run {found.pk} is {checklists.words(found)}.")
    out.result(run=found.pk, item=said.item.number, signoff=records.sign_off(said), checklist=checklists.words(found))
    return Exit.DONE
