"""``memops seed``: demo data into memory_chunks."""

from __future__ import annotations

import argparse
import time

from django.conf import settings

from memops import demo
from memops.console.commands import Exit
from memops.console.commands.arguments import between
from memops.console.commands.output import Output
from memops.console.errors import ConfirmationMissing
from memops.console.runs import history, targets
from memops.console.units import duration, size

HELP = "add demo data: sealed texts of Python's own documentation, for many tenants"

BETWEEN_PROGRESS_SECONDS = 2.0

rows = between(1, 100_000_000)
tenants = between(1, 100_000)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", default="default", metavar="ALIAS", help="the target (default: default)")
    parser.add_argument("--rows", type=rows, default=10_000, help="how many rows (default: 10000)")
    parser.add_argument("--tenants", type=tenants, default=40, help="for how many tenants (default: 40)")
    parser.add_argument("--confirm", metavar="ALIAS", help="the target's name, if it is not the embedded server")


def run(options: argparse.Namespace, out: Output) -> int:
    targets.get(options.target)
    is_embedded = settings.MEMOPS_EMBEDDED and options.target == "default"
    if options.confirm != options.target and not (is_embedded and options.confirm is None):
        raise ConfirmationMissing(
            target=options.target, what=f"--confirm {options.target}, since invented rows are added"
        )
    history.notice(options.target)  # A target that is away says so here.
    loaded = load(options.target, rows=options.rows, tenants=options.tenants, out=out)
    out.result(
        target=options.target,
        rows=loaded.rows,
        tenants=loaded.tenants,
        table_bytes=loaded.table_bytes,
        seconds=loaded.took.total_seconds(),
    )
    return Exit.DONE


def load(alias: str, *, rows: int, tenants: int, out: Output) -> demo.Loaded:
    """Load demo data, and tell how far it is."""
    told_at = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal told_at
        if done == of:
            out.say(f"  {done:,} of {of:,} rows; building the index", style="dim")
        elif time.monotonic() - told_at > BETWEEN_PROGRESS_SECONDS:
            told_at = time.monotonic()
            out.say(f"  {done:,} of {of:,} rows", style="dim")

    out.say(f"Adding {rows:,} demo memories to {alias}.")
    loaded = demo.load(alias, rows=rows, tenants=tenants, progress=tell)
    out.say(
        f"{loaded.rows:,} rows of {loaded.tenants} tenants in {duration(loaded.took)};"
        f" the table has {size(loaded.table_bytes)}."
    )
    return loaded
