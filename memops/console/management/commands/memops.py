"""``manage.py memops VERB``: the console on the command line."""

from __future__ import annotations

import importlib
import logging
import sys
from argparse import Namespace
from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, connections
from psycopg.errors import UndefinedTable

from memops.console.commands import Exit
from memops.console.commands.arguments import demand_texts, tells_briefly
from memops.console.commands.output import Output, told
from memops.console.errors import (
    ConsoleError,
    OutcomeUnknown,
    RecordsMissing,
    RecordsUnreachable,
    Refused,
    UsageError,
)
from memops.errors import DataPlaneError

VERBS = (
    "up",
    "demo",
    "status",
    "plan",
    "rollback",
    "undo",
    "purge",
    "hold",
    "lift",
    "backup",
    "verify-backup",
    "expire-backups",
    "restore",
    "runs",
    "run",
    "approve",
    "reject",
    "revoke",
    "withdraw",
    "start",
    "review",
    "checklist",
    "sign",
    "reopen",
    "close",
    "checklist-template",
    "cancel",
    "reconcile",
    "procedure",
    "second-factor",
    "audit",
    "sql",
    "seed",
)


class Command(BaseCommand):
    help = "Roll back memory_chunks without losing a row, prove it, and undo it."

    def add_arguments(self, parser: CommandParser) -> None:
        tells_briefly(parser)
        self.parsers: dict[str, CommandParser] = {}
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        for name in VERBS:
            verb = _module(name)
            taking = verbs.add_parser(name, help=verb.HELP, description=f"{verb.HELP[0].upper()}{verb.HELP[1:]}.")
            taking.add_argument("--json", action="store_true", help="print one JSON object; see docs/json.md")
            verb.configure(taking)
            tells_briefly(taking)
            self.parsers[name] = taking

    def handle(self, *args: Any, **options: Any) -> None:
        out = Output(as_json=options["json"])
        if options["verbosity"] < 2:
            # What a run does here is shown step by step; its log lines say the same for a worker's log.
            for name in ("memops.run", "django-q"):
                logging.getLogger(name).setLevel(logging.WARNING)
        try:
            demand_texts(self.parsers[options["verb"]], options)
            code = _module(options["verb"]).run(Namespace(**options), out)
        except (ConsoleError, DataPlaneError) as error:
            code = self._tell(error, str(error), out)
        except DatabaseError as error:
            # Its own words could quote an address or a value; the kind of error is enough.
            told = RecordsMissing if isinstance(error.__cause__, UndefinedTable) else RecordsUnreachable
            away = told(problem=type(error.__cause__ or error).__name__)
            code = self._tell(away, str(away), out)
        except KeyboardInterrupt:
            # A run that was interrupted has been told by whoever followed it.
            out.say("Interrupted. Nothing is left half done: the same command begins again.", style="yellow")
            code = Exit.INTERRUPTED
        finally:
            connections.close_all()
        if code:
            sys.exit(code)

    def _tell(self, error: Exception, text: str, out: Output) -> int:
        told(text)
        out.result(error={"kind": type(error).__name__, "message": text})
        if isinstance(error, UsageError):
            return Exit.USAGE
        if isinstance(error, OutcomeUnknown):
            return Exit.UNKNOWN
        return Exit.REFUSED if isinstance(error, Refused) else Exit.FAILED


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"memops.console.commands.{verb.replace('-', '_')}")
