"""How long something may yet take: by how fast it went so far, and said as no more than that."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta

from memops.console.steps import StepLog
from memops.console.units import duration, size

BETWEEN_FORECASTS = timedelta(seconds=10)


@dataclass(kw_only=True)
class Pace:
    """Passes progress on, and says every ten seconds how much is left at the pace so far."""

    log: StepLog
    unit: str
    what: str
    _began: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)

    def tell(self, done: int, total: int | None) -> None:
        self.log.progress(done, total, self.unit)
        now = time.monotonic()
        if now - self._told < BETWEEN_FORECASTS.total_seconds() or not done:
            return
        self._told = now
        amount = size(done) if self.unit == "bytes" else f"{done:,} {self.unit}"
        if not total:
            self.log.line(f"{self.what}: {amount} so far; how much there is, the server does not say.")
            return
        left = timedelta(seconds=(now - self._began) * (total - done) / done)
        self.log.line(f"{self.what}: {100 * done // total} %, about {duration(left)} more at this pace.")
