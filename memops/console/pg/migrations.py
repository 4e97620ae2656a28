"""The migrations of memory_chunks, through Django's own executor, within a transaction that is already open."""

from __future__ import annotations

import hashlib
import inspect
import sys

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from memops import sql
from memops.console.errors import NotAtomic
from memops.console.pg import catalogue, session

LABEL = "memops"


def known(*, app: str = LABEL) -> dict[str, str]:
    """The migrations that this version of memops has, and the hash of what each one executes."""
    executor = MigrationExecutor(None)  # without a connection it reads the files alone
    return {
        name: _source_hash(executor.loader.disk_migrations[label, name])
        for label, name in sorted(executor.loader.disk_migrations)
        if label == app
    }


def applied(alias: str, *, app: str = LABEL) -> list[str]:
    """Which of them the target has recorded, the oldest first. Raises TargetUnreachable."""
    with session.connect(alias, application_name="memops reads the history") as connection:
        return catalogue.migrations(connection, app)


def not_atomic() -> list[str]:
    """Migrations that could not be part of one transaction."""
    executor = MigrationExecutor(None)
    return [
        name
        for (label, name), migration in executor.loader.disk_migrations.items()
        if label == LABEL and not migration.atomic
    ]


class Reversal:
    """What ``manage.py migrate memops zero`` does, in one transaction.

    The files of every app's migrations are read before it begins: that takes a quarter as long as all the rest.
    """

    def __init__(self) -> None:
        self.executor: MigrationExecutor | None = None

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        self.executor = MigrationExecutor(connection)

    def unapply_all(self, connection: BaseDatabaseWrapper) -> None:
        """Reverse every migration of memory_chunks that is applied now."""
        executor = self.executor
        if (
            executor is None
            or executor.recorder.applied_migrations().keys() != executor.loader.applied_migrations.keys()
        ):
            executor = MigrationExecutor(connection)
        executor.loader.check_consistent_history(connection)
        plan = executor.migration_plan([(LABEL, None)])
        _refuse_non_atomic([migration for migration, _ in plan])
        for migration, _ in plan:
            # As executor.migrate does, but without rendering every model of every app first, which SQL has no use for.
            before = executor.loader.project_state((migration.app_label, migration.name), at_end=False)
            executor.unapply_migration(before, migration)


def move_back(connection: BaseDatabaseWrapper, *, table: str, record: list[str]) -> None:
    """Move a quarantined table back to public, and record the migrations that it stands for as applied."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_catalog.set_config('memops.undo_table', %s, true)", [table])
        cursor.execute(sql.undo())
    recorder = MigrationRecorder(connection)
    recorder.ensure_schema()
    there = recorder.applied_migrations()
    for name in record:
        if (LABEL, name) not in there:
            recorder.record_applied(LABEL, name)


def _refuse_non_atomic(migrations: list[Migration]) -> None:
    names = [migration.name for migration in migrations if not migration.atomic]
    if names:
        raise NotAtomic(migrations=", ".join(names))


def _source_hash(migration: Migration) -> str:
    source = inspect.getsource(sys.modules[type(migration).__module__])
    return hashlib.sha256((source + sql.up() + sql.down()).encode()).hexdigest()
