"""``memops second-factor NAME``: what somebody has, and its removal by whoever has this machine."""

from __future__ import annotations

import argparse

from django.contrib.auth.models import User

from memops.console import second_factor
from memops.console.audit.acting import account
from memops.console.characters import quoted
from memops.console.commands import Exit
from memops.console.commands.output import Output
from memops.console.errors import NoSuchPerson
from memops.console.units import moment

HELP = "the second factor of a person; --reset removes it"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the person's name in the console")
    parser.add_argument(
        "--reset", action="store_true", help="remove device and recovery codes: the next sign-in sets up new ones"
    )


def run(options: argparse.Namespace, out: Output) -> int:
    person = User.objects.filter(username=options.name).first()
    if person is None:
        raise NoSuchPerson(name=quoted(options.name))
    if options.reset:
        second_factor.remove(person, by=account())
        out.say(f"The second factor of {person} is removed. They set one up at the next sign-in.", style="bold")
    found = second_factor.standing(person)
    if found is not None:
        used = moment(found.last_used) if found.last_used else "never"
        out.say(f"{person} set up a second factor at {moment(found.since)}; last used: {used}.")
        out.say(f"{found.recovery_codes_left} recovery codes are left.")
    elif not options.reset:
        wanted = "sets one up at the next sign-in" if second_factor.is_asked_of(person) else "is not asked for one"
        out.say(f"{person} has no second factor, and {wanted}.")
    out.result(
        name=person.get_username(),
        asked=second_factor.is_asked_of(person),
        since=found and found.since,
        last_used=found and found.last_used,
        recovery_codes_left=found.recovery_codes_left if found else 0,
    )
    return Exit.DONE
