"""Who may do what. Every button, action and view asks here, with the object where there is one."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest

from memops.console.models import Run
from memops.console.runs import checklist_templates, holds, signing
from memops.console.runs.request import Requester

ROLL_BACK = "memops_console.rollback_target"
UNDO = "memops_console.undo_target"
BACK_UP = "memops_console.backup_target"
PURGE = "memops_console.purge_target"
EXPIRE = "memops_console.expire_target"
HOLD = holds.MAY_HOLD
RESTORE = "memops_console.restore_target"
APPROVE = "memops_console.approve_run"
START = "memops_console.start_run"
BREAK_GLASS = "memops_console.break_glass_run"
SIGN = signing.MAY_SIGN
CLOSE = signing.MAY_CLOSE
PUBLISH = checklist_templates.MAY_PUBLISH

WORDS = {
    ROLL_BACK: "Can roll back memory_chunks on a target",
    UNDO: "Can undo a rollback on a target",
    BACK_UP: "Can back up memory_chunks and verify backups",
    PURGE: "Can ask for the purge of quarantined tables on a target",
    EXPIRE: "Can delete backups of a target whose time is over",
    HOLD: "Can put holds on what is kept of a target, and lift them",
    RESTORE: "Can restore memory_chunks from a backup",
    APPROVE: "Can approve or reject what others asked for, and review what nobody approved",
    START: "Can start runs that are approved",
    BREAK_GLASS: "Can start a run without its approvals",
    SIGN: "Can sign off items of a run's checklist, set them aside and reopen them",
    CLOSE: "Can close runs whose checklist is signed",
    PUBLISH: "Can publish new versions of the checklists",
}

FOR_KIND = {
    Run.Kind.DEPLOY.value: ROLL_BACK,
    Run.Kind.ROLLBACK.value: ROLL_BACK,
    Run.Kind.UNDO.value: UNDO,
    Run.Kind.BACKUP.value: BACK_UP,
    Run.Kind.VERIFY.value: BACK_UP,
    Run.Kind.PURGE.value: PURGE,
    Run.Kind.RESTORE.value: RESTORE,
}


def may(user: User | AnonymousUser, permission: str, obj: Model | None = None) -> bool:
    """Django's own backend knows only permissions on everything, and answers no as soon as an object is named."""
    return user.has_perm(permission) or (obj is not None and user.has_perm(permission, obj))


def demand(user: User | AnonymousUser, permission: str, obj: Model | None = None) -> None:
    """Raises PermissionDenied, which becomes a page that says what is missing."""
    if not may(user, permission, obj):
        raise PermissionDenied(missing(permission))


def missing(permission: str) -> str:
    """Why somebody cannot do it, and whom to ask."""
    return f"You lack the permission “{WORDS[permission]}”. A superuser can give it to you under Users."


def requester(request: HttpRequest) -> Requester:
    user = request.user
    if not isinstance(user, User):
        raise PermissionDenied("Sign in first.")
    return Requester(name=user.get_username(), user=user, origin=Run.Origin.CONSOLE)
