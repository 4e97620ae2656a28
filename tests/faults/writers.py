"""Applications that write while a run goes on, and keep count of every row that the server has acknowledged."""

import time
import uuid
from contextlib import suppress
from threading import Event, Thread

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import sql

from memops.console.pg import catalogue, session
from project import embedded
from tests.faults import ground

INSERT = (
    "insert into public.memory_chunks (id, user_hash, doc_id, source, chunk_index)"
    " values (%s, pg_catalog.current_setting('app.user_hash'), 'diary', 'writers', %s)"
)
LONGEST_WAIT_SECONDS = 0.02


class Writers:
    """Some sessions as the application's role, each with a tenant of its own; they go on where the table is away."""

    def __init__(self, how_many: int = 3) -> None:
        self.acknowledged: list[uuid.UUID] = []
        self.refused = 0
        self._stop = Event()
        self._url = embedded.url(
            settings.MEMOPS_HOME, database=connections.databases[ground.TARGET]["NAME"], role=embedded.APP_ROLE
        )
        self._threads = [Thread(target=self._write, args=[f"{number:064x}"]) for number in range(how_many)]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        ground.until(lambda: len(self.acknowledged) > 20, "the writers write")
        return self

    def __exit__(self, *ending: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, tenant: str) -> None:
        while not self._stop.is_set():
            with suppress(psycopg.Error), psycopg.connect(self._url, autocommit=True) as connection:
                connection.execute("select pg_catalog.set_config('app.user_hash', %s, false)", [tenant])
                while not self._stop.is_set():
                    self._write_one(connection)
            time.sleep(LONGEST_WAIT_SECONDS)  # The server is away, or has ended the session.

    def _write_one(self, connection: psycopg.Connection) -> None:
        row = uuid.uuid4()
        try:
            connection.execute(INSERT, [row, len(self.acknowledged)])
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
            self.refused += 1
            time.sleep(LONGEST_WAIT_SECONDS)
        else:
            # Only a row whose insert has returned was promised to anybody.
            self.acknowledged.append(row)


def kept_rows() -> list[uuid.UUID]:
    """The rows of all writers, in public and in every quarantined table."""
    with session.connect(ground.TARGET) as connection:
        tables = [(table.schema, table.name) for table in catalogue.quarantined(connection)]
        if catalogue.relation(connection, "public", "memory_chunks") is not None:
            tables.append(("public", "memory_chunks"))
        rows = []
        for schema, name in tables:
            written = sql.SQL("select id from {}.{} where source = 'writers'")
            rows += connection.execute(written.format(sql.Identifier(schema), sql.Identifier(name))).fetchall()
    return [row for (row,) in rows]


def assert_none_is_lost(writers: Writers) -> None:
    """Every acknowledged row is there, and none is there twice."""
    promised = set(writers.acknowledged)
    found = kept_rows()
    assert len(found) == len(set(found))
    missing = promised - set(found)
    assert not missing, f"{len(missing)} of {len(promised)} acknowledged rows are lost"
