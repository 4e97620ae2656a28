"""How a table becomes a stream of bytes, and a table again. One format so far; a faster one can stand beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from memops.console import children
from memops.console.children import Child
from memops.console.pg import clients, session

QUEUED_LOCK_WAIT = timedelta(seconds=2)
"""How long to wait for a share lock on a table that is held already. Only somebody who waits for us can be in the way,
and everybody else waits behind him."""

DUMPS, RESTORES = "memops dumps", "memops restores"
"""What the sessions of pg_dump and pg_restore are called on the server."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is dumped: a table, as one snapshot shows it."""

    params: dict[str, str]
    server_version: int
    schema: str
    name: str
    snapshot: str


@dataclass(frozen=True, kw_only=True)
class Sink:
    """Where it is restored: a database that holds nothing else."""

    params: dict[str, str]
    server_version: int
    options: dict[str, str]


class Part(StrEnum):
    """What of an archive is printed: the statements that make the table, or its rows as COPY reads them."""

    STRUCTURE = "--schema-only"
    ROWS = "--data-only"


class Format(Protocol):
    """A way to write a table to a stream and to read it back, all of it or nothing."""

    name: str
    suffix: str

    def client_version(self, source: Source) -> str: ...

    def writer(self, source: Source) -> AbstractContextManager[Child]: ...

    def reader(self, sink: Sink) -> AbstractContextManager[Child]: ...

    def printer(self, part: Part, *, server_version: int) -> AbstractContextManager[Child]: ...


class PgDumpArchive:
    """pg_dump's custom format, uncompressed: the stream is compressed outside, on the second core."""

    name = "archive"
    suffix = ".dump.zst"

    def client_version(self, source: Source) -> str:
        return clients.find("pg_dump", server_version=source.server_version).version

    @contextmanager
    def writer(self, source: Source) -> Iterator[Child]:
        client = clients.find("pg_dump", server_version=source.server_version)
        arguments = [
            "--format=custom",
            "--compress=none" if client.major >= 16 else "--compress=0",
            "--no-password",
            "--strict-names",
            f"--snapshot={source.snapshot}",
            f"--table={_pattern(source.schema)}.{_pattern(source.name)}",
            f"--lock-wait-timeout={QUEUED_LOCK_WAIT / timedelta(milliseconds=1):.0f}",
            f"--dbname={session.child_conninfo(source.params)}",
        ]
        with (
            session.child_environment(source.params, PGAPPNAME=DUMPS) as environment,
            children.start([client.path, *arguments], env=environment, stdout=children.PIPE) as child,
        ):
            yield child

    @contextmanager
    def reader(self, sink: Sink) -> Iterator[Child]:
        client = clients.find("pg_restore", server_version=sink.server_version)
        options = " ".join(f"-c {name}={value}" for name, value in sink.options.items())
        arguments = [
            "--exit-on-error",
            "--single-transaction",
            "--no-password",
            # Without it pg_restore would print SQL.
            f"--dbname={session.child_conninfo(sink.params, dbname=sink.params['dbname'])}",
        ]
        with (
            session.child_environment(sink.params, PGAPPNAME=RESTORES, PGOPTIONS=options) as environment,
            children.start([client.path, *arguments], env=environment, stdin=children.PIPE) as child,
        ):
            yield child

    @contextmanager
    def printer(self, part: Part, *, server_version: int) -> Iterator[Child]:
        """pg_restore without a database: it prints, and connects to nothing."""
        client = clients.find("pg_restore", server_version=server_version)
        with (
            session.child_environment({}) as environment,
            children.start(
                [client.path, "--exit-on-error", part.value, "--file=-"],
                env=environment,
                stdin=children.PIPE,
                stdout=children.PIPE,
            ) as child,
        ):
            yield child


QUOTED_VALUE = re.compile(r'(: |\bvalue )".*"')
"""As in: invalid input syntax for type uuid: "..."; value "..." is out of range for type integer."""

FORMATS: dict[str, Format] = {"archive": PgDumpArchive()}


def first_error(said: str) -> str:
    """The first complaint of pg_dump or pg_restore, without the value that it quotes.

    Those after it follow from it, and quote queries or rows.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for line in lines:
        if "error:" in line:
            return QUOTED_VALUE.sub(r"\1...", line.partition("error:")[2].strip())[:300]
    return lines[-1][:300] if lines else "it said nothing"


def _pattern(name: str) -> str:
    """A name as a pattern that matches nothing else: within quotes only the quote itself is special."""
    return '"' + name.replace('"', '""') + '"'
