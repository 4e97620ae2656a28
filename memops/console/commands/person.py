"""Who decides on the command line: a person of the console, by name and password. The account does not say enough."""

from __future__ import annotations

import argparse
import getpass
import sys

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from memops.console import audit
from memops.console.audit.acting import Acting
from memops.console.audit.listeners import UNKNOWN
from memops.console.errors import NotSignedIn

LONGEST_PASSWORD = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", type=int, help="the number of the run")
    parser.add_argument("--as", dest="person", metavar="NAME", required=True, help="your name in the console")
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input instead of asking for it"
    )


def signed_in(options: argparse.Namespace) -> User:
    """The person, after the password was typed. It is never an argument: others see those. Raises NotSignedIn."""
    try:
        if options.password_stdin or not sys.stdin.isatty():
            password = sys.stdin.readline(LONGEST_PASSWORD).rstrip("\r\n")
        else:
            password = getpass.getpass(f"Password of {options.person}: ")
    except (EOFError, KeyboardInterrupt):
        password = ""
    if "\0" in options.person or len(options.person) > audit.LONGEST_NAME:
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
    return found


def acting_as(user: User) -> Acting:
    return Acting(actor=user.get_username())
