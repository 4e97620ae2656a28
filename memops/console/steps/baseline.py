"""How the server does before the rollback, to compare with afterwards (runbook R10)."""

from __future__ import annotations

from memops.console.models import Run
from memops.console.pg import metrics
from memops.console.pg.metrics import Metrics
from memops.console.steps import StepLog, step


@step("baseline", "Measure the baseline")
def baseline(run: Run, log: StepLog) -> Metrics:
    """Sample latency, connections, transactions and replication lag. What cannot be read is recorded as not known."""
    return metrics.sample(run.target_id)
