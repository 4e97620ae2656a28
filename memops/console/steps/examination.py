"""What has to be known before a target is touched: the facts, and what they forbid or make doubtful.

The plan that a person reads and the precheck of the run are this same examination.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings

from memops.console.characters import shown
from memops.console.errors import BackupFolderUnusable, ConsoleError, PoolerBetween
from memops.console.models import Backup
from memops.console.models.plans import Finding, Level, TableSeen
from memops.console.pg import blockers, catalogue, clients, migrations, scratch, session
from memops.console.pg import folder as folders
from memops.console.pg.blockers import Blocker
from memops.console.pg.catalogue import Server
from memops.console.pg.relation import Relation
from project.private import make_folder

PUBLIC = ("public", "memory_chunks")

COUNT_TIMEOUT = timedelta(seconds=5)
"""A table that takes longer to count is shown with the planner's estimate."""

GLANCE_TIMEOUT = timedelta(milliseconds=500)

ARCHIVE_SHARE = 1.2
"""A compressed archive took 0.6 to 0.9 of the table's own bytes; what is free has to be more than that."""


@dataclass(kw_only=True)
class Examination:
    """The facts about one relation on one target. ``relation`` is None where there is no such table."""

    alias: str
    server: Server
    relation: Relation | None
    table: TableSeen | None
    migrations: list[str]
    findings: list[Finding] = field(default_factory=list)
    other_tables: dict[str, int] = field(default_factory=dict)
    blockers: list[Blocker] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    replication: list[str] = field(default_factory=list)
    extensions: dict[str, str] = field(default_factory=dict)
    free_bytes: int | None = None
    client: str = ""
    scratch: str = ""

    @property
    def server_identity(self) -> str:
        return self.server.identity

    def refuse(self, code: str, text: str, *, backup_only: bool = False) -> None:
        self.findings.append(Finding(code=code, level=Level.REFUSES, text=shown(text), backup_only=backup_only))

    def warn(self, code: str, text: str) -> None:
        self.findings.append(Finding(code=code, level=Level.WARNS, text=shown(text)))


def look(alias: str, *, schema: str = PUBLIC[0], name: str = PUBLIC[1]) -> Examination:
    """Read the facts about a relation. Raises TargetUnreachable, UnknownTarget."""
    with session.connect(alias, application_name="memops examines") as connection:
        server = catalogue.server(connection)
        relation = catalogue.relation(connection, schema, name)
        found = Examination(
            alias=alias,
            server=server,
            relation=relation,
            table=table_seen(connection, relation) if relation else None,
            migrations=catalogue.migrations(connection, migrations.LABEL),
            other_tables=catalogue.other_tables(connection),
            extensions=catalogue.extensions(connection),
        )
        _server_rules(found)
        if relation is not None:
            _relation_rules(found, connection, relation)
    return found


def glance(alias: str) -> Examination:
    """The facts that an overview shows, without those that only a change needs. Raises TargetUnreachable."""
    with session.connect(alias, application_name="memops glances", patience=session.PROMPT) as connection:
        relation = catalogue.relation(connection, *PUBLIC)
        found = Examination(
            alias=alias,
            server=catalogue.server(connection),
            relation=relation,
            table=table_seen(connection, relation, within=GLANCE_TIMEOUT) if relation else None,
            migrations=catalogue.migrations(connection, migrations.LABEL),
        )
        if relation is not None and not relation.rls_enabled:
            found.warn("no row security", "Row-level security is off: every role with a grant sees all tenants.")
    return found


def table_seen(
    connection: psycopg.Connection[Any], relation: Relation, *, within: timedelta = COUNT_TIMEOUT
) -> TableSeen:
    rows, exact = _rows(connection, relation, within)
    return TableSeen(
        schema=relation.schema,
        name=relation.name,
        oid=relation.oid,
        rows=rows,
        rows_exact=exact,
        total_bytes=relation.total_bytes,
        table_bytes=relation.table_bytes,
        index_bytes=relation.index_bytes,
        indexes=[index.name for index in relation.indexes],
        policies=[policy.name for policy in relation.policies],
        row_security=relation.rls_enabled,
        row_security_forced=relation.rls_forced,
    )


def _rows(connection: psycopg.Connection[Any], relation: Relation, within: timedelta) -> tuple[int, bool]:
    try:
        return catalogue.exact_rows(connection, relation.schema, relation.name, within=within), True
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
        return max(relation.estimated_rows, 0), False


def _server_rules(found: Examination) -> None:
    alias, server = found.alias, found.server
    if server.is_standby:
        found.refuse("standby", f'The target "{alias}" is a standby: it can only be read. Use the primary\'s address.')
    if session.is_pooled(alias):
        found.refuse("pooler", str(PoolerBetween(target=alias)))
    if server.is_superuser:
        found.warn(
            "superuser",
            f'memops connects to "{alias}" as the superuser {server.role}. It needs less: manage.py memops sql roles'
            " prints the role to use.",
        )


