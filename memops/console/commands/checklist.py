"""``memops checklist RUN``: what has to hold before a run is closed, and what is open of it."""

from __future__ import annotations

import argparse

from memops.console.commands import Exit, records
from memops.console.commands.arguments import number
from memops.console.commands.lookup import find_run
from memops.console.commands.output import Output
from memops.console.models import Run
from memops.console.runs import checklists
from memops.console.runs.checklists import ItemStanding, Standing
from memops.console.units import moment

HELP = "the checklist of a run; exit code 1 until it is closed"

STYLES = {"passed": "green", "signed": "green", "failed": "red", "accepted": "yellow", "reopened": "yellow"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", type=number, help="the number of the run")


def run(options: argparse.Namespace, out: Output) -> int:
    found = find_run(options.id)
    standing = checklists.standing(found)
    if standing is None:
        out.say(f"Run {found.pk} has no checklist: it is closed by its end.")
        out.result(checklist=None)
        return Exit.DONE
    show(standing, out)
    out.result(checklist=records.checklist(standing))
    return Exit.FAILED if checklists.is_due(found) and not standing.is_closed else Exit.DONE


def show(standing: Standing, out: Output) -> None:
    run = standing.run
    out.say(f"Run {run.pk}: {run.title.lower()} on {run.target_id}: {_now(run)}.", style="bold")
    for block, items in standing.blocks:
        out.say()
        out.say(block, style="bold")
        for one in items:
            out.say(f"  {one.item.number:>3}  {one.word:<24}  {_line(one)}", style=STYLES.get(one.state, ""))
            for said in one.said:
                role = f" as {said.role}" if said.role else ""
                by = "" if said.is_machine else f" by {said.signer_name}{role}"
                note = f": {said.note}" if said.note else ""
                out.say(f"         {said.get_decision_display()}{by}, {moment(said.at)}{note}")
    for closing in standing.closings:
        note = f": {closing.note}" if closing.note else ""
        out.say()
        out.say(f"{closing.get_decision_display()} by {closing.person_name}, {moment(closing.at)}{note}")


def _now(run: Run) -> str:
    return checklists.words(run) or "it has not ended, and is signed for when it has"


def _line(one: ItemStanding) -> str:
    item = one.item
    asks = f" (signed by: {item.role})" if item.role else ""
    return f"{item.text}{asks}{'' if item.required else ' (optional)'}"
