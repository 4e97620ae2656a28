"""People sign the items of a run's checklist, set them aside, reopen them, and close the run.

What is checked here is checked again by the database (``migrations/checklists.sql``), which also says who came first.
"""

from __future__ import annotations

from functools import partial

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from memops.console.audit import anchors, record, record_or_log
from memops.console.characters import quoted
from memops.console.errors import (
    AlreadyClosed,
    ItemIsOpen,
    ItemIsSettled,
    ItemsAreOpen,
    MachineItem,
    NoChecklist,
    NoSuchItem,
    NotASigner,
    NoteMissing,
    NotInRole,
    RunIsClosed,
    TwoRoles,
)
from memops.console.models import ChecklistItem, Run, RunClosing, SignOff
from memops.console.runs.checklists import Standing, is_due, standing, tick
from memops.console.runs.request import key_of, readable_note

MAY_SIGN = "memops_console.sign_checklist"
MAY_CLOSE = "memops_console.close_run"

NAMED = 5
"""How many open items an error names."""


def sign(run: Run, number: int, *, by: User, role: str = "", note: str = "") -> SignOff:
    """A person stands for an item, in a role that is a group of theirs; an item that asks for a role has it.

    Raises NotASigner, NoChecklist, NoSuchItem, RunIsClosed, ItemIsSettled, MachineItem, NotInRole, TwoRoles,
    ReasonUnreadable, AuditUnwritable.
    """
    return _say(run, number, SignOff.Decision.SIGNED, by=by, role=role, note=note)


def not_applicable(run: Run, number: int, *, by: User, reason: str, role: str = "") -> SignOff:
    """An item does not apply to this run. Raises as ``sign``, and NoteMissing."""
    return _say(run, number, SignOff.Decision.NOT_APPLICABLE, by=by, role=role, note=reason)


def accept(run: Run, number: int, *, by: User, reason: str, role: str = "") -> SignOff:
    """A person accepts a machine item that its evidence does not prove. Raises as ``sign``, and NoteMissing."""
    return _say(run, number, SignOff.Decision.ACCEPTED, by=by, role=role, note=reason)


def reopen(run: Run, number: int, *, by: User, reason: str) -> SignOff:
    """Take an item back to open, whoever had settled it; a closed run is reopened by it. Everything said is kept.

    Raises NotASigner, NoChecklist, NoSuchItem, ItemIsOpen, NoteMissing, ReasonUnreadable, AuditUnwritable.
    """
    return _say(run, number, SignOff.Decision.REOPENED, by=by, role="", note=reason)


def close(run: Run, *, by: User, note: str = "") -> RunClosing:
    """Close a run whose required items are all settled, and anchor the audit trail.

    Raises NotASigner, NoChecklist, ItemsAreOpen, AlreadyClosed, ReasonUnreadable, AuditUnwritable.
    """
    note = readable_note(note)
    name = by.get_username()
    _demand_permission(by, MAY_CLOSE, "close it")
    _demand_closable(run)
    record("run.close_asked", actor=name, run=run)
    try:
        with transaction.atomic():
            closed = RunClosing.objects.create(
                run=run,
                decision=RunClosing.Decision.CLOSED,
                person=by,
                person_key=key_of(by),
                person_name=name,
                note=note,
            )
    except IntegrityError:
        _demand_closable(run)
        raise
    record_or_log("run.closed", actor=name, run=run, note=note)
    anchors.anchor_or_log()
    closed.refresh_from_db()
    return closed


