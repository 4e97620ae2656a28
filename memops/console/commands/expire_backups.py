"""``memops expire-backups``: which backups have had their time; and with ``--delete``, their end."""

from __future__ import annotations

import argparse

from memops.console.commands import Exit, following, records
from memops.console.commands.output import Output
from memops.console.errors import ConfirmationMissing
from memops.console.runs import retention
from memops.console.runs.retention import Deleted, Verdict
from memops.console.units import moment, size

HELP = "list the backups whose time is over, and why the others stay; delete the former with --delete"

COLUMNS = ["Backup", "Written", "State", "Rows", "Size", "", "Why"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", default="default", metavar="ALIAS", help="the target (default: default)")
    parser.add_argument("--delete", action="store_true", help="delete those that go, with their manifests")
    parser.add_argument("--reason", help="why; it is kept")
    parser.add_argument("--confirm", metavar="ALIAS", help="the target's name, instead of typing it")


def run(options: argparse.Namespace, out: Output) -> int:
    found = retention.verdicts(options.target)
    following.demand_usable(options, target=options.target)
    out.table(COLUMNS, [_one_line(verdict) for verdict in found])
    going = [verdict.backup.pk for verdict in found if verdict.goes]
    out.say(f"{len(going)} of {len(found)} go.")
    deleted: list[Deleted] = []
    if options.delete:
        reason = _confirmed_reason(options, out, len(going)) if going else "none goes"
        deleted = retention.expire(options.target, requester=following.requester(), reason=reason, seen=going)
        tell(deleted, out)
    elif going:
        out.say("Nothing was deleted. To delete them: manage.py memops expire-backups --delete")
    out.result(
        backups=[
            records.backup_as_data(verdict.backup) | {"goes": verdict.goes, "why": verdict.why} for verdict in found
        ],
        deleted=[records.deletion(one) for one in deleted],
    )
    return Exit.FAILED if any(one.problem for one in deleted) else Exit.DONE


def tell(deleted: list[Deleted], out: Output) -> None:
    """What became of backups that were deleted, or are to be."""
    for one in deleted:
        if one.problem:
            out.say(f"Backup {one.backup.pk} is not deleted: {one.problem}", style="red")
        else:
            out.say(f"Backup {one.backup.pk} is deleted: {', '.join(one.files) or 'its files were gone'}.")


def _confirmed_reason(options: argparse.Namespace, out: Output, number: int) -> str:
    """Raises ConfirmationMissing."""
    target = options.target
    if not out.is_interactive and (options.confirm is None or options.reason is None):
        raise ConfirmationMissing(target=target, what=f"--confirm {target} and --reason")
    typed = options.confirm
    if typed is None:
        typed = out.ask(f"Type the target's name to delete {number} backups for good ({target}):")
    if typed != target:
        raise ConfirmationMissing(target=target, what=f"the name {target}, exactly as it is written")
    return str(options.reason if options.reason is not None else out.ask("Reason, kept with each of them:"))


def _one_line(verdict: Verdict) -> list[object]:
    backup = verdict.backup
    return [
        backup.pk,
        moment(backup.written_at),
        backup.get_state_display().lower(),
        f"{backup.rows or 0:,}",
        size(backup.size_bytes),
        "goes" if verdict.goes else "stays",
        verdict.why,
    ]
