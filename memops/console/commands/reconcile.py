"""``memops reconcile``: settle runs whose worker was lost, or whose outcome is unknown, and finish deletions."""

from __future__ import annotations

import argparse

from memops.console.commands import Exit, following, records
from memops.console.commands.expire_backups import tell
from memops.console.commands.output import Output
from memops.console.models import Run
from memops.console.runs import reconcile, retention

HELP = "settle lost and unknown runs by what their targets say"


def configure(parser: argparse.ArgumentParser) -> None:
    """It takes nothing: it looks at every active run."""


def run(options: argparse.Namespace, out: Output) -> int:
    settled = reconcile.reconcile(requester=following.requester())
    for one in settled:
        out.say(f"Run {one.run.pk} was {one.was}, and is {one.run.get_state_display().lower()}: {one.text}.")
    deleted = retention.finish()
    tell(deleted, out)
    if not settled and not deleted:
        out.say("There is nothing to settle: no run is lost or unknown.")
    out.result(
        settled=[
            {
                "run": one.run.pk,
                "was": one.was,
                "state": one.run.state,
                "outcome": one.run.outcome,
                "removed": one.removed,
            }
            for one in settled
        ],
        deleted_backups=[records.deletion(one) for one in deleted],
    )
    if any(one.run.state == Run.State.UNKNOWN for one in settled):
        return Exit.UNKNOWN
    return Exit.FAILED if any(one.problem for one in deleted) else Exit.DONE
