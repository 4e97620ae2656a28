"""``memops runs``: the history, the newest first."""

from __future__ import annotations

import argparse

from memops.console.commands import Exit, records
from memops.console.commands.arguments import between
from memops.console.commands.output import Output
from memops.console.errors import ConsoleError
from memops.console.models import Run
from memops.console.runs import history, targets
from memops.console.runs.listing import listed

HELP = "the history of runs, the newest first"

MOST = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", metavar="ALIAS", help="of this target alone")
    parser.add_argument("--limit", type=between(1, MOST), default=20, help=f"how many, up to {MOST} (default: 20)")


def run(options: argparse.Namespace, out: Output) -> int:
    asked = targets.sync() if options.target is None else [targets.get(options.target)]
    _take_in([target.alias for target in asked], out)
    found = listed(Run.objects.select_related("quarantined_table", "purges", "glass_review"))
    found = found.prefetch_related("steps", "backups__holds", "quarantined_table__holds", "approvals")
    if options.target is not None:
        found = found.filter(target=options.target)
    shown = list(found[: options.limit])
    out.table(records.COLUMNS, [records.one_line(run) for run in shown])
    out.result(runs=[records.described(run) for run in shown])
    return Exit.DONE


def _take_in(aliases: list[str], out: Output) -> None:
    """What was done by hand belongs to the history too; a target that is away holds up nothing else."""
    for alias in aliases:
        try:
            history.notice(alias)
        except ConsoleError as away:
            out.say(f"What was done by hand on {alias} may be missing here. {away}", style="yellow")
