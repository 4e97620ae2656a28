"""Checklists as text that a person edits, and the publishing of a new version.

    ## Backup
    - [machine: backup_verified] Backup verified
    - Stakeholders told
    - [optional] Incident report written
    - [role: DBA] Database signed off

A line that begins with ``##`` begins a block; one that begins with ``-`` is an item. Empty lines do not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction

from memops.console import characters
from memops.console.audit import record, record_or_log
from memops.console.errors import ChecklistChanged, ChecklistWrong, NotASigner
from memops.console.models import ChecklistItem, ChecklistTemplate, Run
from memops.console.runs import evidence
from memops.console.runs.request import key_of, readable_note

MAY_PUBLISH = "memops_console.publish_checklisttemplate"

LONGEST_TEXT = 60_000
LONGEST_LINE = 300
LONGEST_BLOCK = 120
MOST_ITEMS = 200
MOST_PROBLEMS = 20

MARK = re.compile(r"\[\s*(?:(optional)|(machine|role)\s*:\s*([^\[\]]+?))\s*\]\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Line:
    """An item as it was typed."""

    block: str
    text: str
    machine: str = ""
    role: str = ""
    required: bool = True


def newest(kind: str) -> ChecklistTemplate | None:
    return ChecklistTemplate.objects.filter(kind=kind).order_by("-version").first()


def by_kind() -> list[tuple[str, str, list[ChecklistTemplate]]]:
    """Every kind of run, its name, and the versions of its checklist, the newest first."""
    versions = list(ChecklistTemplate.objects.all())
    return [(kind, label, [one for one in versions if one.kind == kind]) for kind, label in Run.Kind.choices]


def as_text(template: ChecklistTemplate | None) -> str:
    """The text that ``parse`` reads; a version and its text say the same."""
    lines: list[str] = []
    block = ""
    for item in template.items.all() if template else ():
        if item.block != block:
            block = item.block
            lines += ["", f"## {block}"] if lines else [f"## {block}"]
        marks = "" if item.required else "[optional] "
        marks += f"[machine: {item.machine}] " if item.machine else f"[role: {item.role}] " if item.role else ""
        lines.append(f"- {marks}{item.text}")
    return "\n".join(lines) + "\n" if lines else ""


def parse(kind: str, text: str) -> list[Line]:
    """Raises ChecklistWrong with everything that is wrong, by line."""
    if len(text) > LONGEST_TEXT:
        raise _wrong([f"It has more than {LONGEST_TEXT:,} characters."])
    problems: list[str] = []
    found: list[Line] = []
    block = ""
    groups = set(Group.objects.values_list("name", flat=True))
    blocks: set[str] = set()
    for number, typed in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        line = " ".join(typed.split(" ")).strip()
        wrong = ""
        if hidden := characters.hidden(line, lines=False):
            wrong = f"it has characters that do not show: {hidden}."
        elif line.startswith("##"):
            block = line.removeprefix("##").strip()
            wrong = _wrong_block(block, blocks)
            blocks.add(block)
        elif line.startswith("-"):
            item, wrong = _item(kind, block, line.removeprefix("-").strip(), groups)
            if not wrong and any((one.block, one.text) == (item.block, item.text) for one in found):
                wrong = "the same item stands in this block already."
            found.append(item)
        elif line:
            wrong = "it begins neither with ## (a block) nor with - (an item)."
        if wrong:
            problems.append(f"Line {number}: {wrong}")
    if not found and not problems:
        problems.append("It has no item.")
    if len(found) > MOST_ITEMS:
        problems.append(f"It has {len(found)} items; {MOST_ITEMS} are the most.")
    if problems:
        raise _wrong(problems)
    return found


def publish(kind: str, text: str, *, by: User, note: str = "", based_on: int) -> ChecklistTemplate:
    """Make what was typed the next version. ``based_on`` is the version that was edited, 0 where there was none.

    Raises NotASigner, ChecklistWrong, ChecklistChanged, ReasonUnreadable, AuditUnwritable.
    """
    name = by.get_username()
    if not by.is_active or not by.has_perm(MAY_PUBLISH):
        raise NotASigner(name=name, what="publish checklists")
    if kind not in Run.Kind.values:
        raise _wrong(["There is no such kind of run."])
    note = readable_note(note)
    lines = parse(kind, text)
    _demand_newest(kind, based_on)
    record("checklist.publish_asked", actor=name, kind=kind, based_on=based_on, items=len(lines), note=note)
    try:
        with transaction.atomic():
            made = ChecklistTemplate.objects.create(
                kind=kind,
                version=based_on + 1,
                items_total=len(lines),
                author=by,
                author_key=key_of(by),
                author_name=name,
                note=note,
            )
            ChecklistItem.objects.bulk_create(
                ChecklistItem(
                    template=made,
                    number=number,
                    block=line.block,
                    text=line.text,
                    machine=line.machine,
                    role=line.role,
                    required=line.required,
                )
                for number, line in enumerate(lines, 1)
            )
    except IntegrityError:
        _demand_newest(kind, based_on)
        raise
    record_or_log(
        "checklist.published", actor=name, object_type="checklisttemplate", object_id=made.pk, kind=kind,
        version=made.version,
    )  # fmt: skip
    made.refresh_from_db()
    return made


def _wrong(problems: list[str]) -> ChecklistWrong:
    more = len(problems) - MOST_PROBLEMS
    return ChecklistWrong(each=[*problems[:MOST_PROBLEMS], *([f"And {more} more."] if more > 0 else [])])


def _demand_newest(kind: str, based_on: int) -> None:
    now = newest(kind)
    if (now.version if now else 0) != based_on:
        raise ChecklistChanged(version=now.version if now else 0, by=now.author_name if now else "nobody")


def _wrong_block(block: str, blocks: set[str]) -> str:
    if not block:
        return "a block needs a name after ##."
    if len(block) > LONGEST_BLOCK:
        return f"the name of a block has at most {LONGEST_BLOCK} characters."
    return "there is a block of this name already." if block in blocks else ""


def _item(kind: str, block: str, rest: str, groups: set[str]) -> tuple[Line, str]:
    """The item of a line, and what is wrong with it."""
    machine = role = wrong = ""
    required = True
    while mark := MARK.match(rest):
        rest = rest[mark.end() :]
        match (mark[1] or mark[2]).lower():
            case "optional":
                required = False
            case "machine":
                machine = mark[3]
            case "role":
                role = mark[3]
    line = Line(block=block, text=rest, machine=machine, role=role, required=required)
    if not block:
        wrong = "an item needs a block (##) above it."
    elif not rest:
        wrong = "an item needs a text."
    elif len(rest) > LONGEST_LINE:
        wrong = f"the text of an item has at most {LONGEST_LINE} characters."
    elif rest.startswith("["):
        wrong = "what stands in brackets is one of [optional], [machine: NAME], [role: GROUP]."
    elif machine and role:
        wrong = "an item is ticked by a machine check or signed in a role, not both."
    elif machine and machine not in evidence.names_for(kind):
        known = ", ".join(evidence.names_for(kind)) or "none"
        wrong = f"there is no such machine check for this kind of run; there are: {known}."
    elif role and role not in groups:
        wrong = "there is no group of that name, so nobody could sign it."
    return line, wrong
