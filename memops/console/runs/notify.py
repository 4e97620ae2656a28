"""Tell people at once that somebody started a run without approvals."""

from __future__ import annotations

import structlog
from django.conf import settings

from memops.console import webhook
from memops.console.audit import record_or_log
from memops.console.errors import WebhookFailed
from memops.console.models import Run

journal = structlog.get_logger("memops.notify")


def glass_broken(run: Run) -> None:
    """Post it to MEMOPS_NOTIFY_WEBHOOK. The run goes on if that fails; the trail and the log keep that it did."""
    record_or_log("run.glass_broken", actor=run.requester_name, run=run, incident=run.incident, reason=run.reason)
    journal.warning("started without approvals", run=run.pk, target=run.target_id, incident=run.incident)
    if not settings.MEMOPS_NOTIFY_WEBHOOK:
        return
    try:
        webhook.send(
            settings.MEMOPS_NOTIFY_WEBHOOK,
            {
                "event": "break-glass",
                "text": f"{run.requester_name} has started run {run.pk} ({run.title.lower()} on {run.target_id})"
                f" without approvals: {run.incident}. {run.reason}",
                "run": run.pk,
                "kind": run.kind,
                "target": run.target_id,
                "requester": run.requester_name,
                "incident": run.incident,
                "reason": run.reason,
            },
        )
    except WebhookFailed as error:
        journal.error("not notified", run=run.pk, error=str(error))
        record_or_log("run.not_notified", run=run, problem=str(error.facts["problem"]))
    else:
        record_or_log("run.notified", run=run)
