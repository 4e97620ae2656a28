"""Waiting that can be stopped: while a query or a program works, its caller is asked a few times a second."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import psycopg

from memops.console.children import Child, Ended
from memops.console.pg.session import Connection

TICK = timedelta(milliseconds=200)

PATIENCE = 25
"""How often a server is asked to cancel, a tick apart, before its connection is given up."""

Progress = Callable[[int, int | None], None]
"""Called with bytes so far and, where it is known, bytes in all. What it raises stops the work."""

Result = TypeVar("Result")


@dataclass(kw_only=True)
class Teller:
    """Passes progress on five times a second, however often it is told."""

    progress: Progress
    done: int = 0
    total: int | None = None
    _told_at: float = 0.0

    def tell(self, done: int | None = None) -> None:
        self.done = self.done if done is None else done
        now = time.monotonic()
        if now - self._told_at >= TICK.total_seconds():
            self._told_at = now
            self.progress(self.done, self.total)

    def finish(self) -> None:
        self.progress(self.done, self.total if self.total is not None else self.done)


@contextmanager
def beside(connection: Connection, work: Callable[[Connection], Result]) -> Iterator[Future[Result]]:
    """Let a session work in a thread. Who leaves the block before it is done cancels what the session does."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="memops-beside") as thread:
        future = thread.submit(work, connection)
        try:
            yield future
        finally:
            _stop(connection, future)


def _stop(connection: Connection, future: Future[Result]) -> None:
    asked = 0
    # Again until it ends: a cancellation that comes between two queries of the work meets none.
    while not future.done():
        if asked == PATIENCE:
            hang_up(connection)
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=TICK.total_seconds())
        asked += 1
        wait([future], timeout=TICK.total_seconds())


def hang_up(connection: Connection) -> None:
    """The server does not answer: close our end, so that nobody waits for it until TCP gives up. Any thread may."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def result(future: Future[Result], *, meanwhile: Callable[[], None]) -> Result:
    """What the work comes to, or what it raised; ``meanwhile`` is called five times a second and may raise."""
    while not future.done():
        meanwhile()
        wait([future], timeout=TICK.total_seconds())
    return future.result()


def ended(child: Child, *, meanwhile: Callable[[], None]) -> Ended:
    """How a program ends; ``meanwhile`` is called five times a second and may raise."""
    while True:
        try:
            return child.wait(TICK)
        except TimeoutError:
            meanwhile()
