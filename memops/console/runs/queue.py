"""The queue is a doorbell: it carries the number of a run, and nothing depends on how often it rings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError
from django.db.models import BigAutoField, QuerySet
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.status import Stat
from django_q.tasks import async_task

from memops.console.models import Run
from memops.console.pg import clock

TASK = "memops.console.tasks.advance_run"
BELL = frozenset(("id", "name", "func", "args", "kwargs", "group", "started", "ack_failure"))
"""What an entry of ours holds. A hook or a chain, which others may add, would execute something else after it."""

HIGHEST_NUMBER = BigAutoField.MAX_BIGINT


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A worker process group that has sent a sign of life within the last seconds."""

    name: str
    host: str
    pid: int
    workers: int
    status: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """An entry that no worker has finished. A run that was deleted or ended leaves one without work in it."""

    run: Run | None
    age: timedelta | None


@dataclass(frozen=True, kw_only=True)
class QueueState:
    worker_alive: bool
    clusters: list[Cluster]
    waiting: list[Waiting]


def ring(run: Run) -> None:
    """Queue the run. Called in the transaction that stores it: both are there, or neither."""
    async_task(TASK, run.pk, task_name=f"run {run.pk}", group="memops")


def is_waiting(run: Run) -> bool:
    """Is there a bell for this run that no worker has heard to its end?"""
    return any(run_of(entry) == run.pk for entry in _entries())


def forgotten() -> list[Run]:
    """Queued runs that no entry rings for: it was deleted, or a worker with another SECRET_KEY has dropped it."""
    silent = [run.pk for run in Run.objects.filter(state=Run.State.QUEUED) if not is_waiting(run)]
    # An entry is gone as well when its run was claimed meanwhile.
    return list(Run.objects.filter(pk__in=silent, state=Run.State.QUEUED).order_by("pk"))


def worker_is_alive() -> bool:
    return bool(_clusters())


def state() -> QueueState:
    clusters = _clusters()
    entries = [run_of(entry) for entry in _entries()]
    runs = Run.objects.select_related("target").in_bulk([run_id for run_id in entries if run_id is not None])
    now = clock.now()
    return QueueState(
        worker_alive=bool(clusters),
        clusters=clusters,
        waiting=[
            Waiting(run=run, age=now - run.requested_at if run else None)
            for run in (runs.get(run_id) if run_id is not None else None for run_id in entries)
            if run is None or run.state == Run.State.QUEUED
        ],
    )


def run_of(entry: OrmQ) -> int | None:
    """The run that an entry rings for; None for one that is not as ``ring`` makes it, or that cannot be read, as after
    a change of SECRET_KEY."""
    task: object = entry.task
    if not isinstance(task, dict) or not task.keys() <= BELL or task.get("func") != TASK or task.get("kwargs"):
        return None
    match task.get("args"):
        case (int(number),) if type(number) is int and 0 < number <= HIGHEST_NUMBER:
            return number
    return None


def _entries() -> QuerySet[OrmQ]:
    found: QuerySet[OrmQ] = OrmQ.objects.filter(key=Conf.CLUSTER_NAME).order_by("pk")
    return found


def _clusters() -> list[Cluster]:
    try:
        found = Stat.get_all()
    except DatabaseError:
        # The heartbeat table is missing or busy: nobody can be seen, which is what the answer says.
        return []
    return [
        Cluster(
            name=str(stat.cluster_id)[:8],
            host=stat.host,
            pid=stat.pid,
            workers=len(stat.workers),
            status=stat.status,
            since=stat.tob,
        )
        for stat in found
    ]
