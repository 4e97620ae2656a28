"""Lists of runs: what stands in a line is asked for with all of them, not once a line."""

from __future__ import annotations

from django.db.models import QuerySet

from memops.console.models import Run
from memops.console.runs import approvals, checklists


def listed(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Runs with how far their approvals and their checklists are."""
    found: QuerySet[Run] = checklists.counted(approvals.counted(runs)).select_related("target")
    return found