def _relation_rules(found: Examination, connection: psycopg.Connection[Any], relation: Relation) -> None:
    alias, what = found.alias, f"{relation.schema}.{relation.name}"
    if not catalogue.is_owner(connection, relation.oid):
        found.refuse(
            "not owner",
            f'{what} on "{alias}" belongs to {relation.owner}; memops connects as {found.server.role}, who may'
            f" not change it. alter table {what} owner to {found.server.role}, or connect as the owner.",
        )
    if relation.row_security_active:
        found.refuse(
            "row security",
            f'The role {found.server.role} sees only a part of {what} on "{alias}": row-level security holds for'
            " it, so a backup would be incomplete. Give it BYPASSRLS (manage.py memops sql roles).",
        )
    for dependent in catalogue.dependents(connection, relation.oid):
        found.refuse(
            "dependent",
            f"{dependent.kind} {dependent.name} depends on {what}; moving or dropping the table would take it along or"
            " break it. Drop it, or change it, first.",
        )
    found.blockers = blockers.of_relation(connection, relation.oid)
    for prepared in catalogue.prepared_transactions(connection, relation.oid):
        found.prepared.append(prepared.gid)
        if prepared.holds_table:
            found.refuse(
                "prepared transaction",
                f"The prepared transaction {prepared.gid!r} of {prepared.owner} holds {what} since"
                f" {prepared.prepared_at:%Y-%m-%d %H:%M} UTC and will until it is ended: commit prepared or rollback"
                " prepared.",
            )
    for holder in found.blockers:
        if holder.kind != "prepared transaction":
            found.warn("in use", f"{what} is in use by {holder}. The change waits for it within the lock budget.")
    if not relation.rls_enabled:
        found.warn("no row security", f"Row-level security is off on {what}: every role with a grant sees all tenants.")
    for standing in catalogue.replication(connection, relation.oid):
        found.replication.append(str(standing))
        found.warn("replication", f"{standing}: the change goes there too.")


def idle_rules(found: Examination, *, end_idle: timedelta | None) -> None:
    """What a plan that has idle transactions ended cannot do here; and that there are some, if it does not."""
    server = found.server
    are_idle = any(blocker.is_idle for blocker in found.blockers)
    if end_idle is None:
        if are_idle:
            found.warn(
                "idle",
                "A transaction that holds the table is idle, and as long as it is, this plan waits for it and gives up"
                " in the end. Another plan can have it ended (Idle transactions on the plan's page, or --end-idle).",
            )
        return
    if are_idle:
        found.warn(
            "idle",
            "A transaction that holds the table is idle: it is ended as soon as it has been so for more than"
            f" {end_idle.total_seconds():.0f} s, if the change needs the table then.",
        )
    if not server.sees_all_sessions:
        found.warn(
            "sees no idle sessions",
            f'memops connects to "{found.alias}" as {server.role}, who is not shown what sessions of other roles do.'
            " Those are left alone: only who is seen to be idle is ended. Grant it pg_monitor (manage.py memops sql"
            " roles).",
        )
    if not server.may_end_sessions:
        found.warn(
            "no right to end sessions",
            f'memops connects to "{found.alias}" as {server.role}, who may end the sessions of its own role alone.'
            " Those of others are left alone, and named. To have them ended: grant pg_signal_backend to"
            f" {server.role}.",
        )


def backup_rules(found: Examination, *, folder: Path) -> None:
    """Can this target be backed up, and the backup be proved? What forbids it forbids nothing else."""
    try:
        client = clients.find("pg_dump", server_version=found.server.version_num)
        clients.find("pg_restore", server_version=found.server.version_num)
        found.client = f"pg_dump {client.version}"
    except ConsoleError as error:
        found.refuse("client", str(error), backup_only=True)
    try:
        found.scratch = str(scratch.place(found.alias))
    except ConsoleError as error:
        found.refuse("scratch place", str(error), backup_only=True)
    newest = Backup.objects.filter(target=found.alias, state__in=Backup.COMPLETE).order_by("-pk").first()
    if newest is not None and not os.path.lexists(newest.location):
        found.warn(
            "backup missing",
            f"Backup {newest.pk}, the newest of this target, is not at {newest.location} any more. Was it moved, or is"
            " its disk not mounted?",
        )
    for problem in _folder_problems(folder):
        found.refuse("backup folder", problem, backup_only=True)
        return
    for doubt in folders.doubts(folder):
        found.warn("backup folder", f"Of the backup folder {folder}: {doubt}.")
    filesystem = os.statvfs(folder)
    found.free_bytes = filesystem.f_bavail * filesystem.f_frsize
    needed = int((found.table.table_bytes if found.table else 0) * ARCHIVE_SHARE)
    if found.free_bytes < needed:
        found.refuse(
            "disk",
            f"The backup folder {folder} has {found.free_bytes:,} bytes free, and the backup may need {needed:,}."
            " Make room, or set MEMOPS_BACKUP_DIR to a larger disk.",
            backup_only=True,
        )


def _folder_problems(folder: Path) -> Iterator[str]:
    """Why a backup could not be written there. The proof is a file that is written and removed again."""
    mend = "Mend it, or set MEMOPS_BACKUP_DIR to another folder."
    try:
        make_folder(folder)
        with folders.opened(folder), tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"memops")
            probe.flush()
            mode = os.fstat(probe.fileno()).st_mode
    except OSError as error:
        reason = errno.errorcode.get(error.errno or 0, "error")
        yield f"The backup folder {folder} cannot be written ({os.strerror(error.errno or 0)}, {reason}). {mend}"
    except BackupFolderUnusable as error:
        yield f"The backup folder {folder} cannot be used: {error.facts['problem']}. {mend}"
    else:
        if problem := folders.open_to_change(folder, mode):
            yield f"The backup folder {folder} is open to others: {problem}. {mend}"


def backup_folder(alias: str) -> Path:
    """Where the backups of a target are kept."""
    return Path(settings.MEMOPS_BACKUP_DIR) / alias
