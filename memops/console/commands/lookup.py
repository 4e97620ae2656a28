"""Find what a number or a name on the command line stands for."""

from __future__ import annotations

from memops.console.characters import quoted
from memops.console.errors import NoSuchBackup, NoSuchQuarantinedTable, NoSuchRun
from memops.console.models import Backup, QuarantinedTable, Run

HIGHEST_ID = 2**63 - 1


def find_run(number: int, *, target: str | None = None) -> Run:
    """Raises NoSuchRun."""
    found = Run.objects.select_related("target").filter(pk=number).first() if 0 < number <= HIGHEST_ID else None
    if found is None:
        raise NoSuchRun(run=number, where="")
    if target is not None and found.target_id != target:
        raise NoSuchRun(run=number, where=f' on the target "{quoted(target)}": it is on "{found.target_id}"')
    return found


def find_backup(number: int, *, target: str | None = None) -> Backup:
    """Raises NoSuchBackup."""
    found = Backup.objects.filter(pk=number).first() if 0 < number <= HIGHEST_ID else None
    if found is None:
        raise NoSuchBackup(backup=number, where="")
    if target is not None and found.target_id != target:
        raise NoSuchBackup(backup=number, where=f' of the target "{quoted(target)}": it is of "{found.target_id}"')
    return found


def find_quarantined(name: str, *, target: str, or_gone: bool = False) -> QuarantinedTable:
    """By its name, with or without the schema; ``or_gone``: also one that is not there any more. Raises
    NoSuchQuarantinedTable."""
    bare = name.removeprefix("memops_quarantine.")
    tables = QuarantinedTable.objects.filter(target=target, name=bare)
    found = tables.filter(state=QuarantinedTable.State.KEPT).first() or (tables.first() if or_gone else None)
    if found is None:
        raise NoSuchQuarantinedTable(target=target, name=quoted(name))
    return found
