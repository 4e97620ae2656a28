"""A restored table takes the place of the one that stands: within the transaction of a change, by the catalogue alone.

The standing table is not overwritten: it goes to quarantine as in a rollback, and an empty one is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from memops import sql
from memops.console.pg import staging, standing
from memops.console.pg.migrations import LABEL
from memops.console.pg.standing import Choice, Merged


@dataclass(kw_only=True)
class Swap:
    """What ``commit_within_budget`` is to do. It may be done several times: only the last one is committed.

    ``expected`` is what the catalogue of the table has to be in its place. Raises StagedDiffers where it is not.
    """

    schema: str
    choice: Choice | None
    archive: str
    expected: dict[str, Any]
    record: list[str]
    merged: Merged | None = None
    stirred: int = 0

    def __call__(self, connection: BaseDatabaseWrapper) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "select pg_catalog.set_config('memops.restore_schema', %s, true),"
                " pg_catalog.set_config('memops.restore_rows', %s, true),"
                " pg_catalog.set_config('search_path', 'pg_catalog', true),"
                " pg_catalog.set_config('row_security', 'off', true)",
                [self.schema, self.choice or ""],
            )
            cursor.execute(sql.stand_aside())
            if self.choice is not None and self.choice.takes_rows:
                self._bring_in_the_last(connection)
            cursor.execute(sql.down())
            cursor.execute(sql.journal())
            cursor.execute(sql.restore())
            with connection.wrap_database_errors:
                raw = cast(psycopg.Connection[Any], connection.connection)
                staging.compare(raw, "public", archive=self.archive, expected=self.expected)
            # Django's own tables are found by the path that the connection came with.
            cursor.execute("set local search_path to default")
        recorder = MigrationRecorder(connection)
        recorder.ensure_schema()
        there = recorder.applied_migrations()
        for name in self.record:
            if (LABEL, name) not in there:
                recorder.record_applied(LABEL, name)

    def _bring_in_the_last(self, connection: BaseDatabaseWrapper) -> None:
        assert self.choice is not None
        raw = cast(psycopg.Connection[Any], connection.connection)
        with connection.wrap_database_errors, raw.cursor() as cursor:
            columns = standing.columns_of(cursor, self.schema)
            standing.catch_up(cursor, self.schema, choice=self.choice, columns=columns, tell=self._note)
            self.merged = standing.counted(cursor, self.schema)

    def _note(self, stirred: int) -> None:
        self.stirred = stirred
