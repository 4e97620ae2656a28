"""How often a run was executed, by the trail, to which a worker tells what it begins before it begins it."""

from collections import Counter
from collections.abc import Callable

from django_q.models import OrmQ

from memops.console.models import AuditEvent, Run
from memops.console.runs.plan import plan_backup
from tests.faults import ground


def ask_for_backup(target: str = ground.TARGET) -> Run:
    return ground.submitted(plan_backup(target))


def has_ended(run: Run) -> Callable[[], bool]:
    """The trail is told last."""
    return lambda: AuditEvent.objects.filter(run=run.pk, action="run.ended").exists()


def nothing_rings() -> bool:
    return not OrmQ.objects.exists()


def assert_executed_once(*runs: Run) -> None:
    """These runs, and no others."""
    for run in runs:
        run.refresh_from_db()
        assert run.state == "done", run.error
        begun = AuditEvent.objects.filter(run=run.pk, action="step.begun").values_list("object_id", flat=True)
        assert Counter(begun) == Counter(run.steps.values_list("name", flat=True))
        for action in ("run.requested", "run.claimed", "run.ended"):
            assert AuditEvent.objects.filter(run=run.pk, action=action).count() == 1
    assert set(Run.objects.filter(origin="command")) == set(runs)
