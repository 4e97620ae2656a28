"""Machine checks of checklists: what a run's own steps saw, as a verdict with its evidence.

A check reads the run's records alone, never the target: it says what was seen then, and says it again whenever asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from memops.console import units
from memops.console.models import Backup, Run, SignOff, Step
from memops.console.runs import idle

BY_HAND = "It was done by hand: no step of memops has looked."
NOT_SEEN = "The run ended before a step had seen it."
LONGEST_EVIDENCE = 2000


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """``decision`` is passed, failed or not applicable; ``text`` says what was seen, or why nothing was."""

    decision: SignOff.Decision
    text: str


@dataclass(frozen=True, kw_only=True)
class MachineCheck:
    """``kinds``: the runs that have such evidence."""

    title: str
    kinds: tuple[str, ...]
    look: Callable[[Run], Evidence]


def look(run: Run, name: str) -> Evidence:
    """What a check says of a run. One that this version of memops does not know has no evidence."""
    check = CHECKS.get(name)
    try:
        found = check.look(run) if check else _failed(f"This version of memops has no check called {name}.")
    except (KeyError, TypeError, AttributeError) as strange:
        # Records of an older version, or made by hand, may lack what this one reads.
        found = _failed(f"What the steps recorded cannot be read ({type(strange).__name__}).")
    return Evidence(decision=found.decision, text=found.text[:LONGEST_EVIDENCE])


def names_for(kind: str) -> list[str]:
    return [name for name, check in CHECKS.items() if kind in check.kinds]


def _passed(text: str) -> Evidence:
    return Evidence(decision=SignOff.Decision.PASSED, text=text)


def _failed(text: str) -> Evidence:
    return Evidence(decision=SignOff.Decision.FAILED, text=text)


def _not_applicable(text: str) -> Evidence:
    return Evidence(decision=SignOff.Decision.NOT_APPLICABLE, text=text)


def _nothing_seen(run: Run) -> Evidence:
    return _failed(BY_HAND if run.origin == Run.Origin.BY_HAND else NOT_SEEN)


# Before


def _seen_before(read: Callable[[dict[str, Any]], Evidence]) -> Callable[[Run], Evidence]:
    def look_at(run: Run) -> Evidence:
        seen = run.saw("precheck")
        return read(seen) if seen else _nothing_seen(run)

    return look_at


def _migrations(seen: dict[str, Any]) -> Evidence:
    return _passed(f"Applied before: {', '.join(seen['migrations']) or 'no migration of memops'}.")


def _of_the_table(tell: Callable[[dict[str, Any]], str]) -> Callable[[Run], Evidence]:
    def read(seen: dict[str, Any]) -> Evidence:
        return _passed(tell(seen["table"])) if seen.get("table") else _failed("There was no table.")

    return _seen_before(read)


def _listed(table: dict[str, Any], entry: str) -> str:
    names = table[entry]
    return f"{len(names)}: {', '.join(names)}." if names else "There was none."


# The backup


def _backup(tell: Callable[[Backup], Evidence]) -> Callable[[Run], Evidence]:
    def look_at(run: Run) -> Evidence:
        complete = (Backup.State.WRITTEN, Backup.State.VERIFIED)
        backup = run.backups.filter(state__in=complete).order_by("-pk").first() or run.subject
        if backup is not None:
            return tell(backup)
        if run.outcome == Run.Outcome.DROPPED and run.origin != Run.Origin.BY_HAND:
            return _not_applicable("The table was empty and is dropped: there was nothing to back up.")
        return _failed(
            f"{BY_HAND} No backup of it is known." if run.origin == Run.Origin.BY_HAND else "No backup was written."
        )

    return look_at


def _verified(backup: Backup) -> Evidence:
    if backup.state != Backup.State.VERIFIED:
        return _failed(f"Backup {backup.pk} is written, and not verified.")
    return _passed(
        f"Backup {backup.pk} was restored into {backup.verification.get('place', 'a scratch database')} and compared:"
        f" {backup.rows or 0:,} rows, fingerprint {backup.fingerprint}, SHA-256 {backup.sha256}."
    )


# The change


def _committed(run: Run) -> Evidence:
    if not run.outcome or run.outcome == Run.Outcome.NOTHING:
        return _failed("The target's records say that nothing was changed.")
    where = f", entry {run.journal_entry} of the target's journal" if run.journal_entry else ""
    ended = f" {told}" if (told := _ended_sessions(run)) else ""
    return _passed(f"{run.get_outcome_display()}{where}{f', transaction {run.xid}' if run.xid else ''}.{ended}")


def _ended_sessions(run: Run) -> str:
    """Each of them, by name; empty where there are none."""
    if not (ended := run.ended_sessions):
        return ""
    return f"Idle sessions that were ended for it, as its plan says: {len(ended)}. {'; '.join(map(idle.named, ended))}."


def _sessions(run: Run) -> Evidence:
    if run.origin == Run.Origin.BY_HAND:
        return _nothing_seen(run)
    why = "" if run.plan.get("end_idle") else ": its plan lets nobody be ended"
    return _passed(_ended_sessions(run) or f"No session was ended{why}.")


def _ended_well(run: Run) -> Evidence:
    if run.origin == Run.Origin.BY_HAND:
        return _passed("It was done by hand, and the target's journal says that it was committed.")
    steps = list(run.steps.all())
    bad = [step for step in steps if step.state not in (Step.State.DONE, Step.State.SKIPPED)]
    if run.state == Run.State.DONE and not bad:
        return _passed(f"{len(steps)} of {len(steps)} steps ended without an error.")
    return _failed(f"The run is {run.get_state_display().lower()}. {'; '.join(map(str, bad))}".rstrip())


def _duration(run: Run) -> Evidence:
    if run.origin == Run.Origin.BY_HAND or run.took is None:
        return _not_applicable("It was done by hand, so nobody has measured it.")
    changed = run.saw("reverse") or run.saw("move_back") or run.saw("purge") or run.saw("swap")
    inside = f"; the change itself {changed['transaction_ms']} ms" if "transaction_ms" in changed else ""
    return _passed(f"{units.duration(run.took)} from claim to end{inside}.")


# After


def _check_of(step: str, name: str) -> Callable[[Run], Evidence]:
    def look_at(run: Run) -> Evidence:
        for check in run.saw(step).get("checks", []):
            if check["name"] == name:
                return _passed(check["detail"]) if check["ok"] else _failed(check["detail"])
        ended_badly = run.steps.filter(name=step).exclude(error="").values_list("error", flat=True).first()
        return _failed(ended_badly) if ended_badly else _nothing_seen(run)

    return look_at


def _standing_kept(run: Run) -> Evidence:
    table = getattr(run, "quarantined_table", None)
    if table is None:
        return _not_applicable("No table with rows stood there.") if run.saw("swap") else _nothing_seen(run)
    return _check_of("postcheck", "The quarantined table is complete")(run)


def _application(run: Run) -> Evidence:
    if not (swapped := run.saw("swap")):
        return _nothing_seen(run)
    if "application" not in swapped:
        return _not_applicable("The settings name no command: people stop and start it.")
    return _check_of("postcheck", "The application was started again")(run)


def _every_check(run: Run) -> Evidence:
    checks = [check for step in run.steps.all() for check in step.saw.get("checks", [])]
    wrong = [f"{check['name']}: {check['detail']}" for check in checks if not check["ok"]]
    wrong += run.steps.exclude(error="").values_list("error", flat=True)
    if wrong:
        return _failed("; ".join(wrong))
    return _passed(f"{len(checks)} checks, each of them OK.") if checks else _nothing_seen(run)


def _proved(run: Run) -> Evidence:
    """Was there a backup with the same rows, and was its file still the one that was proved?"""
    if run.origin != Run.Origin.BY_HAND and run.planned().purge is not None and run.plan["purge"]["without_backup"]:
        return _failed(
            "It was asked for, and approved, without a backup: nothing proves that the rows are anywhere else."
        )
    return _check_of("proof", "The backup is what was proved")(run)


def _compared(run: Run) -> Evidence:
    checks = run.saw("purge").get("checks", [])
    return _passed(checks[0]["detail"]) if checks else _nothing_seen(run)


PURGE = (Run.Kind.PURGE.value,)
ROLLBACK, UNDO, BACKUP = (Run.Kind.ROLLBACK.value,), (Run.Kind.UNDO.value,), (Run.Kind.BACKUP.value,)
RESTORE = (Run.Kind.RESTORE.value,)
MOVES = ROLLBACK + UNDO
WITH_BACKUP = ROLLBACK + BACKUP
WITH_STEPS = (*MOVES, *BACKUP, *PURGE, Run.Kind.VERIFY.value, *RESTORE)

CHECKS: dict[str, MachineCheck] = {
    "migrations_seen": MachineCheck(
        title="Which migrations were applied before", kinds=MOVES + BACKUP, look=_seen_before(_migrations)
    ),
    "table_seen": MachineCheck(
        title="The table was there before",
        kinds=MOVES + BACKUP,
        look=_of_the_table(lambda table: f"{table['schema']}.{table['name']}, oid {table['oid']}."),
    ),
    "rows_seen": MachineCheck(
        title="How many rows it had",
        kinds=MOVES + BACKUP + PURGE,
        look=_of_the_table(
            lambda table: (
                f"{'' if table['rows_exact'] else 'About '}{table['rows']:,} rows,"
                f" {units.size(table['total_bytes'])} with indexes."
            )
        ),
    ),
    "indexes_seen": MachineCheck(
        title="Which indexes it had",
        kinds=MOVES + BACKUP,
        look=_of_the_table(lambda table: _listed(table, "indexes")),
    ),
    "policies_seen": MachineCheck(
        title="Which policies it had",
        kinds=MOVES + BACKUP,
        look=_of_the_table(lambda table: _listed(table, "policies")),
    ),
    "backup_location": MachineCheck(
        title="Where the backup is", kinds=WITH_BACKUP, look=_backup(lambda backup: _passed(f"{backup.location}"))
    ),
    "backup_size": MachineCheck(
        title="How large the backup is",
        kinds=WITH_BACKUP,
        look=_backup(lambda backup: _passed(f"{units.size(backup.size_bytes)} ({backup.size_bytes or 0:,} bytes).")),
    ),
    "backup_verified": MachineCheck(
        title="The backup was restored and compared",
        kinds=(*WITH_BACKUP, Run.Kind.VERIFY.value),
        look=_backup(_verified),
    ),
    "change_committed": MachineCheck(
        title="The target's records say that it was done",
        kinds=(*MOVES, *PURGE, *RESTORE, Run.Kind.DEPLOY.value),
        look=_committed,
    ),
    "sessions_ended": MachineCheck(
        title="Which idle sessions were ended for it", kinds=MOVES + RESTORE, look=_sessions
    ),
    "ended_well": MachineCheck(title="Every step ended without an error", kinds=WITH_STEPS, look=_ended_well),
    "duration": MachineCheck(title="How long it took", kinds=WITH_STEPS, look=_duration),
    "table_gone": MachineCheck(
        title="The table is gone from public",
        kinds=ROLLBACK,
        look=_check_of("postcheck", "The table is gone from public"),
    ),
    "policies_gone": MachineCheck(
        title="Its policies are gone", kinds=ROLLBACK, look=_check_of("postcheck", "Its policies are gone")
    ),
    "indexes_gone": MachineCheck(
        title="Its indexes are gone", kinds=ROLLBACK, look=_check_of("postcheck", "Its indexes are gone")
    ),
    "history_updated": MachineCheck(
        title="The migration history says so",
        kinds=MOVES + RESTORE,
        look=_check_of("postcheck", "The migration history says so"),
    ),
    "table_back": MachineCheck(
        title="The table is back in public", kinds=UNDO, look=_check_of("postcheck", "The table is back in public")
    ),
    "as_before": MachineCheck(
        title="It is as it was before the rollback",
        kinds=UNDO,
        look=_check_of("postcheck", "It is as it was before the rollback"),
    ),
    "rows_back": MachineCheck(
        title="Its rows are there", kinds=UNDO + RESTORE, look=_check_of("postcheck", "Its rows are there")
    ),
    "protected": MachineCheck(
        title="Row-level security protects it",
        kinds=UNDO + RESTORE,
        look=_check_of("postcheck", "Row-level security protects it"),
    ),
    "purge_proved": MachineCheck(title="Its rows are in a verified backup", kinds=PURGE, look=_proved),
    "purge_compared": MachineCheck(title="What was dropped was compared with the backup", kinds=PURGE, look=_compared),
    "purge_gone": MachineCheck(
        title="The table is gone from quarantine",
        kinds=PURGE,
        look=_check_of("postcheck", "The table is gone from quarantine"),
    ),
    "others_untouched": MachineCheck(
        title="Other tables are untouched",
        kinds=MOVES + PURGE,
        look=_check_of("postcheck", "Other tables are untouched"),
    ),
    "backup_intact": MachineCheck(
        title="The backup's file is what was written",
        kinds=RESTORE,
        look=_check_of("load", "The file is what was written"),
    ),
    "rows_equal": MachineCheck(
        title="The loaded rows are those of the backup",
        kinds=RESTORE,
        look=_check_of("load", "The loaded rows are those of the backup"),
    ),
    "catalogue_equal": MachineCheck(
        title="The catalogue is that of the backup",
        kinds=RESTORE,
        look=_check_of("postcheck", "It is as it was when it was backed up"),
    ),
    "isolation_tried": MachineCheck(
        title="Tenants are kept apart", kinds=RESTORE, look=_check_of("trial", "It keeps tenants apart")
    ),
    "memories_open": MachineCheck(
        title="Sealed memories open", kinds=RESTORE, look=_check_of("trial", "Its memories open")
    ),
    "restored_in_place": MachineCheck(
        title="The restored table is in public",
        kinds=RESTORE,
        look=_check_of("postcheck", "The restored table is in public"),
    ),
    "standing_kept": MachineCheck(title="What stood there before is in quarantine", kinds=RESTORE, look=_standing_kept),
    "application_started": MachineCheck(
        title="The application was started again by its command", kinds=RESTORE, look=_application
    ),
    "checks_passed": MachineCheck(title="Every check of every step is OK", kinds=WITH_STEPS, look=_every_check),
}
