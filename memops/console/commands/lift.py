"""``memops lift NAME``: a hold on a quarantined table is over."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.hold import add_arguments, kind_of
from memops.console.commands.lookup import find_quarantined
from memops.console.commands.output import Output
from memops.console.runs import holds, targets

HELP = "lift a hold from a quarantined table"


def configure(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--reason", required=True, help="why it may go; it is kept")


def run(options: argparse.Namespace, out: Output) -> int:
    targets.get(options.target)
    table = find_quarantined(options.name, target=options.target, or_gone=True)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        hold = holds.lift(table, kind=kind_of(options), by=user, reason=options.reason)
    others = holds.standing(table)
    left = f" It stays all the same: {'. '.join(map(str, others))}." if others else ""
    out.say(f"The {hold.kind} hold on {table.name} on {table.target_id} is lifted.{left}")
    out.result(hold=records.hold(hold))
    return Exit.DONE
