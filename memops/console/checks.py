"""System checks: what could execute a run twice, or let somebody act without being asked who they are, is told at the
start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.sites import all_sites
from django.contrib.auth.models import User
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, DatabaseError

from memops.console.admin import permissions
from memops.console.runs.policy import CHANGES_A_TABLE, Policy, policy_for

DOORBELL = "memops.console.runs.doorbell.Doorbell"
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


@register(Tags.admin)
def actions_ask_for_a_permission(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Django offers an action without ``permissions`` to everybody who may see the list, and does it for them."""
    return [fault for site in all_sites for fault in action_faults(site)]


@register(Tags.database)
def askers_do_not_approve(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Asked for with ``check --database default``; ``memops status``, ``up`` and ``demo`` say it as well."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        return people_warnings()
    except DatabaseError:
        # Before the first migration there are no people.
        return []


@register(Tags.security, deploy=True)
def approvals_are_not_waived(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.MEMOPS_MODE != "deployment":
        return []
    waived = [f"{target}/{kind}" for target, kind, policy in _policies() if policy.needed == 0]
    if not waived:
        return []
    return [
        Warning(
            f"Nobody has to approve {', '.join(waived)}: one person moves or drops the table alone.",
            hint="Take the rules that end with =0 out of MEMOPS_APPROVALS.",
            id="memops.W012",
        )
    ]


def action_faults(site: AdminSite) -> Iterator[CheckMessage]:
    """Actions of a site that ask for no permission."""
    for model, model_admin in site._registry.items():
        for function, name, _ in _actions(model_admin):
            if not getattr(function, "allowed_permissions", ()):
                yield Error(
                    f"The action “{name}” on {model._meta.label} asks for no permission: whoever may look may do it.",
                    hint="Declare it with @admin.action(permissions=[...]), and has_..._permission beside it.",
                    obj=type(model_admin),
                    id="memops.E010",
                )


def people_warnings() -> list[CheckMessage]:
    """Who may ask for a run and decide on one, where one approval is enough. Of a superuser the groups decide, too."""
    both: dict[str, list[str]] = {}
    for target, kind, policy in _policies():
        if policy.needed != 1:
            continue
        for person in User.objects.filter(is_active=True, groups__name__in=policy.groups).distinct():
            if person.has_perm(permissions.APPROVE) and person.has_perm(permissions.FOR_KIND[kind.partition("-")[0]]):
                both.setdefault(person.get_username(), []).append(f"{target}/{kind}")
    return [
        Warning(
            f"{name} may both ask for and approve {', '.join(what)}, where one approval is enough.",
            hint="Nobody approves what they asked for themselves; still, take one of the two groups from them, or ask "
            "for two approvals in MEMOPS_APPROVALS.",
            id="memops.W011",
        )
        for name, what in both.items()
    ]


def _policies() -> Iterator[tuple[str, str, Policy]]:
    for target in settings.MEMOPS_TARGETS:
        for kind in CHANGES_A_TABLE:
            yield target, kind, policy_for(target, kind)


def _actions(model_admin: ModelAdmin[Any]) -> list[tuple[Any, str, str]]:
    """All that it has, whoever asks; as Django's own checks read them."""
    found: list[tuple[Any, str, str]] = model_admin._get_base_actions()  # type: ignore[attr-defined]
    return found


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
    if queue.get("broker_class") != DOORBELL:
        fault(
            8,
            "Q_CLUSTER['broker_class'] is not memops' own: an entry could name any function, and go by any clock.",
            f"Set Q_CLUSTER['broker_class'] = '{DOORBELL}'.",
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
