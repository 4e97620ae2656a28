"""How many people have to agree, by default and by rule."""

from datetime import timedelta

import pytest

from memops.console.models import Run
from memops.console.models.plans import WITHOUT_BACKUP
from memops.console.runs.policy import policy_for
from project.environment import APPROVAL_RULE


def rule(target="*", kind="*", needed=2, groups=None, hours=None):
    return {"target": target, "kind": kind, "needed": needed, "groups": groups, "hours": hours}


@pytest.mark.parametrize(
    ("embedded", "target", "kind", "needed"),
    [
        (True, "default", "rollback", 1),
        (True, "default", "undo", 1),
        (True, "production", "rollback", 2),
        (False, "default", "rollback", 2),
        (False, "default", "undo", 2),
        (False, "default", "deploy", 2),
        (False, "default", "restore", 2),
        (False, "default", "backup", 0),
        (False, "default", "verify", 0),
    ],
)
def test_what_moves_a_table_needs_two_and_one_on_the_embedded_target(settings, embedded, target, kind, needed):
    settings.MEMOPS_APPROVALS, settings.MEMOPS_EMBEDDED = [], embedded

    policy = policy_for(target, kind)

    assert (policy.needed, policy.groups, policy.valid_for) == (needed, ("approver",), timedelta(hours=4))


@pytest.mark.parametrize("kind", [*Run.Kind.values, WITHOUT_BACKUP])
def test_a_rule_can_be_for_every_kind_of_run(kind):
    assert APPROVAL_RULE.fullmatch(f"production/{kind}=2:approver@8")


def test_of_several_rules_the_last_that_fits_counts(settings):
    settings.MEMOPS_APPROVALS = [rule(needed=1), rule("staging", needed=0), rule(kind="undo", needed=3)]

    assert [
        policy_for(target, kind).needed
        for target, kind in (
            ("default", "rollback"),
            ("staging", "rollback"),
            ("staging", "undo"),
            ("default", "backup"),
        )
    ] == [1, 0, 3, 1]


def test_a_rule_may_name_groups_and_hours(settings):
    settings.MEMOPS_APPROVALS = [rule(groups=["security", "dba"], hours=0.5)]

    policy = policy_for("default", "rollback")

    assert (policy.groups, policy.valid_for) == (("security", "dba"), timedelta(minutes=30))
