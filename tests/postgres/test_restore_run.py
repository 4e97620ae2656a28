"""The whole of a restore, executed in this process against a real server: what it does, what it refuses, what it leaves."""

import pytest
from django.db import connections

from memops import demo
from memops.console.models import Backup, QuarantinedTable, Run
from memops.console.pg import session, staging
from memops.console.pg.standing import Choice
from memops.console.runs import history
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_backup, plan_restore, plan_rollback, plan_undo
from memops.console.runs.request import Requester, submit
from tests.prints import print_of

ME = Requester(name="on-call", origin=Run.Origin.COMMAND)


@pytest.fixture
def default(console_db: str) -> str:
    demo.load("default", rows=40, tenants=3)
    history.notice("default")
    return "default"


def execute(plan) -> Run:
    run = submit(plan, requester=ME, reason="INC-1", seen_digest=plan.digest)
    advance(run.pk)
    run.refresh_from_db()
    return run


def back_up() -> Backup:
    run = execute(plan_backup("default"))
    assert run.state == "done", run.error
    return run.backups.get()


def tell(run):
    for s in run.steps.all():
        print(s, s.log, s.error)
    print(run.state, run.outcome, run.error)


def test_after_rollback(default, settings):
    settings.MEMOPS_APPROVALS = [{"target": "*", "kind": "*", "needed": 0, "groups": None, "hours": None}]
    before = print_of()
    rb = execute(plan_rollback("default"))
    assert rb.state == "done"
    r = execute(plan_restore(rb.backups.get()))
    tell(r)
    assert (r.state, r.outcome) == ("done", "recovered")
    assert print_of() == before
    from memops.console.runs import checklists

    for s in r.signoffs.all():
        print(s.item.text, s.decision, s.note)


def test_over_rows(default, settings):
    settings.MEMOPS_APPROVALS = [{"target": "*", "kind": "*", "needed": 0, "groups": None, "hours": None}]
    b = back_up()
    print([f.text for f in plan_restore(b).findings])
    r = execute(plan_restore(b, rows=Choice.MERGE))
    tell(r)
    assert (r.state, r.outcome) == ("done", "recovered")
    assert r.quarantined_table.state == "kept"
    rb = execute(plan_rollback("default", emergency=True))
    assert rb.state == "done", rb.error
    u = execute(plan_undo(r))
    tell(u)
    assert u.state == "done"
