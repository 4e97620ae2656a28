"""What the queue calls: a bell that rings with the number of a run, nothing else."""

from __future__ import annotations

from memops.console.runs.advance import advance


def advance_run(run_id: int) -> None:
    advance(run_id)
