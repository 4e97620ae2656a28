"""What the steps of a restore share: the backup, its manifest, the place beside the table, and what forbids it all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings

from memops.console.errors import ConsoleError, NothingToRestore
from memops.console.interruption import forget_connection
from memops.console.models import Backup, QuarantinedTable, Run
from memops.console.models.plans import StandingSeen
from memops.console.pg import clients, ground, staging
from memops.console.pg.manifest import Manifest
from memops.console.pg.staging import Place
from memops.console.pg.standing import Choice
from memops.console.steps import StepLog, examination
from memops.console.steps.examination import Examination
from memops.console.units import size

AS_MIGRATED = ("delete", "insert", "select", "update")
"""What the migration grants to the application."""


def backup_of(run: Run) -> Backup:
    if run.subject is None:
        raise NothingToRestore(backup="of this run", why="it does not say which")
    return run.subject


def place_of(run: Run) -> Place:
    return staging.place_of(run.target_id, run.key.hex)


def choice_of(run: Run) -> Choice | None:
    chosen = run.planned().rows_choice
    return Choice(chosen) if chosen else None


def manifest_of(backup: Backup) -> Manifest:
    """As it was recorded: what lies beside the archive has to be the same, and is compared before the archive is
    opened."""
    return Manifest(**backup.manifest)


def other_than(backup: Backup, found: Manifest) -> str:
    """In what a manifest differs from the one that was recorded with its backup; empty where it does not."""
    other = sorted(name for name, value in asdict(found).items() if backup.manifest.get(name) != value)
    if not other:
        return ""
    whose = "It was edited, or belongs to another backup"
    if "server" in other:
        whose = "It belongs to a backup of another database"
    return (
        "its manifest is not the one that was written with it: it differs in"
        f" {', '.join(name.replace('_', ' ') for name in other)}. {whose}"
    )


def home_grants(backup: Backup) -> list[list[Any]]:
    """The grants that a table had before a rollback revoked them: a backup of it from quarantine holds none."""
    if not backup.relation.startswith("memops_quarantine."):
        return []
    owner = backup.manifest["catalogue"]["owner"]
    table = QuarantinedTable.objects.filter(
        target=backup.target_id, server=backup.server, table_oid=backup.table_oid
    ).first()
    before = (table.run.saw("precheck").get("catalogue") if table is not None else None) or {}
    if "grants" in before:
        return [grant for grant in before["grants"] if grant[0] != owner]
    return [[settings.MEMOPS_APP_ROLE, privilege, False, ""] for privilege in AS_MIGRATED]


@contextmanager
def leaving_nothing(run: Run, log: StepLog) -> Iterator[None]:
    """Who cannot go on removes what is beside the table. What cannot be removed now, reconcile or the next restore
    removes."""
    try:
        yield
    except BaseException:
        forget_connection()
        with suppress(ConsoleError, psycopg.Error):
            for schema in staging.drop(place_of(run)):
                log.line(f"Removed {schema}, with what was loaded into it.")
        raise


def rules(found: Examination, backup: Backup, *, choice: Choice | None, elsewhere: bool) -> StandingSeen | None:
    """What forbids a restore here and now, and what has to be known before it."""
    alias = found.alias
    if backup.state != Backup.State.VERIFIED:
        found.refuse(
            "not verified",
            f"Backup {backup.pk} is not verified ({backup.get_state_display().lower()}). Verify it first:"
            f" manage.py memops verify-backup {backup.pk}.",
        )
        return None
    _database_rules(found, backup, elsewhere=elsewhere)
    if not Path(backup.location).exists():
        found.refuse("file", f"Backup {backup.pk} is not at {backup.location} any more. Is its disk mounted?")
    try:
        clients.find("pg_restore", server_version=found.server.version_num)
    except ConsoleError as error:
        found.refuse("client", str(error))
    if not found.server.bypasses_row_security:
        found.refuse(
            "row security",
            f"The role {found.server.role} is under row-level security, so it could not compare what it has restored."
            " Give it BYPASSRLS (manage.py memops sql roles).",
        )
    manifest = manifest_of(backup)
    seen = ground.look(
        alias,
        manifest=manifest,
        taken_at=datetime.fromisoformat(manifest.started_at),
        app_role=settings.MEMOPS_APP_ROLE,
        within=examination.COUNT_TIMEOUT,
    )
    _server_rules(found, manifest, seen)
    _room_rules(found, backup, seen)
    _row_rules(found, backup, manifest, seen, choice)
    return StandingSeen(has_rows=seen.has_rows is not False, written_since=seen.written_since)


def _database_rules(found: Examination, backup: Backup, *, elsewhere: bool) -> None:
    if backup.server == found.server_identity:
        return
    text = (
        f"Backup {backup.pk} is of another database ({backup.server}) than the one that the alias"
        f' "{found.alias}" leads to now ({found.server_identity}).'
    )
    if elsewhere:
        found.warn("other database", f"{text} It is restored all the same, as the plan says.")
    else:
        found.refuse(
            "other database",
            f"{text} If that one is lost and this is to take its place, say so: --other-database, or the choice on"
            " the plan's page.",
        )


def _server_rules(found: Examination, manifest: Manifest, seen: ground.Ground) -> None:
    if seen.missing_roles:
        found.refuse(
            "roles",
            f"The backup names roles that the server does not have: {', '.join(seen.missing_roles)}. Make them first"
            " (manage.py memops sql roles).",
        )
    wanted = manifest.extensions.get("vector")
    if wanted and (seen.extension is None or ground.is_older(seen.extension, wanted)):
        there = f"has vector {seen.extension}, older than" if seen.extension else "lacks vector"
        found.refuse("extension", f'The database of "{found.alias}" {there} {wanted}, which the backup was made with.')
    drawing = [name for name, _, _, default in manifest.catalogue["columns"] if _draws(default)]
    if drawing:
        found.refuse(
            "sequences",
            f"The columns {', '.join(drawing)} of the backup draw their numbers from sequences, which cannot be put"
            " beside those that stand. Restore it into a database of its own, by hand (docs/restore.md).",
        )
    if seen.publishing_all:
        found.warn(
            "publication",
            f"The publication {', '.join(seen.publishing_all)} publishes every table, so also the one that is loaded"
            " beside memory_chunks: a subscriber who lacks it may stop. Pause the subscriptions first.",
        )
    if not seen.may_try_isolation:
        found.warn(
            "isolation not tried",
            f"The role {found.server.role} may not act as {settings.MEMOPS_APP_ROLE}: that tenants are kept apart is"
            " compared in the catalogue, and not tried out. manage.py memops sql roles has the grant.",
        )


def _draws(default: str | None) -> bool:
    return bool(default) and ("nextval(" in default or "as identity" in default)  # type: ignore[operator]


def _room_rules(found: Examination, backup: Backup, seen: ground.Ground) -> None:
    then = backup.run.saw("precheck").get("table") or {}
    needed = int(then.get("total_bytes") or backup.raw_bytes or 0)
    if seen.free_bytes is None:
        found.warn(
            "disk not seen",
            f"memops cannot see how much is free on the server's disk. The restored table needs about {size(needed)}"
            " beside what stands there.",
        )
    elif seen.free_bytes < needed:
        found.refuse(
            "disk",
            f"The server's disk has {seen.free_bytes:,} bytes free, and the restored table with its indexes needs about"
            f" {needed:,} beside what stands there. Make room first.",
        )


def _row_rules(
    found: Examination, backup: Backup, manifest: Manifest, seen: ground.Ground, choice: Choice | None
) -> None:
    if seen.has_rows is None:
        found.refuse(
            "locked", "Whether public.memory_chunks has rows could not be seen: another session has locked it."
        )
    if choice is not None and choice.takes_rows:
        if found.relation is None:
            found.refuse("no table", "There is no public.memory_chunks whose rows could be brought in: choose replace.")
        else:
            now = [[column.name, column.type] for column in found.relation.columns]
            if now != [column[:2] for column in manifest.catalogue["columns"]]:
                found.refuse("columns", "The table that stands has other columns than the backup: choose replace.")
            if manifest.catalogue["triggers"]:
                found.refuse("triggers", "Triggers of the table would change rows that are brought in: choose replace.")
    if not seen.has_rows:
        return
    rows = f"{found.table.rows:,}" if found.table else "some"
    since = (
        f"{seen.written_since:,} of them written since backup {backup.pk} was taken"
        if seen.written_since is not None
        else "how many of them are newer than the backup took too long to count"
    )
    about = "" if found.table and found.table.rows_exact else "about "
    standing = f"public.memory_chunks has {about}{rows} rows, {since}."
    if choice is None:
        offered = " ".join(f"{one.value}: {one.words.partition(': ')[2]}" for one in Choice)
        found.refuse("rows standing", f"{standing} Say what becomes of them. {offered}")
    else:
        found.warn(
            "rows standing", f"{standing} {choice.words} The table that stands goes to quarantine, whole and as it is."
        )
