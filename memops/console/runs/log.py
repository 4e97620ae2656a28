"""What a step tells while it works, written where everybody can read it at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from django.db.models import TextField, Value
from django.db.models.functions import Concat
from django.utils import timezone

from memops.console.interruption import once_more
from memops.console.models import Step

BETWEEN_PROGRESS_SECONDS = 0.25


@dataclass(kw_only=True)
class RecordedLog:
    """The log and progress of one step. Lines are written at once, progress a few times a second."""

    step: Step
    _told_at: float = field(default=0.0)

    def line(self, text: str) -> None:
        stamped = "".join(f"{timezone.now():%H:%M:%S} {part}\n" for part in text.splitlines() or [""])
        mine = Step.objects.filter(pk=self.step.pk)
        once_more(lambda: mine.update(log=Concat("log", Value(stamped), output_field=TextField())))

    def keep(self, **seen: Any) -> None:
        """What has to be on the record however the step ends, at once; it is part of what the step saw."""
        self.step.saw = {**self.step.saw, **seen}
        mine = Step.objects.filter(pk=self.step.pk)
        once_more(lambda: mine.update(saw=self.step.saw))

    def progress(self, done: int, total: int | None, unit: str) -> None:
        now = time.monotonic()
        if now - self._told_at < BETWEEN_PROGRESS_SECONDS and done != total:
            return
        self._told_at = now
        mine = Step.objects.filter(pk=self.step.pk)
        once_more(lambda: mine.update(progress_done=done, progress_total=total, progress_unit=unit))
