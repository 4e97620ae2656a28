"""The one place that starts other programs: pg_dump, pg_restore, psql, the worker and the web server.

A child never outlives its parent, not even one that was killed: the kernel signals it when the thread that forked it
ends (PR_SET_PDEATHSIG, on Linux), which is why one thread, that ends only with the process, forks them all. Each child
leads a process group of its own, so that a Ctrl-C in the terminal does not reach it behind our back, and what it
started itself can be ended with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO

PIPE = subprocess.PIPE
STDERR_TAIL_BYTES = 8 * 1024
PR_SET_PDEATHSIG = 1
LONGEST_POLL_SECONDS = 0.05
READ_SIZE_BYTES = 64 * 1024

# Loaded here, not between fork and exec, where hardly anything may be done.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_spawner: ThreadPoolExecutor | None = None
_spawner_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a child ended: by itself with ``returncode``, or by ``signal`` (its name), and what it said at the end."""

    returncode: int | None
    signal: str | None
    stderr: str

    @property
    def well(self) -> bool:
        return self.returncode == 0

    def __str__(self) -> str:
        return f"killed by {self.signal}" if self.signal else f"exit code {self.returncode}"


class Child:
    """A running program. Leaving the ``with`` block ends it and everything it started that is still in its group."""

    def __init__(self, process: subprocess.Popen[bytes], stderr_copy: IO[bytes] | None) -> None:
        self._process = process
        self._reaping = threading.Lock()
        self._ended: Ended | None = None
        self._tail = bytearray()
        self._drain = threading.Thread(target=self._drain_stderr, args=[stderr_copy], daemon=True)
        self._drain.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> BinaryIO:
        """Where the child reads, if started with ``stdin=PIPE``. Close it to say that there is no more."""
        assert self._process.stdin is not None, "the child was started without stdin=PIPE"
        return self._process.stdin  # type: ignore[return-value]

    @property
    def stdout(self) -> BinaryIO:
        """What the child writes, if started with ``stdout=PIPE``."""
        assert self._process.stdout is not None, "the child was started without stdout=PIPE"
        return self._process.stdout  # type: ignore[return-value]

    def poll(self) -> Ended | None:
        """How it ended, or None while it runs."""
        try:
            return self.wait(timedelta())
        except TimeoutError:
            return None

    def wait(self, timeout: timedelta | None = None) -> Ended:
        """Wait for its end, and end what it left in its group.

        Raises TimeoutError after the timeout, and leaves it running. Any thread may wait or kill.
        """
        with suppress(ChildProcessError):  # Another thread was faster.
            if self._ended is None:
                self._wait_without_reaping(timeout)
        with self._reaping:
            if self._ended is not None:
                return self._ended
            # Until it is reaped its pid, which is the group's id, cannot be another's.
            self._signal_group(signal.SIGKILL)
            returncode = self._process.wait()
            self._drain.join(timeout=2)
            ended_by = signal.Signals(-returncode).name if returncode < 0 else None
            self._ended = Ended(
                returncode=None if ended_by else returncode,
                signal=ended_by,
                stderr=bytes(self._tail).decode(errors="replace").strip(),
            )
            return self._ended

    def terminate(self) -> None:
        """Ask it to end; what it started is its own business."""
        with self._reaping:
            if self._ended is None:
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and its group at once, and wait for it."""
        with self._reaping:
            if self._ended is None:
                self._signal_group(signal.SIGKILL)
        self.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # It did not want to read what is still buffered.
                    pipe.close()

    def _wait_without_reaping(self, timeout: timedelta | None) -> None:
        options = os.WEXITED | os.WNOWAIT
        if timeout is None:
            os.waitid(os.P_PID, self.pid, options)
            return
        deadline, pause = time.monotonic() + timeout.total_seconds(), 0.0005
        while os.waitid(os.P_PID, self.pid, options | os.WNOHANG) is None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"{Path(str(self._program())).name} runs for longer than {timeout}.")
            pause = min(pause * 2, remaining, LONGEST_POLL_SECONDS)
            time.sleep(pause)

    def _program(self) -> object:
        arguments = self._process.args
        return arguments[0] if isinstance(arguments, list) else arguments

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _drain_stderr(self, copy: IO[bytes] | None) -> None:
        """Read on, whatever comes: a child that nobody listens to stands still when the pipe is full."""
        source = self._process.stderr
        assert source is not None
        with source:
            while chunk := os.read(source.fileno(), READ_SIZE_BYTES):
                self._tail += chunk
                del self._tail[:-STDERR_TAIL_BYTES]
                if copy is not None:
                    with suppress(OSError, ValueError):  # A closed terminal is no reason to stop reading.
                        copy.write(chunk)
                        copy.flush()


def start(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] | None = None,
    cwd: Path | None = None,
    stderr_copy: IO[bytes] | None = None,
    when_orphaned: signal.Signals = signal.SIGKILL,
) -> Child:
    """Start a program with exactly this environment; use it as a context manager.

    ``stdin`` and ``stdout`` are ``PIPE``, an open file, or None for nothing. Its standard error is always read; the
    last 8 KiB are kept for ``Ended.stderr``, everything goes to ``stderr_copy`` too. ``when_orphaned`` is what the
    kernel sends it when we die: SIGTERM for a program that has children of its own to end.

    Raises OSError where the program cannot be started.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        if _libc is None:
            return
        _libc.prctl(PR_SET_PDEATHSIG, int(when_orphaned), 0, 0, 0)
        if os.getppid() != parent:  # It died before the call above.
            os._exit(1)

    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(argument) for argument in argv],
            env=dict(env),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.DEVNULL if stdout is None else stdout,
            stderr=subprocess.PIPE,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=die_with_parent,  # Two system calls, prepared before the fork
        )

    return Child(_forking_thread().submit(spawn).result(), stderr_copy)


def _forking_thread() -> ThreadPoolExecutor:
    global _spawner
    with _spawner_lock:
        if _spawner is None:
            _spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="memops-children")
        return _spawner


def _forget_thread() -> None:
    """Threads are not forked: a queue worker that was forked from us needs a forking thread of its own."""
    global _spawner, _spawner_lock
    _spawner, _spawner_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_thread)
