"""``memops hold NAME``: a quarantined table has to stay, whatever its age."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.lookup import find_quarantined
from memops.console.commands.output import Output
from memops.console.models import Hold
from memops.console.runs import holds, targets

HELP = "put a hold on a quarantined table: no purge drops it as long as it stands"


def configure(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--reason", required=True, help="why it has to stay; it is kept")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What holding and lifting take."""
    parser.add_argument("name", metavar="NAME", help="the quarantined table: memops status lists them")
    parser.add_argument("--target", default="default", metavar="ALIAS", help="the target (default: default)")
    parser.add_argument("--legal", action="store_true", help="a legal hold; a manual one stands beside it")
    person.add_person(parser)


def kind_of(options: argparse.Namespace) -> Hold.Kind:
    return Hold.Kind.LEGAL if options.legal else Hold.Kind.MANUAL


def run(options: argparse.Namespace, out: Output) -> int:
    targets.get(options.target)
    table = find_quarantined(options.name, target=options.target, or_gone=True)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        hold = holds.put(table, kind=kind_of(options), by=user, reason=options.reason)
    out.say(f"{table.name} on {table.target_id} is under a {hold.kind} hold: no purge drops it.")
    out.result(hold=records.hold(hold))
    return Exit.DONE
