"""The runs that are measured: the product's own, requested and executed as users do it."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings

from memops.console import children, supervisor
from memops.console.models import Run, Step
from memops.console.models.plans import Plan
from memops.console.runs import history, queue
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_rollback
from memops.console.runs.request import Requester, submit
from project import embedded
from tests.bench import ground
from tests.environment import CLONE

LONGEST_SECONDS = 120.0


def guided() -> Run:
    """With a proved backup, to its end, in this process."""
    history.notice("default")
    run = done(plan_rollback("default", emergency=False))
    assert run.outcome == Run.Outcome.QUARANTINED
    return run


def done(plan: Plan) -> Run:
    """Asked for, and executed to its end, in this process."""
    run = requested(plan)
    advance(run.pk)
    run.refresh_from_db()
    assert run.state == Run.State.DONE, run.error
    return run


def emergency(database: str) -> Run:
    """By a process that is ready, without the queue; it is killed as soon as the postcheck has ended.

    What would follow is the backup that ``guided`` measures.
    """
    with ready_process(database) as execute:
        asked = _request(emergency=True)
        executor = execute(asked)
        wait_for(lambda: _is_checked(asked.pk))
        executor.kill()
    return asked


@contextmanager
def ready_process(database: str) -> Iterator[Callable[[Run], children.Child]]:
    """One that has everything imported; it executes the run that it is given."""
    argv = [sys.executable, "-m", "tests.bench.executor"]
    with children.start(
        argv, env=environment(database), stdin=children.PIPE, stdout=children.PIPE, cwd=CLONE
    ) as executor:
        executor.stdout.readline()

        def execute(run: Run) -> children.Child:
            executor.stdin.write(f"{run.pk}\n".encode())
            executor.stdin.flush()
            return executor

        yield execute


def emergency_by_worker(database: str) -> Run:
    """By a worker process that waits for the queue's bell; it is killed as soon as the postcheck has ended."""
    with children.start(supervisor.worker_command(), env=environment(database)) as worker:
        wait_for(lambda: queue.state().worker_alive)
        asked = _request(emergency=True)
        wait_for(lambda: _is_checked(asked.pk))
        worker.kill()
    return asked


def until_checked(run: Run) -> float:
    """Seconds from the request to the end of the postcheck, by the clock of the database that records both."""
    postcheck = run.steps.get(name="postcheck")
    assert postcheck.state == Step.State.DONE, postcheck.error
    assert postcheck.ended_at is not None
    return (postcheck.ended_at - run.requested_at).total_seconds()


def _request(*, emergency: bool) -> Run:
    history.notice("default")
    return requested(plan_rollback("default", emergency=emergency))


def requested(plan: Plan) -> Run:
    requester = Requester(name="bench", origin=Run.Origin.COMMAND)
    return submit(plan, requester=requester, reason="benchmark", seen_digest=plan.digest)


def _is_checked(run_id: int) -> bool:
    return Step.objects.filter(run=run_id, name="postcheck", ended_at__isnull=False).exists()


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"It did not happen within {LONGEST_SECONDS} s."
        time.sleep(0.02)


def environment(database: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return kept | {
        "LANG": "C.UTF-8",
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "MEMOPS_APPROVALS": "*/*=0",
        "MEMOPS_HOME": str(settings.MEMOPS_HOME),
        "MEMOPS_PG_BIN": str(embedded.bin_dir(embedded.MAJOR)),
        "DATABASE_URL": ground.owner_url(database),
    }
