"""``memops lift NAME``, ``memops lift --backup ID``: a hold is over."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.hold import add_arguments, held_by, kind_of
from memops.console.commands.output import Output
from memops.console.runs import holds

HELP = "lift a hold from a quarantined table or a backup"


def configure(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--reason", required=True, help="why it may go; it is kept")


def run(options: argparse.Namespace, out: Output) -> int:
    what = held_by(options)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        hold = holds.lift(what, kind=kind_of(options), by=user, reason=options.reason)
    others = holds.standing(what)
    left = f" It stays all the same: {'. '.join(map(str, others))}." if others else ""
    out.say(f"The {hold.kind} hold on {holds.called(what)} on {what.target_id} is lifted.{left}")
    out.result(hold=records.hold(hold))
    return Exit.DONE