def _say(run: Run, number: int, decision: SignOff.Decision, *, by: User, role: str, note: str) -> SignOff:
    name = by.get_username()
    note = readable_note(note, what="note" if decision == SignOff.Decision.SIGNED else "reason")
    _demand_permission(by, MAY_SIGN, "sign its items")
    item = _find(run, number)
    role = role or item.role
    demand = partial(_demand_sayable, run, item, decision, by=by, role=role)
    demand()
    if not note and decision != SignOff.Decision.SIGNED:
        raise NoteMissing(item=number, run=run.pk)
    record("checklist.asked", actor=name, run=run, item=number, decision=decision.value, role=role, note=note)
    try:
        with transaction.atomic():
            said = SignOff.objects.create(
                run=run,
                item=item,
                decision=decision,
                signer=by,
                signer_key=key_of(by),
                signer_name=name,
                role=role if decision != SignOff.Decision.REOPENED else "",
                note=note,
            )
    except IntegrityError:
        _demand_permission(by, MAY_SIGN, "sign its items")
        demand()
        raise
    record_or_log(f"checklist.{decision}", actor=name, run=run, item=number, role=role, note=note)
    said.refresh_from_db()
    return said


def _demand_permission(by: User, permission: str, what: str) -> None:
    # ``by`` may have been deactivated since it was read.
    if not User.objects.filter(pk=by.pk, is_active=True).exists() or not by.has_perm(permission):
        raise NotASigner(name=by.get_username(), what=what)


def _find(run: Run, number: int) -> ChecklistItem:
    if not is_due(run):
        raise NoChecklist(run=run.pk, why=_why_none(run))
    tick(run)
    known = 0 < number < 2**15
    item = ChecklistItem.objects.filter(template=run.checklist_id, number=number).first() if known else None
    if item is None:
        raise NoSuchItem(item=number, run=run.pk)
    return item


def _why_none(run: Run) -> str:
    if run.checklist_id is None:
        return "it was asked for when its kind of run had no checklist"
    if run.ended_at is None:
        return f"it is {run.get_state_display().lower()}, and is signed for when it has ended"
    return "it changed nothing, so there is nothing to sign for"


def _demand_sayable(run: Run, item: ChecklistItem, decision: SignOff.Decision, *, by: User, role: str) -> None:
    found = standing(run)
    assert found is not None
    one = next(one for one in found.items if one.item.pk == item.pk)
    if decision == SignOff.Decision.REOPENED:
        if not one.is_settled and not found.is_closed:
            raise ItemIsOpen(item=item.number, run=run.pk)
        return
    if found.closing is not None:
        raise RunIsClosed(run=run.pk, by=found.closing.person_name)
    if one.is_settled and one.newest is not None:
        said = one.newest
        raise ItemIsSettled(
            item=item.number, run=run.pk, state=said.get_decision_display().lower(), by=said.signer_name
        )
    if (decision == SignOff.Decision.SIGNED) and item.machine:
        raise MachineItem(item=item.number, run=run.pk, problem="is ticked by evidence, not by hand")
    if decision == SignOff.Decision.ACCEPTED and not item.machine:
        raise MachineItem(item=item.number, run=run.pk, problem="is signed by a person, and needs no evidence")
    if (item.role and role != item.role) or (role and not by.groups.filter(name=role).exists()):
        raise NotInRole(name=by.get_username(), item=item.number, run=run.pk, role=item.role or quoted(role))
    if item.role and (other := _other_role(found, item, by)):
        raise TwoRoles(name=by.get_username(), run=run.pk, role=item.role, other=other)


def _other_role(found: Standing, item: ChecklistItem, by: User) -> str:
    """Another role that the checklist asks for, and that this person has signed in."""
    for one in found.items:
        said = one.newest
        if one.item.role not in ("", item.role) and one.is_settled and said and said.signer_key == key_of(by):
            return one.item.role
    return ""


def _demand_closable(run: Run) -> None:
    found = standing(run) if is_due(run) else None
    if found is None:
        raise NoChecklist(run=run.pk, why=_why_none(run))
    if found.closing is not None:
        raise AlreadyClosed(run=run.pk, by=found.closing.person_name)
    if found.open_items:
        left = [one.item for one in found.items if one.item.required and not one.is_settled]
        named = ", ".join(f"{item.number} ({item.text})" for item in left[:NAMED])
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        raise ItemsAreOpen(run=run.pk, count=found.open_items, items=named + more)
