"""A plan is bound to what it was made for, and reads back from the record as it was written."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.serializers.json import DjangoJSONEncoder

from memops.console.models.plans import Finding, Level, Plan, PlannedStep, TableSeen, changes

BINDING = {"kind": "rollback", "server": "7/5", "table_oid": 16400, "policies": ["p"], "migrations": ["0001"]}


def make_plan(**different):
    return Plan(
        **{
            "kind": "rollback",
            "target": "default",
            "made_at": datetime(2026, 11, 23, 3, 0, tzinfo=UTC),
            "binding": BINDING,
            "table": TableSeen(
                schema="public",
                name="memory_chunks",
                oid=16400,
                rows=10,
                rows_exact=True,
                total_bytes=3,
                table_bytes=2,
                index_bytes=1,
            ),
            "sql": "do $$ begin end $$",
            "steps": [PlannedStep(name="precheck", title="Check what is there")],
            "lock": "access exclusive",
            "lock_timeout": timedelta(milliseconds=200),
            "lock_budget": timedelta(seconds=60),
            **different,
        }
    )


def test_a_plan_reads_back_from_its_record_as_it_was():
    plan = make_plan(findings=[Finding(code="x", level=Level.WARNS, text="careful")])

    assert Plan.from_json(json.loads(json.dumps(plan.as_json(), cls=DjangoJSONEncoder))) == plan


@pytest.mark.parametrize("part", sorted(BINDING))
def test_whatever_the_plan_is_bound_to_changes_its_digest(part):
    assert make_plan(binding=BINDING | {part: "another"}).digest != make_plan().digest


def test_a_table_that_grows_does_not_change_the_digest():
    grown = TableSeen(
        schema="public",
        name="memory_chunks",
        oid=16400,
        rows=11,
        rows_exact=True,
        total_bytes=4,
        table_bytes=3,
        index_bytes=1,
    )

    assert make_plan(table=grown).digest == make_plan().digest


def test_what_changed_is_told_in_words():
    assert changes(BINDING, BINDING | {"table_oid": 16500}) == ["table oid: was 16400, is 16500"]
    assert changes(BINDING, BINDING) == []


def test_a_refusal_that_concerns_the_backup_alone_leaves_the_emergency_rollback():
    no_scratch = Finding(code="scratch place", level=Level.REFUSES, text="no right", backup_only=True)
    dependent = Finding(code="dependent", level=Level.REFUSES, text="view v")

    assert make_plan(findings=[no_scratch]).emergency_possible
    assert not make_plan(findings=[no_scratch]).is_possible
    assert not make_plan(findings=[no_scratch, dependent]).emergency_possible
