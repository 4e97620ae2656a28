"""Who decides on the command line: a person of the console, by name and password. The account does not say enough."""

from __future__ import annotations

import argparse
import getpass
import sys

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from memops.console import audit, second_factor
from memops.console.audit.acting import Acting
from memops.console.audit.listeners import UNKNOWN
from memops.console.characters import is_text, shown
from memops.console.commands.arguments import number
from memops.console.errors import NotSignedIn

LONGEST_PASSWORD = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", type=number, help="the number of the run")
    add_person(parser)


def add_person(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="person", metavar="NAME", required=True, help="your name in the console")
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from standard input instead of asking for it; a second line is the code, where the "
        "console wants one",
    )


def signed_in(options: argparse.Namespace) -> User:
    """The person, after password and code were typed. They are never arguments: others see those.

    Raises NotSignedIn, NoSecondFactor, CodeUnreadable, CodeWrong, CodesThrottled, AuditUnwritable.
    """
    password = _typed(options, f"Password of {options.person}: ")
    if len(options.person) > audit.LONGEST_NAME or not is_text(password):
        audit.record_or_log("sign_in.failed", actor=UNKNOWN)
        raise NotSignedIn()
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = "127.0.0.1"
    request.method, request.path = "POST", "memops"
    try:
        found = authenticate(request, username=options.person, password=password)
    except PermissionDenied:
        found = None
    if not isinstance(found, User):
        raise NotSignedIn()
    if second_factor.is_asked_of(found):
        second_factor.verify(
            found, _typed(options, f"Code of {options.person}: ") if second_factor.has_one(found) else ""
        )
    return found


def _typed(options: argparse.Namespace, question: str) -> str:
    try:
        if options.password_stdin or not sys.stdin.isatty():
            line = sys.stdin.readline(LONGEST_PASSWORD + 1)
            # The rest of a line that is longer would be taken for the code.
            return line.rstrip("\r\n") if len(line) <= LONGEST_PASSWORD else ""
        return getpass.getpass(shown(question))
    except (EOFError, KeyboardInterrupt, UnicodeDecodeError):
        return ""


def acting_as(user: User) -> Acting:
    return Acting(actor=user.get_username())
