"""How the queue's processes take entries, and say that they are alive: django-q2's broker, by the rules of a bell.

django-q2's own compares times that each machine takes from its own clock, keeps what a killed process had taken for as
long as a task may last, and hands on whatever function an entry names. Here the clock is the database's, an entry is
somebody's for half a minute, and one that does not ring for a queued run is removed.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import structlog
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ

from memops.console.errors import Refused
from memops.console.models import Run
from memops.console.pg import clock
from memops.console.runs import queue, release

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
"""From when an entry may be taken: at once, whatever becomes of any clock."""

TAKEN_FOR = timedelta(seconds=30)
"""Whoever takes an entry hands it to a process that is free. If the run is still queued after that, they were killed,
or all are busy: the bell rings again."""

LOOKS_EVERY = timedelta(seconds=5)
"""How often an idle worker looks for queued runs that no entry rings for."""

SILENCE = timedelta(seconds=5)
"""Who has not said for so long that they are alive is taken for dead."""

FORGOTTEN_AFTER = timedelta(minutes=1)
WORKERS = "memops:workers"

journal = structlog.get_logger("memops.queue")


class Doorbell(ORM):  # type: ignore[misc]  # django-q2 has no types
    """Q_CLUSTER's ``broker_class``."""

    _looked = _judged = -float("inf")
    _is_fit = False
    _complained = ""

    def enqueue(self, task: str) -> int:
        entry = self.get_connection().create(key=self.list_key, payload=task, lock=LONG_AGO)
        return int(entry.pk)

    def dequeue(self) -> list[tuple[int, str]] | None:
        """An entry that rings for a queued run; None, after a pause, where there is none."""
        entry = self._due().order_by("pk").first()
        if entry is None:
            self._look_for_forgotten()
        elif not self._may_work():
            pass
        elif self._is_for_nothing(entry):
            self.delete(entry.pk)
            return None
        elif self._take(entry):
            return [(entry.pk, entry.payload)]
        time.sleep(Conf.POLL)
        return None

    def set_stat(self, key: str, value: str, timeout: int) -> None:
        """Not of a worker that may not work: runs would wait for it."""
        if time.monotonic() - self._judged > SILENCE.total_seconds():
            self._is_fit, self._judged = self._may_work(), time.monotonic()
        if not self._is_fit:
            return
        keys, now = self.cache.get(WORKERS, []), clock.now()
        if key not in keys:
            others = self.cache.get_many(keys)
            kept = [other for other, (at, _) in others.items() if abs(now - at) < FORGOTTEN_AFTER]
            self.cache.set(WORKERS, [*kept, key], None)
        self.cache.set(key, (now, value), None)

    def get_stat(self, key: str) -> str | None:
        return next(iter(self._heard([key])), None)

    def get_stats(self, pattern: str) -> list[str]:
        return self._heard(self.cache.get(WORKERS, []))

    def _due(self) -> QuerySet[OrmQ]:
        """What nobody has taken, or had taken for too long. Later than that it cannot be: a clock was set back."""
        found: QuerySet[OrmQ] = self.get_connection().filter(key=self.list_key)
        return found.filter(Q(lock__lt=Now()) | Q(lock__gt=Now() + TAKEN_FOR))

    def _take(self, entry: OrmQ) -> bool:
        """False: another cluster was faster."""
        free = self.get_connection().filter(pk=entry.pk, lock=entry.lock)
        return bool(free.update(lock=Now() + TAKEN_FOR))

    def _is_for_nothing(self, entry: OrmQ) -> bool:
        run_id = queue.run_of(entry)
        if run_id is None:
            journal.warning("an entry of the queue that rings for no run is removed", entry=entry.pk)
            return True
        return not Run.objects.filter(pk=run_id, state=Run.State.QUEUED).exists()

    def _look_for_forgotten(self) -> None:
        if time.monotonic() - self._looked > LOOKS_EVERY.total_seconds():
            self._looked = time.monotonic()
            for run in queue.forgotten():
                queue.ring(run)
                journal.warning("a queued run that nothing rang for", run=run.pk)

    def _may_work(self) -> bool:
        try:
            release.demand_own_tables()
        except Refused as error:
            if str(error) != self._complained:
                self._complained = str(error)
                journal.error("this worker takes no runs", error=self._complained)
            return False
        self._complained = ""
        return True

    def _heard(self, keys: list[str]) -> list[str]:
        now = clock.now()
        return [value for at, value in self.cache.get_many(keys).values() if abs(now - at) < SILENCE]
