"""The queue is a doorbell: it carries the number of a run, and nothing depends on how often it rings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.status import Stat
from django_q.tasks import async_task

from memops.console.models import Run

TASK = "memops.console.tasks.advance_run"


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
    return any(_run_id(entry) == run.pk for entry in OrmQ.objects.filter(key=Conf.CLUSTER_NAME))


def worker_is_alive() -> bool:
    return bool(_clusters())


def state() -> QueueState:
    clusters = _clusters()
    entries = [_run_id(entry) for entry in OrmQ.objects.filter(key=Conf.CLUSTER_NAME).order_by("id")]
    runs = Run.objects.select_related("target").in_bulk([run_id for run_id in entries if run_id is not None])
    return QueueState(
        worker_alive=bool(clusters),
        clusters=clusters,
        waiting=[
            Waiting(run=run, age=timezone.now() - run.requested_at if run else None)
            for run in (runs.get(run_id) if run_id is not None else None for run_id in entries)
            if run is None or run.state == Run.State.QUEUED
        ],
    )


def _run_id(entry: OrmQ) -> int | None:
    """The run that an entry rings for; None where it cannot be read, as after a change of SECRET_KEY."""
    task: dict[str, Any] = entry.task
    if task.get("func") != TASK:
        return None
    arguments = task.get("args") or [None]
    return arguments[0] if isinstance(arguments[0], int) else None


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
