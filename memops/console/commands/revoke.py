"""``memops revoke RUN``: take one's own approval back, before a worker has claimed the run."""

from __future__ import annotations

import argparse

from memops.console.audit.acting import acting
from memops.console.commands import Exit, person, records
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.runs import approvals

HELP = "take your approval back"


def configure(parser: argparse.ArgumentParser) -> None:
    person.add_arguments(parser)
    parser.add_argument("--comment", required=True, help="why; kept with the approval")


def run(options: argparse.Namespace, out: Output) -> int:
    found = find_run(options.id)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        approvals.revoke(found, by=user, comment=options.comment)
    out.say(f"The approval of {user.get_username()} is taken back. Nothing was started because of it.")
    found.refresh_from_db()
    out.result(run=records.described(found))
    return Exit.DONE
