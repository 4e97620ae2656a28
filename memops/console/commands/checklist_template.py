"""``memops checklist-template KIND``: the newest checklist of a kind of run as text; ``--import`` makes the next."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from memops.console.audit.acting import acting
from memops.console.characters import quoted
from memops.console.commands import Exit, person
from memops.console.commands.arguments import file, number
from memops.console.commands.output import Output
from memops.console.errors import ChecklistUnreadable
from memops.console.models import Run
from memops.console.runs import checklist_templates

HELP = "print the checklist of a kind of run, or publish a new version of it"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", choices=Run.Kind.values, help=", ".join(Run.Kind.values))
    parser.add_argument(
        "--import", dest="file", metavar="FILE", type=file, help="publish this file as the next version"
    )
    parser.add_argument("--note", default="", help="what is new, and why; kept with the version")
    parser.add_argument(
        "--based-on", metavar="VERSION", type=number, help="refuse if this is not the newest version any more"
    )
    parser.add_argument("--as", dest="person", metavar="NAME", default="", help="your name in the console, to publish")
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input instead of asking for it"
    )


def run(options: argparse.Namespace, out: Output) -> int:
    newest = checklist_templates.newest(options.kind)
    if options.file is None:
        text = checklist_templates.as_text(newest)
        out.lines(text.rstrip() if newest else f"There is no checklist for a {options.kind}.")
        out.result(kind=options.kind, version=newest.version if newest else 0, text=text)
        return Exit.DONE
    text = _read(options.file)
    user = person.signed_in(options)
    with acting(person.acting_as(user)):
        made = checklist_templates.publish(
            options.kind,
            text,
            by=user,
            note=options.note,
            based_on=(newest.version if newest else 0) if options.based_on is None else options.based_on,
        )
    out.say(f"Version {made.version} of the checklist of a {options.kind} is published: {made.items_total} items.")
    out.result(kind=made.kind, version=made.version, text=checklist_templates.as_text(made))
    return Exit.DONE


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as opened:
            return opened.read(checklist_templates.LONGEST_TEXT + 1)
    except OSError as error:
        raise ChecklistUnreadable(file=quoted(str(path)), problem=os.strerror(error.errno or 0)) from error
    except UnicodeDecodeError as error:
        raise ChecklistUnreadable(file=quoted(str(path)), problem="it is not UTF-8 text") from error
