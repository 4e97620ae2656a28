"""Ask for a run on the command line, see it through, and say how it ended."""

from __future__ import annotations

import argparse
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypedDict

from memops.console.audit.acting import account
from memops.console.characters import shown
from memops.console.commands import Exit, records
from memops.console.commands.output import Output
from memops.console.commands.progress import BETWEEN_LOOKS_SECONDS, Shown, shown_beside
from memops.console.errors import ConfirmationMissing
from memops.console.interruption import forget_connection
from memops.console.models import Run
from memops.console.models.plans import Plan
from memops.console.runs import checklists, idle, queue, reconcile, restores
from memops.console.runs.advance import advance
from memops.console.runs.request import Requester, readable_reason, submit
from memops.console.runs.window import ANY_TIME, Window, read_moment
from memops.console.units import size

BETWEEN_LIVENESS_SECONDS = 3.0
LONGEST_WAIT_FOR_CLAIM = timedelta(seconds=10)

NO_WORKER_YET = "No worker is alive: it waits until one is started (manage.py memops up)."

EXITS = {
    Run.State.DONE: Exit.DONE,
    Run.State.FAILED: Exit.FAILED,
    Run.State.REFUSED: Exit.REFUSED,
    Run.State.CANCELLED: Exit.REFUSED,
    Run.State.AWAITING: Exit.REFUSED,
    Run.State.REJECTED: Exit.REFUSED,
    Run.State.WITHDRAWN: Exit.REFUSED,
    Run.State.EXPIRED: Exit.REFUSED,
    Run.State.INTERRUPTED: Exit.UNKNOWN,
    Run.State.UNKNOWN: Exit.UNKNOWN,
}


def requester() -> Requester:
    """Who asks: the account that the command runs under."""
    return Requester(name=account(), origin=Run.Origin.COMMAND)


def add_restore_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows",
        choices=restores.WORDS,
        help="what becomes of rows that stand in the table: none of them is carried over; those that the backup lacks, "
        "and the newer one of each that both have; all of them, and the backup adds what is missing",
    )
    parser.add_argument(
        "--other-database",
        action="store_true",
        help="the backup is of a database that is lost, and this one takes its place",
    )


def add_without_backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--without-backup",
        action="store_true",
        help="no backup has to have the same rows; people approve it as that, and more of them",
    )


def add_confirmation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", help="why; kept in the history")
    parser.add_argument("--confirm", metavar="ALIAS", help="the target's name, instead of typing it")
    add_detach(parser)


def add_detach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detach", action="store_true", help="queue the work for a worker, and do not wait")


def demand_usable(options: argparse.Namespace, *, target: str) -> None:
    """What was typed is looked at before the target is. Raises ConfirmationMissing, ReasonMissing, ReasonUnreadable,
    WindowInvalid."""
    if getattr(options, "confirm", None) not in (None, target):
        raise ConfirmationMissing(target=target, what=f"the name {target}, exactly as it is written")
    if options.reason is not None:
        readable_reason(options.reason)
    if hasattr(options, "not_before"):
        approval(options)


def confirmed_reason(options: argparse.Namespace, out: Output, plan: Plan) -> str:
    """The reason, after the target's name was typed or given. Raises ConfirmationMissing."""
    if options.confirm is None and not out.is_interactive:
        raise ConfirmationMissing(target=plan.target, what=f"--confirm {plan.target}")
    rows = f"{plan.table.rows:,} rows" if plan.table else "no table"
    typed = options.confirm
    if typed is None:
        typed = out.ask(f"Type the target's name to go on ({plan.target}; {rows}):")
    if typed != plan.target:
        raise ConfirmationMissing(target=plan.target, what=f"the name {plan.target}, exactly as it is written")
    if options.reason is None and not out.is_interactive:
        raise ConfirmationMissing(target=plan.target, what="--reason")
    return str(options.reason if options.reason is not None else out.ask("Reason, kept in the history:"))


def add_end_idle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--end-idle",
        metavar="SECONDS",
        help="end transactions that hold the table and have been idle for more than this; they are left alone without",
    )


