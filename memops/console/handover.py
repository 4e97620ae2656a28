"""How the queue's processes hand tasks to each other, so that one which is killed leaves the others working.

Whoever waits for a task holds the queue's lock while waiting. Python's own locks stay taken when their holder is
killed: no process of that worker would ever hear of a run again, though all of them were alive.
"""

from __future__ import annotations

import fcntl
import tempfile
import time
from typing import Any

from django_q.queues import Queue

BETWEEN_TRIES_SECONDS = 0.01


class ProcessLock:
    """A lock between processes, as multiprocessing's, that the kernel frees when its holder dies.

    POSIX locks belong to a process: forked ones have to compete for it, and threads of one do not keep each other out.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="memops-")  # noqa: SIM115  it is open as long as the lock lives

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        if block and timeout is None:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            return True
        deadline = time.monotonic() + (timeout or 0) * block
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(BETWEEN_TRIES_SECONDS)
            else:
                return True

    def release(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


class Handover(Queue):  # type: ignore[misc]  # django-q2 has no types
    """django-q2's queue between processes; one reads in each process, and one thread writes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._rlock, self._wlock = ProcessLock(), ProcessLock()
