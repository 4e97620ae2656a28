"""What a run would do, exactly, and what forbids it: made for a person to read, and bound by a digest to be
executed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

import memops
from memops import sql
from memops.console.errors import NothingToPurge, NothingToRestore, NothingToUndo, NothingToVerify, StalePlan
from memops.console.models import Backup, QuarantinedTable, Run
from memops.console.models.plans import Plan, Purge, changes
from memops.console.pg import migrations
from memops.console.pg import purge as dropping
from memops.console.pg.standing import Choice
from memops.console.runs import idle, kinds, targets
from memops.console.steps import application, examination, keeping, restoring
from memops.console.steps.examination import Examination

NO_LOCK = "None that a reader or a writer would notice: pg_dump and the check read a snapshot (access share)."
SWAP = (
    "While it is loaded and built, none on memory_chunks that a reader or a writer would notice. For the swap, writers"
    " are held off (share row exclusive) while the rows that they wrote last are brought in, if any are to be; then"
    " access exclusive, for the milliseconds of the rest of the transaction."
)
EXCLUSIVE = "Access exclusive on memory_chunks, for the milliseconds of one transaction."
OF_A_PURGE = (
    "Access exclusive on the quarantined table, while its rows are compared and it is dropped. Nobody reads it."
)
ALSO_OF_THE_EMPTY_TABLE = ("dependent", "not owner", "in use", "prepared transaction")
"""What an undo has to know of the table that gives way to the old one."""


def plan_rollback(alias: str, *, emergency: bool = False, end_idle: timedelta | None = None) -> Plan:
    """Plan to take memory_chunks out of service. Transactions that idle on it for longer than ``end_idle`` are ended.

    Raises EndIdleInvalid, TargetUnreachable, UnknownTarget.
    """
    idle.check(end_idle)
    targets.get(alias)
    found = examination.look(alias)
    _rollback_rules(found)
    examination.idle_rules(found, end_idle=end_idle)
    folder = examination.backup_folder(alias)
    examination.backup_rules(found, folder=folder)
    if emergency:
        # Backup and proof come after the rollback: what forbids them now is worth knowing, and forbids nothing.
        for finding in [finding for finding in found.findings if finding.backup_only]:
            found.findings.remove(finding)
            found.warn(finding.code, f"The backup after the rollback will fail: {finding.text}")
    return _plan(
        found,
        kind=Run.Kind.ROLLBACK,
        emergency=emergency,
        text=f"{sql.down()}\n{sql.forget_history()}",
        lock=EXCLUSIVE,
        end_idle=end_idle,
        waits=True,
        backup_folder=str(folder),
        brings_back="The next deploy creates an empty memory_chunks: manage.py migrate memops."
        " Undo of this run brings the rows back.",
    )


def plan_undo(run: Run, *, end_idle: timedelta | None = None) -> Plan:
    """Plan to move the table that ``run`` has quarantined back. ``end_idle`` as for a rollback.

    Raises EndIdleInvalid, NothingToUndo, TargetUnreachable.
    """
    idle.check(end_idle)
    table = QuarantinedTable.objects.filter(run=run).first()
    if table is None:
        raise NothingToUndo(
            run=run.pk, why=f"its outcome is: {(run.get_outcome_display() or run.get_state_display()).lower()}"
        )
    if table.state != QuarantinedTable.State.KEPT:
        raise NothingToUndo(run=run.pk, why=_gone(table))
    targets.get(run.target_id)
    found = examination.look(run.target_id, schema="memops_quarantine", name=table.name)
    if found.relation is None or found.relation.oid != table.table_oid:
        found.refuse(
            "missing",
            f'{table.relation} is not on the target "{run.target_id}" any more: it was renamed, moved or dropped'
            " by hand.",
        )
    _same_server(found, table.server)
    for hold in keeping.standing_holds(table):
        found.warn("hold", f"{table.name} is under a hold: once it is moved back, its rows can be deleted. {hold}.")
    standing = examination.look(run.target_id)
    if standing.table is not None and standing.table.rows:
        found.refuse(
            "newer table",
            f"public.memory_chunks exists and has {standing.table.rows:,} rows that came after the rollback;"
            " moving the old table back would hide them. Roll it back first (its rows go to quarantine as well),"
            f" then undo this one. Or have both: manage.py memops backup --target {run.target_id} --quarantined"
            f" {table.name}, then restore that backup with --rows merge.",
        )
    elif standing.table is not None:
        found.warn("empty table", "public.memory_chunks exists and is empty: it is dropped to make room.")
        found.findings += [finding for finding in standing.findings if finding.code in ALSO_OF_THE_EMPTY_TABLE]
        found.blockers += standing.blockers
    examination.idle_rules(found, end_idle=end_idle)
    return _plan(
        found,
        kind=Run.Kind.UNDO,
        undoes=run.pk,
        text=f"set local memops.undo_table = '{table.name}';\n\n{sql.undo()}",
        lock=EXCLUSIVE,
        end_idle=end_idle,
        waits=True,
        names=list(run.saw("reverse").get("migrations") or migrations.known()),
    )


def plan_backup(alias: str, *, quarantined: QuarantinedTable | None = None) -> Plan:
    """Plan a verified backup of memory_chunks, or of a table in quarantine. Raises TargetUnreachable, UnknownTarget."""
    targets.get(alias)
    if quarantined is None:
        found = examination.look(alias)
        if found.relation is None:
            found.refuse("no table", f'There is no public.memory_chunks on the target "{alias}": nothing to back up.')
    else:
        found = examination.look(alias, schema="memops_quarantine", name=quarantined.name)
        _same_server(found, quarantined.server)
        if found.relation is None or found.relation.oid != quarantined.table_oid:
            found.refuse("missing", f'{quarantined.relation} is not on the target "{alias}" any more.')
    # Reading needs neither: a dump takes the table's dependents not along, and waits for nobody.
    found.findings = [finding for finding in found.findings if finding.code not in ("dependent", "in use", "not owner")]
    folder = examination.backup_folder(alias)
    examination.backup_rules(found, folder=folder)
    return _plan(
        found,
        kind=Run.Kind.BACKUP,
        text="",
        lock=NO_LOCK,
        backup_folder=str(folder),
        relation=quarantined.relation if quarantined else "public.memory_chunks",
    )


def plan_verify(backup: Backup) -> Plan:
    """Plan to prove a backup by restoring it into a scratch database. Raises NothingToVerify, TargetUnreachable."""
    if backup.state not in (Backup.State.WRITTEN, Backup.State.VERIFIED):
        raise NothingToVerify(backup=backup.pk, why=f"it is {backup.get_state_display().lower()}")
    targets.get(backup.target_id)
    found = examination.look(backup.target_id)
    found.findings = [finding for finding in found.findings if finding.code in ("standby", "pooler")]
    examination.backup_rules(found, folder=examination.backup_folder(backup.target_id))
    found.findings = [finding for finding in found.findings if finding.code not in ("disk", "backup folder")]
    return _plan(
        found,
        kind=Run.Kind.VERIFY,
        text="",
        lock="None on the target's table.",
        relation=backup.relation,
        subject=backup.pk,
    )


def plan_purge(table: QuarantinedTable, *, without_backup: bool = False) -> Plan:
    """Plan to drop a quarantined table for good. ``without_backup``: no backup has to have the same rows.

    Raises NothingToPurge, TargetUnreachable.
    """
    if table.state != QuarantinedTable.State.KEPT:
        raise NothingToPurge(table=table.name, target=table.target_id, why=_gone(table))
    targets.get(table.target_id)
    found = examination.look(table.target_id, schema="memops_quarantine", name=table.name)
    _same_server(found, table.server)
    if found.relation is None or found.relation.oid != table.table_oid:
        found.refuse(
            "missing",
            f'{table.relation} is not on the target "{table.target_id}" any more: it was renamed, moved or dropped'
            " by hand.",
        )
    purge = keeping.purge_of(table, without_backup=without_backup)
    keeping.purge_rules(found, table, purge)
    known = keeping.proof_of(table)
    brings_back = "Nothing: no backup is known to have its rows."
    if known is not None:
        read = "" if purge.backup else " It has the same rows, but this plan does not read its file."
        brings_back = f"Backup {known.pk}: Restore… on its page, or manage.py memops restore {known.pk}.{read}"
    return _plan(
        found,
        kind=Run.Kind.PURGE,
        text=dropping.statements(table=table.name, oid=table.table_oid),
        lock=OF_A_PURGE,
        relation=table.relation,
        purge=purge,
        brings_back=brings_back,
    )


def _gone(table: QuarantinedTable) -> str:
    """What became of a table that is not in quarantine any more."""
    if table.state != QuarantinedTable.State.PURGED:
        return f"{table.name} is {table.get_state_display().lower()}"
    purge = table.purges.filter(outcome=Run.Outcome.PURGED).first()
    by = f" by run {purge.pk}" if purge else ""
    when = f" on {table.left_at:%Y-%m-%d %H:%M} UTC" if table.left_at else ""
    proof = keeping.proof_of(table)
    kept = f"; backup {proof.pk} has its rows" if proof else "; no backup of it is known"
    return f"{table.name} was dropped for good{by}{when}{kept}"


def plan_restore(
    backup: Backup, *, rows: Choice | None = None, elsewhere: bool = False, end_idle: timedelta | None = None
) -> Plan:
    """Plan to bring a verified backup back as public.memory_chunks. ``rows`` is what becomes of rows that stand there,
    ``elsewhere`` allows a backup of another database. ``end_idle`` as for a rollback.

    Raises EndIdleInvalid, NothingToRestore, TargetUnreachable, UnknownTarget.
    """
    idle.check(end_idle)
    if backup.state not in Backup.COMPLETE:
        raise NothingToRestore(backup=backup.pk, why=f"it is {backup.get_state_display().lower()}")
    targets.get(backup.target_id)
    found = examination.look(backup.target_id)
    standing = restoring.rules(found, backup, choice=rows, elsewhere=elsewhere)
    examination.idle_rules(found, end_idle=end_idle)
    plan = _plan(
        found,
        kind=Run.Kind.RESTORE,
        subject=backup.pk,
        text="\n".join(
            [
                f"set local memops.restore_rows = '{rows or ''}';",
                "set local memops.restore_schema = 'memops_restore_...';  -- the run's own\n",
                sql.stand_aside(),
                sql.down(),
                sql.journal(),
                sql.restore(),
            ]
        ),
        lock=SWAP,
        end_idle=end_idle,
        waits=True,
        names=list(migrations.known()),
        brings_back="A rollback takes the restored table away again, into quarantine."
        " If a table with rows stood there before, it is in quarantine too: undo of this run, after that rollback,"
        " brings it back.",
        also={
            "rows": rows,
            "elsewhere": elsewhere,
            "backup_sha256": backup.sha256,
            "backup_fingerprint": backup.fingerprint,
            "application": application.digest(),
        },
    )
    return replace(
        plan, rows_choice=rows or "", elsewhere=elsewhere, standing=standing, application=application.words()
    )


def still_holds(run: Run) -> None:
    """Make the plan of a claimed run again. Raises StalePlan with what changed; what a person agreed to is not this."""
    then = run.planned()
    now = remake(run)
    if now.digest != run.digest:
        raise StalePlan(target=run.target_id, changes="; ".join(changes(then.binding, now.binding)))
    if (now.wal_position or 0) < (then.wal_position or 0):
        raise StalePlan(
            target=run.target_id,
            changes="the server is where it was before the plan was made, so it is a copy, or was set back",
        )


def remake(run: Run) -> Plan:
    """The plan of a run as it would be made now."""
    if run.kind == Run.Kind.ROLLBACK:
        return plan_rollback(run.target_id, emergency=run.emergency, end_idle=run.planned().end_idle)
    if run.kind == Run.Kind.UNDO and run.undoes is not None:
        return plan_undo(run.undoes, end_idle=run.planned().end_idle)
    if run.kind == Run.Kind.VERIFY and run.subject is not None:
        return plan_verify(run.subject)
    planned = run.planned()
    if run.kind == Run.Kind.PURGE and run.purges is not None and planned.purge is not None:
        return plan_purge(run.purges, without_backup=planned.purge.without_backup)
    if run.kind == Run.Kind.RESTORE and run.subject is not None:
        return plan_restore(
            run.subject, rows=restoring.choice_of(run), elsewhere=planned.elsewhere, end_idle=planned.end_idle
        )
    relation = planned.relation
    quarantined = None
    if relation != "public.memory_chunks":
        name = relation.partition(".")[2]
        quarantined = QuarantinedTable.objects.filter(target=run.target_id, name=name, server=run.server).first()
    return plan_backup(run.target_id, quarantined=quarantined)


def _rollback_rules(found: Examination) -> None:
    alias = found.alias
    if found.relation is None and not found.migrations:
        found.refuse("nothing there", f'memory_chunks is not deployed on the target "{alias}": nothing to roll back.')
    elif found.relation is None:
        found.warn(
            "no table",
            f'The history of "{alias}" says that the migration is applied, but there is no table:'
            " the rollback only sets the history right.",
        )
    elif not found.migrations:
        found.refuse(
            "not recorded",
            f'public.memory_chunks is on the target "{alias}", but its migration is not recorded, so reversing it'
            f" would do nothing. If it is memops' table: manage.py migrate memops --fake --database={alias}.",
        )
    for name in migrations.not_atomic():
        found.refuse("not atomic", f"Migration {name} is not atomic: it cannot be reversed in one transaction.")
    for name in found.migrations:
        if name not in migrations.known():
            found.refuse(
                "unknown migration",
                f'The target "{alias}" has migration {name}, which this version of memops does not know.'
                " Use the version that applied it.",
            )


def _same_server(found: Examination, server: str) -> None:
    if server and server != found.server_identity:
        found.refuse(
            "other server",
            f'The alias "{found.alias}" now leads to another database ({found.server_identity}) than the one this was'
            f" recorded on ({server}).",
        )


def _plan(
    found: Examination,
    *,
    kind: Run.Kind,
    text: str,
    lock: str,
    emergency: bool = False,
    end_idle: timedelta | None = None,
    waits: bool = False,
    backup_folder: str = "",
    relation: str = "public.memory_chunks",
    undoes: int | None = None,
    subject: int | None = None,
    brings_back: str = "",
    names: list[str] | None = None,
    purge: Purge | None = None,
    also: dict[str, Any] | None = None,
) -> Plan:
    """``also`` is what this kind of plan stands or falls with besides."""
    lock_timeout: timedelta = settings.MEMOPS_LOCK_TIMEOUT
    lock_budget: timedelta = settings.MEMOPS_LOCK_BUDGET
    known = migrations.known()
    names = found.migrations if names is None else names
    binding: dict[str, Any] = {
        "kind": str(kind),
        "target": found.alias,
        "server": found.server_identity,
        # A copy of the server's files has the same identity; a standby that was promoted begins another timeline.
        "server_timeline": found.server.timeline or "none, for it is a standby",
        "table_oid": found.relation.oid if found.relation else None,
        "policies": _policies(found),
        "migrations": names,
        "migration_sources": [known.get(name, "unknown") for name in names],
        "sql": hashlib.sha256(text.encode()).hexdigest(),
        "lock_timeout_seconds": lock_timeout.total_seconds(),
        "lock_budget_seconds": lock_budget.total_seconds(),
        "end_idle_seconds": end_idle.total_seconds() if end_idle is not None else None,
        "emergency": emergency,
        "relation": relation,
        "undoes": undoes,
        "subject": subject,
        "steps": [step.name for step in kinds.planned(kind, emergency=emergency)],
        "backup_folder": backup_folder,
        "scratch": found.scratch,
        "tool_version": memops.__version__,
        **(also or {}),
    }
    if purge is not None:
        binding |= {
            "kept_until": purge.kept_until.isoformat(),
            "fingerprint": purge.fingerprint,
            "backup": purge.backup,
            "backup_sha256": purge.backup_sha256,
            "without_backup": purge.without_backup,
        }
    return Plan(
        kind=kind,
        target=found.alias,
        made_at=timezone.now(),
        binding=binding,
        table=found.table,
        sql=text,
        steps=kinds.planned(kind, emergency=emergency),
        lock=lock,
        lock_timeout=lock_timeout,
        lock_budget=lock_budget,
        end_idle=end_idle,
        idle=idle.words(end_idle) if waits else "",
        relation=relation,
        emergency=emergency,
        undoes=undoes,
        subject=subject,
        purge=purge,
        findings=found.findings,
        backup_folder=backup_folder,
        scratch=found.scratch,
        brings_back=brings_back,
        wal_position=found.server.wal_position,
    )


def _policies(found: Examination) -> list[str]:
    if found.relation is None:
        return []
    return [
        f"{policy.name} {policy.command} to {', '.join(policy.roles)} using {policy.using} with check {policy.check}"
        for policy in found.relation.policies
    ]
