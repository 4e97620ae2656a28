"""How many people have to agree to which run, and who they may be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from django.conf import settings

from memops.console.errors import PolicyStricter
from memops.console.models import Run
from memops.console.models.plans import WITHOUT_BACKUP

CHANGES_A_TABLE = ("rollback", "undo", "deploy", "restore", "purge", WITHOUT_BACKUP)
APPROVERS = ("approver",)
VALID_FOR = timedelta(hours=4)
REVIEW_WITHIN = timedelta(hours=72)
"""By when somebody has looked at a run that was started without approvals."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """``needed`` people of any of ``groups``, within ``valid_for`` after the request."""

    needed: int
    groups: tuple[str, ...] = APPROVERS
    valid_for: timedelta = VALID_FOR


def policy_for(target: str, kind: str) -> Policy:
    """The default, and what MEMOPS_APPROVALS says instead; of several rules the last one that fits."""
    found = Policy(needed=_by_default(target, kind) if kind in CHANGES_A_TABLE else 0)
    for rule in settings.MEMOPS_APPROVALS:
        if rule["target"] in ("*", target) and rule["kind"] in ("*", kind):
            found = replace(
                found,
                needed=rule["needed"],
                groups=tuple(rule["groups"] or APPROVERS),
                valid_for=timedelta(hours=rule["hours"]) if rule["hours"] else VALID_FOR,
            )
    return found


def demand_kept(run: Run) -> None:
    """Raises PolicyStricter if the run was stored with less than it needs now: by other settings, or by hand."""
    policy = policy_for(run.target_id, run.planned().approved_as)
    if run.break_glass or not policy.needed:
        return
    strangers = set(run.approver_groups.split(",")) - set(policy.groups)
    if run.approvals_needed < policy.needed or strangers:
        raise PolicyStricter(run=run.pk, target=run.target_id, needed=policy.needed, groups=", ".join(policy.groups))


def _by_default(target: str, kind: str) -> int:
    """One more has to agree that rows go of which nobody has proved a copy."""
    usual = 1 if settings.MEMOPS_EMBEDDED and target == "default" else 2
    return usual + 1 if kind == WITHOUT_BACKUP else usual
