"""Faults are real: processes are killed, sessions ended, the server is killed and started again.

Each is injected into a console of its own, whose target has rows, and counted; the last lines of a run of the tests say
how many there were, and after how many of them nothing was lost. Some kill the server of the tests: who runs the tests
twice in one clone at the same time finds the other run's tests failing at that moment.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import pytest

from memops import demo
from memops.console.runs import history
from project import embedded
from tests import console_process
from tests.databases import (
    alias_of,
    as_superuser,
    clone_database,
    database_name,
    default_database,
    drop_database,
    fresh_database,
)
from tests.environment import CLONE
from tests.faults import ground
from tests.faults.hostile_console import hostile_console, hostile_scene, hostile_scenes  # noqa: F401  fixtures
from tests.faults.shell import listener, ready, shell  # noqa: F401  fixtures

ROWS = 120

injected: Counter[str] = Counter()
survived: Counter[str] = Counter()


@dataclass
class Fault:
    """``something`` was hit; a process that had ended already was not, and is not counted as a fault."""

    something: bool = True


@pytest.fixture
def fault() -> Callable[[str], "contextmanager[Fault]"]:
    """Count a fault: injected when something was hit, survived when everything was then found as it should be."""

    @contextmanager
    def counted(kind: str) -> Iterator[Fault]:
        one = Fault()
        try:
            yield one
        except BaseException:
            injected[kind] += 1
            raise
        if one.something:
            injected[kind] += 1
            survived[kind] += 1

    return counted


def pytest_terminal_summary(terminalreporter) -> None:
    if not injected:
        return
    terminalreporter.section("faults")
    for kind, times in sorted(injected.items()):
        terminalreporter.write_line(f"{kind}: {times} injected, {survived[kind]} ended with nothing lost")
    terminalreporter.write_line(
        f"faults in all: {injected.total()} injected, {survived.total()} ended with nothing lost"
    )


@pytest.fixture(scope="session")
def filled_console(template_database, tmp_path_factory, django_db_blocker) -> Iterator[tuple[str, Path]]:
    """A database to copy, with rows in memory_chunks, and the anchors that belong to its audit trail."""
    from django.conf import settings

    name = database_name("faults")
    clone_database(name, template_database)
    anchors = tmp_path_factory.mktemp("faults") / "anchors.jsonl"
    before, settings.MEMOPS_ANCHORS = settings.MEMOPS_ANCHORS, anchors
    with django_db_blocker.unblock(), default_database(name):
        demo.load("default", rows=ROWS, tenants=4)
        history.notice("default")
    settings.MEMOPS_ANCHORS = before
    yield name, anchors
    drop_database(name)


@pytest.fixture
def console(filled_console, settings, tmp_path, django_db_blocker) -> Callable[[], "contextmanager[ground.Before]"]:
    """Consoles with a filled target, one after the other; gives what the table is before anything happens."""
    template, anchors = filled_console

    @contextmanager
    def fresh() -> Iterator[ground.Before]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        settings.MEMOPS_BACKUP_DIR = folder / "backups"
        settings.MEMOPS_ANCHORS = folder / "anchors.jsonl"
        if anchors.exists():
            shutil.copy(anchors, settings.MEMOPS_ANCHORS)
        with django_db_blocker.unblock(), fresh_database(template) as name, default_database(name):
            # In a copy PostgreSQL counts on the original's log of its sequences, until the first checkpoint: a crash
            # before it would give out numbers twice.
            as_superuser("checkpoint")
            yield ground.look()
        shutil.rmtree(folder)

    return fresh


@pytest.fixture
def far_console(console, settings) -> Callable[[], "contextmanager[ground.Before]"]:
    """Consoles with another target, "far", in the same database, which the executor can be told to reach otherwise."""

    @contextmanager
    def fresh() -> Iterator[ground.Before]:
        with console() as before, alias_of("far") as far:
            settings.MEMOPS_TARGETS = [*settings.MEMOPS_TARGETS, far]
            yield before

    return fresh


@pytest.fixture
def memops(manage) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``manage.py memops`` on the present console; its target "far" is reached at an address."""

    def run(*arguments: str, address: dict[str, str]) -> subprocess.CompletedProcess[str]:
        from django.db import connections

        database = connections.databases["default"]["NAME"]
        url = f"postgresql://{embedded.OWNER_ROLE}@{address['HOST']}:{address['PORT']}/{database}?connect_timeout=2"
        environment = console_process.environment_of(database) | {
            "DJANGO_SETTINGS_MODULE": "tests.faults.impatient_settings",
            "MEMOPS_TARGETS": f"far={url}",
        }
        return subprocess.run(
            [*manage, "memops", *arguments], env=environment, cwd=CLONE, capture_output=True, text=True, check=False
        )

    return run


class Executor:
    """Processes that execute runs of the present console, one at a time."""

    def __init__(self, process: subprocess.Popen[bytes], lines: IO[bytes], go_on: Path) -> None:
        self._process, self._lines, self._go_on = process, lines, go_on
        self.pid = 0

    def begin(
        self,
        task: str,
        *,
        pause_at: str = "",
        aliases: dict[str, dict[str, Any]] | None = None,
        patience: timedelta | None = None,
    ) -> None:
        """``aliases``: in what they differ from ``default`` as it is here."""
        from django.conf import settings
        from django.db import connections

        order = {
            "run": task,
            "database": connections.databases["default"]["NAME"],
            "backups": str(settings.MEMOPS_BACKUP_DIR),
            "anchors": str(settings.MEMOPS_ANCHORS),
            "pause_at": pause_at,
            "go_on": str(self._go_on),
            "aliases": aliases or {},
            "patience_seconds": (patience or settings.MEMOPS_PATIENCE).total_seconds(),
        }
        self._go_on.unlink(missing_ok=True)
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(order)}\n".encode())
        self._process.stdin.flush()
        self.pid = int(self.hears().split()[1])

    def hears(self) -> str:
        """The next thing that it says. A process that hangs fails the test."""
        assert select.select([self._lines], [], [], ground.PATIENCE_SECONDS)[0], "The executor hangs"
        line = self._lines.readline().decode().strip()
        assert line, "The executor has ended"
        return line

    def until(self, said: str) -> None:
        while (line := self.hears()) != said:
            assert not line.startswith("ended"), f"It never came to {said!r}: {line}"

    def go_on(self) -> None:
        """Past the place where it waits."""
        self._go_on.touch()

    def kill(self) -> bool:
        """SIGKILL, which nothing can prepare for; False if it has ended already. Its children are not told."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def end(self) -> str:
        while not (line := self.hears()).startswith("ended"):
            pass
        return line.removeprefix("ended ")


@pytest.fixture(scope="session")
def executor(embedded_server, tmp_path_factory) -> Iterator[Executor]:
    folder = tmp_path_factory.mktemp("executor")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    with (
        (folder / "log").open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.executor"],
            cwd=CLONE,
            env={**environment, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            bufsize=0,  # What it said is asked for with a time limit, which a buffer would hide it from.
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield Executor(process, process.stdout, folder / "go_on")
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
