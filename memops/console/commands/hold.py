"""``memops hold NAME``, ``memops hold --backup ID``: something has to stay, whatever its age."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_backup, find_quarantined
from memops.console.commands.output import Output
from memops.console.errors import WhatToHold
from memops.console.models import Hold
from memops.console.runs import holds, targets
from memops.console.runs.holds import Held

HELP = "put a hold on a quarantined table or a backup: nothing drops or deletes it as long as it stands"


def configure(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--reason", required=True, help="why it has to stay; it is kept")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What holding and lifting take."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the quarantined table: memops status lists them")
    parser.add_argument("--backup", metavar="ID", type=number, help="a backup instead")
    parser.add_argument("--target", default="default", metavar="ALIAS", help="the target (default: default)")
    parser.add_argument("--legal", action="store_true", help="a legal hold; a manual one stands beside it")
    person.add_person(parser)


def held_by(options: argparse.Namespace) -> Held:
    """What the hold is on. Raises WhatToHold, NoSuchBackup, NoSuchQuarantinedTable, UnknownTarget."""
    if (options.name is None) == (options.backup is None):
        raise WhatToHold()
    if options.backup is not None:
        return find_backup(options.backup)
    targets.get(options.target)
    return find_quarantined(options.name, target=options.target, or_gone=True)


def kind_of(options: argparse.Namespace) -> Hold.Kind:
    return Hold.Kind.LEGAL if options.legal else Hold.Kind.MANUAL


def run(options: argparse.Namespace, out: Output) -> int:
    what = held_by(options)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        hold = holds.put(what, kind=kind_of(options), by=user, reason=options.reason)
    out.say(f"{holds.called(what)} on {what.target_id} is under a {hold.kind} hold: nothing drops or deletes it.")
    out.result(hold=records.hold(hold))
    return Exit.DONE
