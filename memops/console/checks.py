"""System checks: a queue configuration that could execute a run twice, or for ever, is refused at the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

LONGEST_RUN_SECONDS = 6 * 3600
"""A dump and restore of a large table takes hours; a worker that is ended meanwhile leaves a run to reconcile."""


@register(Tags.database)
def queue_is_a_doorbell(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Claims make a second delivery harmless; still, nothing should redeliver or time out a run that is at work."""
    return list(queue_faults(getattr(settings, "Q_CLUSTER", {})))


@register(Tags.security)
def audit_key_is_given(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A key that lies beside the trail's own file signs for whoever can write both."""
    if settings.MEMOPS_MODE != "deployment" or settings.MEMOPS_AUDIT_KEY_GIVEN:
        return []
    return [
        Warning(
            "MEMOPS_AUDIT_KEY is not set: the audit trail is signed with a key that was made on first start.",
            hint="Keep the file audit_key of MEMOPS_HOME elsewhere, and set MEMOPS_AUDIT_KEY to what it holds.",
            id="memops.W010",
        )
    ]


def queue_faults(queue: dict[str, Any]) -> list[CheckMessage]:
    """What is dangerous in a Q_CLUSTER setting."""
    faults: list[CheckMessage] = []

    def fault(number: int, message: str, hint: str) -> None:
        faults.append(Error(message, hint=hint, id=f"memops.E{number:03d}"))

    if queue.get("sync"):
        fault(
            1,
            "Q_CLUSTER['sync'] executes runs inside the web request.",
            "Remove it; start a worker with manage.py memops up or manage.py qcluster.",
        )
    if queue.get("orm") != "default":
        fault(
            2,
            "Q_CLUSTER['orm'] has to be 'default': a run and its queue entry are written in one transaction.",
            "Set Q_CLUSTER['orm'] = 'default' and remove other brokers.",
        )
    timeout = queue.get("timeout")
    if timeout is not None and timeout < LONGEST_RUN_SECONDS:
        fault(
            3,
            f"Q_CLUSTER['timeout'] of {timeout} s ends runs in the middle of a long dump.",
            f"Set it to None or to at least {LONGEST_RUN_SECONDS}.",
        )
    retry = queue.get("retry", 60)
    if retry <= (timeout or LONGEST_RUN_SECONDS):
        fault(
            4,
            f"Q_CLUSTER['retry'] of {retry} s delivers the task of a run again while it is at work.",
            "Set retry above timeout, better to twice of it.",
        )
    if queue.get("max_attempts") != 1:
        fault(
            5,
            "Q_CLUSTER['max_attempts'] has to be 1: memops never re-runs anything by itself.",
            "Set Q_CLUSTER['max_attempts'] = 1; run manage.py memops reconcile after a crash.",
        )
    if not queue.get("ack_failures"):
        fault(
            6,
            "Q_CLUSTER['ack_failures'] has to be True: otherwise a failed task is delivered for ever.",
            "Set Q_CLUSTER['ack_failures'] = True.",
        )
    if queue.get("bulk", 1) != 1:
        fault(
            7,
            "Q_CLUSTER['bulk'] has to be 1: a worker would hold runs that another one could start.",
            "Set Q_CLUSTER['bulk'] = 1.",
        )
    return faults
