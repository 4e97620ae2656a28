"""``memops procedure``: whom to call, when the rollback was last rehearsed, and who stands for it."""

from __future__ import annotations

import argparse
from typing import Any

from memops.console.commands import Exit
from memops.console.commands.output import Output
from memops.console.models import Contact
from memops.console.runs.procedure import Procedure, procedure
from memops.console.units import moment

HELP = "whom to call, when the rollback was last rehearsed, and who approved the procedure"


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace, out: Output) -> int:
    found = procedure()
    out.facts(_facts(found))
    if found.contacts:
        out.say()
        out.table(["", "Call", "Role", "Reached by", "Note"], [_line(contact) for contact in found.contacts])
    for sentence in found.overdue:
        out.say(f"  Warning: {sentence}", style="yellow")
    out.result(
        contacts=[
            {
                "position": contact.position,
                "name": contact.name,
                "role": contact.role,
                "reached_by": contact.reached_by,
                "note": contact.note,
            }
            for contact in found.contacts
        ],
        rehearsal={
            "run": found.rehearsal.undoes_id,
            "undone_by": found.rehearsal.pk,
            "target": found.rehearsal.target_id,
            "at": found.rehearsed_at,
            "due": found.rehearsal_due,
        }
        if found.rehearsal
        else None,
        review={
            "approved_by": found.review.approver_name,
            "role": found.review.role,
            "approved_at": found.review.approved_at,
            "next_due": found.review.next_due,
            "note": found.review.note,
        }
        if found.review
        else None,
        overdue=found.overdue,
    )
    return Exit.FAILED if found.overdue else Exit.DONE


def _facts(found: Procedure) -> dict[str, Any]:
    facts = {"Last rehearsed": "never", "Approved by": "nobody"}
    if found.rehearsal:
        facts["Last rehearsed"] = (
            f"{moment(found.rehearsed_at)}, on {found.rehearsal.target_id}: run {found.rehearsal.undoes_id} rolled"
            f" back, run {found.rehearsal.pk} undid it; due again {found.rehearsal_due}"
        )
    if found.review:
        facts["Approved by"] = (
            f"{found.review.approver_name} ({found.review.role}), {moment(found.review.approved_at)};"
            f" next review due {found.review.next_due}"
        )
    return facts


def _line(contact: Contact) -> list[Any]:
    return [contact.position, contact.name, contact.role, contact.reached_by, contact.note]