def add_window(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--not-before", metavar="TIME", help="may begin only from then on (2027-01-31T02:00, in UTC)")
    parser.add_argument("--not-after", metavar="TIME", help="may begin only until then")


def add_approval(parser: argparse.ArgumentParser) -> None:
    add_window(parser)
    parser.add_argument(
        "--break-glass",
        metavar="INCIDENT",
        help="start without the approvals that are needed, for this incident; somebody else has to review it",
    )


class Approval(TypedDict):
    detach: bool
    incident: str | None
    window: Window


def approval(options: argparse.Namespace) -> Approval:
    """Raises WindowInvalid."""
    ends = {end: getattr(options, end) for end in ("not_before", "not_after")}
    window = Window(**{end: read_moment(text) for end, text in ends.items() if text is not None})
    return Approval(detach=options.detach, incident=getattr(options, "break_glass", None), window=window)


def carry_out(
    plan: Plan, *, reason: str, detach: bool, out: Output, incident: str | None = None, window: Window = ANY_TIME
) -> int:
    """Ask for the run, and wait for its end unless ``detach``, or unless it awaits approval. Returns the exit code.

    ``incident``: start without approvals, for that incident.
    """
    run = submit(
        plan,
        requester=requester(),
        reason=reason,
        seen_digest=plan.digest,
        break_glass=incident is not None,
        incident=incident or "",
        window=window,
    )
    if run.state == Run.State.AWAITING:
        _tell_what_it_awaits(run, out)
        out.result(run=records.described(run))
        return Exit.DONE if detach else Exit.REFUSED
    if run.break_glass:
        out.say("Started without approvals. Somebody else has to review it before the target takes another run.")
    return queued(run, detach=detach, out=out)


def _tell_what_it_awaits(run: Run, out: Output) -> None:
    by = f"by {run.expires_at:%Y-%m-%d %H:%M} UTC"
    if run.window:
        out.say(f"Run {run.pk} may begin {run.window}.", style="bold")
    if run.approvals_needed:
        people = f"{run.approvals_needed} approval{'' if run.approvals_needed == 1 else 's'}"
        groups = run.approver_groups.replace(",", ", ")
        out.say(f"Run {run.pk} needs {people} by members of {groups}, {by}.", style="bold")
        out.say(f"Nothing is started. They approve: manage.py memops approve {run.pk} --as NAME")
    out.say(f"Then start it {by}: manage.py memops start {run.pk}")


def queued(run: Run, *, detach: bool, out: Output) -> int:
    """Wait for the end of a queued run unless ``detach``. Returns the exit code."""
    if detach:
        out.say(f"Run {run.pk} is queued. Follow it: manage.py memops run {run.pk} --follow")
        if not queue.worker_is_alive():
            out.say(NO_WORKER_YET, style="yellow")
        out.result(run=records.described(run))
        return Exit.DONE
    out.say(f"Run {run.pk}: {run.title.lower()} on {run.target_id}.", style="bold")
    return _until_its_end(run, out, see_through)


def watch(run: Run, out: Output) -> int:
    """Show a run until whoever does it has ended it. Returns the exit code."""
    if run.state == Run.State.QUEUED and not queue.worker_is_alive():
        out.say(NO_WORKER_YET, style="yellow")
    return _until_its_end(run, out, _follow)


def look(run: Run, out: Output) -> int:
    """Show a run as it is now. Returns the exit code."""
    return _until_its_end(run, out, lambda run, shown: shown.show(run))


def _until_its_end(run: Run, out: Output, see: Callable[[Run, Shown], object]) -> int:
    code = None
    try:
        with _asked_to_stop(), Shown(out) as shown:
            see(run, shown)
    except KeyboardInterrupt:
        code = Exit.UNKNOWN
        forget_connection()
    run = Run.objects.select_related("target").get(pk=run.pk)
    if code and run.is_active:
        out.say(f"Nobody watches run {run.pk} any more, but it goes on. It is {run.get_state_display().lower()}.")
        out.say(f"Follow it: manage.py memops run {run.pk} --follow")
        if run.state == Run.State.QUEUED:
            out.say(f"Take it back: manage.py memops cancel {run.pk}")
    else:
        show(run, out)
    out.result(run=records.described(run))
    return code or exit_of(run)


@contextmanager
def _asked_to_stop() -> Iterator[None]:
    """The end of the terminal's session, or of the machine, interrupts as Ctrl-C does: the run is recorded as such."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def see_through(run: Run, shown: Shown) -> None:
    """Wait until the run has ended; do the work here where no worker does it."""
    if queue.worker_is_alive():
        if _follow(run, shown, until_claimed=LONGEST_WAIT_FOR_CLAIM):
            return
        shown.out.say(
            f"No worker has taken it for {LONGEST_WAIT_FOR_CLAIM.seconds} s: this command does the work itself."
        )
    else:
        shown.out.say("No worker is alive: this command does the work itself.")
    while True:
        with shown_beside(run, shown):
            won = advance(run.pk)
        # If a worker was first after all, it is the one to watch.
        if won or _follow(run, shown, until_claimed=LONGEST_WAIT_FOR_CLAIM):
            return


def _follow(run: Run, shown: Shown, *, until_claimed: timedelta | None = None) -> bool:
    """Show a run until it has ended. False: nobody has claimed it in time."""
    began = looked = time.monotonic()
    while True:
        now = Run.objects.get(pk=run.pk)
        shown.show(now)
        if not now.is_active or now.state == Run.State.UNKNOWN:
            return True
        waited = time.monotonic() - began
        if until_claimed and now.state == Run.State.QUEUED and waited > until_claimed.total_seconds():
            return False
        if now.state == Run.State.RUNNING and time.monotonic() - looked > BETWEEN_LIVENESS_SECONDS:
            looked = time.monotonic()
            if reconcile.is_lost(now):
                shown.out.say("The worker is lost. What it did is read from the target.", style="yellow")
                reconcile.reconcile(requester=requester(), only=now)
        time.sleep(BETWEEN_LOOKS_SECONDS)


def show(run: Run, out: Output) -> None:
    """How a run ended, for people: the outcome, the proof, and what to do next."""
    state = run.get_state_display()
    style = "bold green" if run.state == Run.State.DONE else "bold yellow" if run.is_active else "bold red"
    out.say(f"{state}: {run.get_outcome_display() or 'outcome not yet known'}.", style=style)
    if run.error:
        out.say(run.error, style="red")
    for check in records.checks(run):
        # It may name what others have named.
        out.say(f"  {'OK    ' if check['ok'] else 'FAILED'} {check['name']}: {shown(check['detail'])}")
    out.facts(_facts(run))
    if (table := getattr(run, "quarantined_table", None)) is not None and table.state == "kept":
        first = "a rollback of what was restored, then " if run.kind == Run.Kind.RESTORE else ""
        out.say(f"To bring it back: {first}manage.py memops undo {run.pk}")
    if checklists.is_due(run):
        out.say(f"It is {checklists.words(run)}: manage.py memops checklist {run.pk}")
    if reconcile.is_lost(run):
        out.say("Its worker is lost: manage.py memops reconcile", style="yellow")
    elif run.state == Run.State.UNKNOWN:
        out.say("To settle it, when the target answers: manage.py memops reconcile", style="yellow")


def _facts(run: Run) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    changed = run.saw("reverse") or run.saw("move_back") or run.saw("purge") or run.saw("swap")
    if "tries" in changed:
        tries = changed["tries"]
        facts["Transaction"] = f"{changed['transaction_ms']} ms, {tries} {'try' if tries == 1 else 'tries'}"
    if run.plan.get("end_idle") is not None:
        facts["Idle transactions"] = run.plan["idle"]
    if ended := run.ended_sessions:
        facts["Sessions ended"] = "; ".join(map(idle.named, ended))
    if (table := getattr(run, "quarantined_table", None)) is not None:
        rows = f"{table.rows:,} rows" if table.rows is not None else "rows not counted"
        facts["Quarantined"] = f"{table.relation}, {rows} ({table.get_state_display().lower()})"
        if table.fingerprint:
            facts["Fingerprint"] = table.fingerprint
    if run.purges is not None:
        rows = f"{run.purges.rows:,} rows" if run.purges.rows is not None else "rows not counted"
        facts["Purges"] = f"{run.purges.relation}, {rows} ({run.purges.get_state_display().lower()})"
        facts["Fingerprint"] = run.purges.fingerprint or "not taken"
    if run.kind == Run.Kind.RESTORE:
        facts["Restored from backup"] = run.subject_id
        if merged := changed.get("merged"):
            facts["Standing rows"] = (
                f"{merged['standing']:,}: {merged['added']:,} that the backup lacks, {merged['conflicts']:,} that"
                f" differ from it ({merged['standing_won']:,} of them stay as they stood)"
            )
    for backup in run.backups.all():
        facts[f"Backup {backup.pk}"] = f"{backup.get_state_display().lower()}, {size(backup.size_bytes)}"
        if backup.location:
            facts[f"Backup {backup.pk} is in"] = backup.location
            facts[f"Backup {backup.pk}, SHA-256"] = backup.sha256
    return facts


def exit_of(run: Run) -> int:
    if reconcile.is_lost(run):
        return Exit.UNKNOWN
    return EXITS.get(Run.State(run.state), Exit.DONE)
