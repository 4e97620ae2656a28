"""The verbs as a shell starts them: with arguments that may be anything, and streams that are strict about UTF-8."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connections

from memops.console.management.commands.memops import Command
from project import embedded
from tests.environment import CLONE
from tests.faults import hostile
from tests.faults.verbs import USES
from tests.postgres.people import PASSWORD
from tests.postgres.test_mutating_urls import Scene

LONGEST_ANSWER = 2500
"""Characters on standard error: how a verb is used, and one sentence."""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def assert_refused(self, why: str, *, codes: tuple[int, ...] = (2, 3)) -> None:
        """In a sentence, which says no more than a glimpse of what was typed."""
        assert self.code in codes, (why, self)
        assert self.err.strip(), why
        assert len(self.err) < LONGEST_ANSWER, (why, len(self.err))
        assert "Traceback" not in self.err, why
        assert hostile.unseen_in(self.err + self.out) == [], why


class Shell:
    """``manage.py memops``, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "two" / "down"
        self.folder.mkdir(parents=True)
        self._streams = [folder / name for name in ("in", "out", "err")]

    def __call__(self, *arguments: str, typed: bytes = PASSWORD.encode() + b"\n") -> Ended:
        """In this process. A traceback would be the test's."""
        given, out, err = self._streams
        given.write_bytes(typed)
        code, before = 0, sys.stdin
        with (
            given.open(encoding="utf-8") as standard_input,
            out.open("w", encoding="utf-8") as standard_output,
            err.open("w", encoding="utf-8", errors="backslashreplace") as standard_error,
            redirect_stdout(standard_output),
            redirect_stderr(standard_error),
        ):
            sys.stdin = standard_input
            try:
                Command().run_from_argv(["manage.py", "memops", *arguments])
            except SystemExit as ending:
                code = int(ending.code or 0)
            finally:
                sys.stdin = before
        return Ended(code, out.read_text("utf-8"), err.read_text("utf-8"))

    def process(self, *arguments: bytes, typed: bytes = b"", **environment: str) -> Ended:
        """In a process of its own."""
        database = connections.databases["default"]["NAME"]
        ours = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "MEMOPS_HOME": str(django_settings.MEMOPS_HOME),
            "MEMOPS_BACKUP_DIR": str(django_settings.MEMOPS_BACKUP_DIR),
            "MEMOPS_ANCHORS": str(django_settings.MEMOPS_ANCHORS),
            "MEMOPS_SECOND_FACTOR": "off",
            "DATABASE_URL": embedded.url(django_settings.MEMOPS_HOME, database=database),
        }
        ended = subprocess.run(
            [sys.executable, str(CLONE / "manage.py"), b"memops", *arguments],
            env=ours | environment,
            cwd=self.folder,
            input=typed,
            capture_output=True,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    def files(self) -> set[Path]:
        """Whatever lies where the verbs work, and where they keep their backups."""
        tops = (self.folder, django_settings.MEMOPS_ANCHORS.parent)
        return {file for top in tops for file in top.rglob("*") if file.is_file()}


@pytest.fixture
def shell(tmp_path, monkeypatch) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    monkeypatch.chdir(shell.folder)
    levels = {name: logging.getLogger(name).level for name in ("memops.run", "django-q")}
    yield shell
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def listener() -> Iterator[str]:
    """An address where somebody listens already: the verbs that run until they are stopped end at once."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def ready(hostile_scenes, listener, settings) -> Callable[..., AbstractContextManager[tuple[Scene, list[str]]]]:
    """A console of its own, and the arguments with which a verb does there what it should."""

    @contextmanager
    def prepared(verb: str, number: int = 0) -> Iterator[tuple[Scene, list[str]]]:
        with hostile_scenes() as scene:
            settings.MEMOPS_BIND, settings.MEMOPS_SECOND_FACTOR = listener, "off"
            yield scene, [one if isinstance(one, str) else str(one(scene)) for one in USES[verb][number]]

    return prepared
