"""What each verb is asked for where nothing in it is hostile, and what has to be there before."""

from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.core.management import call_command

from memops.console.models import Run
from memops.console.runs import approvals, checklist_templates, checklists, signing
from memops.console.runs.overview import overviews
from memops.console.runs.request import cancel
from tests.postgres.people import as_requester, verified_backup
from tests.postgres.test_mutating_urls import (
    HUMAN,
    MACHINE,
    Scene,
    expired,
    held_backup,
    held_by_olga,
    quarantined_long_ago,
)


def _rolled_back(scene: Scene) -> int:
    call_command("migrate", "memops", "zero", verbosity=0)
    overviews()
    return Run.objects.get(kind="rollback").pk


def _quarantined(scene: Scene) -> str:
    return Run.objects.get(pk=_rolled_back(scene)).quarantined_table.name


def _old(scene: Scene) -> str:
    return quarantined_long_ago(scene).name


def _held(scene: Scene) -> str:
    return held_by_olga(scene).name


def _held_backup(scene: Scene) -> int:
    return held_backup(scene).pk


def _full(scene: Scene) -> str:
    expired(scene)
    return "the disk is full"


def _approved(scene: Scene) -> int:
    run = scene.awaiting()
    approvals.approve(run, by=scene.olga)
    return run.pk


def _queued(scene: Scene) -> int:
    return scene.awaiting(break_glass=True, incident="INC-9").pk


def _unreviewed(scene: Scene) -> int:
    run = Run.objects.get(pk=_queued(scene))
    cancel(run, requester=as_requester(scene.rita))
    return run.pk


def _backed_up(scene: Scene) -> int:
    scene.ended()
    return scene.backup.pk


def _verified(scene: Scene) -> int:
    return verified_backup(scene.rita).pk


def _signed(scene: Scene) -> int:
    run = scene.ended()
    signing.sign(run, HUMAN, by=scene.olga)
    return run.pk


def _settled(scene: Scene) -> int:
    run = scene.ended()
    for one in checklists.standing(run).items:
        if not one.is_settled:
            settle = signing.accept if one.item.machine else signing.not_applicable
            settle(run, one.item.number, by=scene.olga, reason="seen")
    return run.pk


def _template(scene: Scene) -> str:
    text = checklist_templates.as_text(checklist_templates.newest("rollback")) + "- The coffee is made\n"
    Path("next.txt").write_text(text)
    return "next.txt"


def _asked(scene: Scene) -> int:
    return scene.awaiting().pk


def _ended(scene: Scene) -> int:
    return scene.ended().pk


def _anchor(scene: Scene) -> str:
    call_command("memops", "audit", "anchor", "--json")
    return str(settings.MEMOPS_ANCHORS)


AS = ["--as", "olga"]
SURE = ["--confirm", "default", "--reason", "INC-1", "--detach"]
Given = str | Callable[[Scene], object]

USES: dict[str, list[list[Given]]] = {
    "up": [[]],
    "demo": [["--rows", "10"]],
    "status": [["--target", "default"]],
    "plan": [
        ["rollback", "--target", "default"],
        ["purge", _old, "--without-backup"],
        ["restore", _verified, "--rows", "merge", "--other-database"],
    ],
    "rollback": [["--target", "default", *SURE], [*SURE, "--break-glass", "INC-9"]],
    "undo": [[_rolled_back, "--target", "default", *SURE], [_rolled_back, *SURE, "--break-glass", "INC-9"]],
    "purge": [[_old, "--target", "default", "--without-backup", *SURE]],
    "hold": [
        [_old, "--target", "default", "--legal", *AS, "--reason", "wait"],
        ["--backup", _backed_up, *AS, "--reason", "wait"],
    ],
    "lift": [
        [_held, "--target", "default", *AS, "--reason", "over"],
        ["--backup", _held_backup, *AS, "--reason", "over"],
    ],
    "expire-backups": [["--target", "default", "--delete", "--confirm", "default", "--reason", _full]],
    "backup": [["--target", "default", "--reason", "x", "--detach"], ["--quarantined", _quarantined, "--detach"]],
    "restore": [
        [_verified, "--target", "default", "--rows", "replace", *SURE],
        [_verified, "--rows", "merge", *SURE, "--break-glass", "INC-9"],
    ],
    "verify-backup": [[_backed_up, "--reason", "x", "--detach"]],
    "runs": [["--target", "default", "--limit", "5"]],
    "run": [[_ended]],
    "approve": [[_asked, *AS, "--comment", "read it"]],
    "reject": [[_asked, *AS, "--comment", "no"]],
    "revoke": [[_approved, *AS, "--comment", "no"]],
    "withdraw": [[_asked, "--comment", "no"]],
    "start": [[_approved, "--detach"]],
    "review": [[_unreviewed, *AS, "--note", "looked"]],
    "checklist": [[_ended]],
    "sign": [
        [_ended, str(HUMAN), *AS, "--role", "approver", "--note", "seen"],
        [_ended, str(HUMAN), *AS, "--not-applicable", "no"],
        [_ended, str(MACHINE), *AS, "--accept", "seen"],
    ],
    "reopen": [[_signed, str(HUMAN), *AS, "--reason", "again"]],
    "close": [[_settled, *AS, "--note", "done"]],
    "checklist-template": [["rollback", "--import", _template, *AS, "--note", "coffee", "--based-on", "1"]],
    "cancel": [[_queued]],
    "reconcile": [[]],
    "procedure": [[]],
    "second-factor": [["olga"]],
    "audit": [
        ["verify", "--anchor", _anchor],
        ["export", "--output", "trail.jsonl"],
        ["accept", "--reason", "looked"],
    ],
    "sql": [["rollback"]],
    "seed": [["--rows", "2", "--tenants", "1", "--target", "default", "--confirm", "default"]],
}
"""Every argument that is tried is tried in the first of these in which it stands, else beside the first."""

ENDS = {"up": 3, "demo": 3, "procedure": 1, "checklist": 1}
"""How a verb ends that is not 0 here: the address is taken; nobody has closed, rehearsed, reviewed."""
