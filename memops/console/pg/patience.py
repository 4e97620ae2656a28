"""Patience with a server that says nothing: TCP finds it there, but a proxy hangs, or somebody has stopped it.

That a peer has vanished from the network is TCP's to notice; see ``project.environment.CONNECTION``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

Result = TypeVar("Result")

MISSED = 2
"""How often in a row a server has to be found without work: it may just be between two questions when it is asked."""


class ServerSilent(psycopg.OperationalError):
    """The server has said nothing for so long that it is not waited for any more."""


@dataclass(kw_only=True)
class Watch:
    """Gives up on work that shows no sign of life for ``patience``.

    With ``asks``, only if the server does not say that it is at work: an index may take hours.
    """

    patience: timedelta
    asks: Callable[[], bool] | None = None
    _since: float = field(default_factory=time.monotonic)
    _missed: int = 0

    def saw_life(self) -> None:
        self._since, self._missed = time.monotonic(), 0

    def look(self) -> None:
        """Raises ServerSilent."""
        if time.monotonic() - self._since < self.patience.total_seconds():
            return
        self._missed = 0 if self.asks is not None and self.asks() else self._missed + 1
        if self._missed >= (1 if self.asks is None else MISSED):
            silent = self.patience * self._missed
            raise ServerSilent(f"the server was silent for {silent.total_seconds():g} s")
        self._since = time.monotonic()


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed, and raises ServerSilent, when its ``watch`` gives up on a question."""

    watch: Watch | None = None

    def wait(self, gen: PQGen[Result], *args: Any, **options: Any) -> Result:
        if self.watch is None:
            return super().wait(gen, *args, **options)
        self.watch.saw_life()
        try:
            return super().wait(_watched(gen, self.watch), *args, **options)
        except ServerSilent:
            self.close()
            raise


def _watched(gen: PQGen[Result], watch: Watch) -> PQGen[Result]:
    """What psycopg waits for, and looks at every tenth of a second, whether anything has come or not."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                watch.saw_life()
            else:
                watch.look()
            wanted = gen.send(ready)
    except StopIteration as ended:
        result: Result = ended.value
        return result
