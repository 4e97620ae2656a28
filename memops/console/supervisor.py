"""Worker and web in the foreground: started, restarted when they die, and all ended by one Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from types import FrameType
from typing import IO
from urllib.parse import urlsplit

from django.conf import settings

from memops.console import children, errors
from memops.console.characters import quoted

GRACE = timedelta(seconds=10)
FIRST_PAUSE = timedelta(milliseconds=500)
LONGEST_PAUSE = timedelta(seconds=30)
STEADY_AFTER = timedelta(minutes=1)
"""A program that lived for so long is restarted without a long pause when it ends."""
GIVE_UP_AFTER = 3
"""So many ends of a program before everything has been ready once mean that it cannot work here."""
TICK_SECONDS = 0.1

Announce = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Program:
    """A command that is kept running; ``name`` is what people are told about."""

    name: str
    argv: Sequence[str]


def run_in_foreground(*, bind: str, demo_banner: str | None, announce: Announce) -> None:
    """Run worker and web until SIGINT, SIGTERM or SIGHUP; no process is left behind. Needs the process's main thread.

    ``announce`` gets each line for people: restarts, and, once the web answers, ``demo_banner`` or the address.
    Raises PortInUse before anything is started, ProgramKeepsEnding when it cannot work.
    """
    refuse_taken(bind)
    supervise(
        [Program(name="worker", argv=worker_command()), Program(name="web server", argv=web_command(bind))],
        is_ready=lambda: answers(bind),
        banner=demo_banner or f"memops listens on http://{bind}/   Ctrl-C ends it.",
        announce=announce,
    )


def worker_command() -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster"]


def web_command(bind: str) -> list[str]:
    """One process with threads: the console has few users, and a process costs 60 MB."""
    options = ["--bind", bind, "--workers", "1", "--threads", "8", "--graceful-timeout", "5", "--log-level", "warning"]
    # Its control socket would lie in the home folder of the user.
    options += ["--no-control-socket", "--chdir", str(settings.BASE_DIR)]
    return [sys.executable, "-m", "gunicorn", "project.wsgi", *options]


def supervise(
    programs: Sequence[Program],
    *,
    is_ready: Callable[[], bool],
    banner: str,
    announce: Announce,
    log: IO[bytes] | None = None,
) -> None:
    """Keep the programs running until a signal asks for the end; what they write to standard error goes to ``log``."""
    with _signals() as asked, ExitStack() as stack:
        running = [_Supervised(program, log or sys.stderr.buffer, announce) for program in programs]
        for one in running:
            stack.callback(one.kill)
            one.start()
        ready = False
        while not asked:
            for one in running:
                one.look_after(give_up=not ready)
            if not ready and is_ready():
                ready = True
                announce(banner)
            time.sleep(TICK_SECONDS)
        announce(f"Stopping. A run at work has {GRACE.seconds} s to end; Ctrl-C once more ends everything at once.")
        for one in running:
            one.terminate()
        deadline = time.monotonic() + GRACE.total_seconds()
        while any(one.is_running() for one in running) and len(asked) < 2 and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS / 2)


@dataclass
class _Supervised:
    """A program, its present child, and when it may be started again."""

    program: Program
    log: IO[bytes]
    announce: Announce
    child: children.Child | None = None
    started: float = 0
    ends: int = 0
    pause: timedelta = FIRST_PAUSE
    again_at: float | None = field(default=None)

    def start(self) -> None:
        # SIGTERM if we are killed: both end their own children then, which SIGKILL would leave behind.
        self.child = children.start(
            self.program.argv, env=os.environ, stderr_copy=self.log, when_orphaned=signal.SIGTERM
        )
        self.started, self.again_at = time.monotonic(), None

    def look_after(self, *, give_up: bool) -> None:
        """Start it again if it has ended, after a pause that doubles with every early end."""
        if self.again_at is not None:
            if time.monotonic() >= self.again_at:
                self.start()
            return
        assert self.child is not None
        ended = self.child.poll()
        if ended is None:
            return
        self.ends += 1
        if give_up and self.ends >= GIVE_UP_AFTER:
            raise errors.ProgramKeepsEnding(
                program=self.program.name, times=self.ends, ended=ended, said=ended.stderr or "nothing"
            )
        if time.monotonic() - self.started > STEADY_AFTER.total_seconds():
            self.pause = FIRST_PAUSE
        seconds = self.pause.total_seconds()
        self.announce(f"The {self.program.name} has ended ({ended}). It is started again in {seconds:g} s.")
        self.again_at = time.monotonic() + seconds
        self.pause = min(self.pause * 2, LONGEST_PAUSE)

    def is_running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def terminate(self) -> None:
        if self.child is not None:
            self.child.terminate()

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Signals that ask for the end are collected in a list instead of raising an exception at some line or other."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def answers(bind: str) -> bool:
    """Does the web server answer, with whatever status?"""
    host, port = _address(bind)
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    connection = HTTPConnection(everywhere.get(host, host), port, timeout=5)
    try:
        connection.request("HEAD", "/", headers={"Host": "localhost"})
        connection.getresponse()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def refuse_taken(bind: str) -> None:
    """Raises PortInUse where nobody could listen there."""
    host, port = _address(bind)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Waiting connections of the last run do no harm.
        try:
            probe.bind((host, port))
        except OSError as error:
            why = "there is no such address" if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
            raise errors.PortInUse(bind=quoted(bind), why=why.lower()) from error
        except UnicodeError as error:
            raise errors.PortInUse(bind=quoted(bind), why="that is no address") from error


def _address(bind: str) -> tuple[str, int]:
    parts = urlsplit(f"//{bind}")
    return parts.hostname or "127.0.0.1", parts.port or 8000
