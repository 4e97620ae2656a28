"""``memops up``: migrations, worker and console in the foreground, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.db.migrations.loader import MigrationLoader

from memops.console import supervisor
from memops.console.checks import people_warnings
from memops.console.commands import Exit
from memops.console.commands.output import Output
from memops.console.runs.overview import TargetState, overview

HELP = "start worker and console in the foreground"


def address(text: str) -> str:
    try:
        parts = urlsplit(f"//{text}")
        usable = parts.hostname and parts.port and parts.netloc == text and "@" not in text
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError("has to be an address and a port, such as 127.0.0.1:8000 or [::1]:8000")
    return text


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        type=address,
        default=settings.MEMOPS_BIND,
        help=f"where the console listens (default: {settings.MEMOPS_BIND})",
    )


def run(options: argparse.Namespace, out: Output) -> int:
    supervisor.refuse_taken(options.bind)
    prepare(out, deploy=settings.MEMOPS_EMBEDDED)
    serve(options.bind, banner=None, out=out)
    return Exit.DONE


def serve(bind: str, *, banner: str | None, out: Output) -> None:
    """Worker and web, until they are asked to stop."""
    os.environ["MEMOPS_BIND"] = bind  # The web server answers to that name.
    supervisor.run_in_foreground(bind=bind, demo_banner=banner, announce=out.lines)


def prepare(out: Output, *, deploy: bool) -> None:
    """Bring the console's own tables up to date; with ``deploy``, make memory_chunks in a database that never had it.

    It is never made over a rollback: that is the operator's to undo.
    """
    for label in sorted(MigrationLoader(None).migrated_apps - {"memops"}):
        call_command("migrate", label, verbosity=0, interactive=False)
    seen = overview("default")
    if seen.state == TargetState.EMPTY and deploy and seen.last_run is None:
        call_command("migrate", "memops", verbosity=0, interactive=False)
        seen = overview("default")
    elif seen.state == TargetState.ROLLED_BACK:
        out.say(
            "memory_chunks is rolled back and stays so. To bring it back:"
            f" manage.py memops undo {seen.quarantined[0].run_id}; for an empty one: manage.py migrate memops.",
            style="yellow",
        )
    elif seen.state == TargetState.EMPTY:
        out.say("memory_chunks is not deployed; that is yours to do: manage.py migrate memops.", style="yellow")
    if seen.problem:
        out.say(seen.problem, style="red")
    for warning in people_warnings():
        out.say(f"{warning.msg} {warning.hint}", style="yellow")
