"""Whatever people do in whatever order: no run is executed without valid approvals, and none twice."""

from collections import Counter
from contextlib import ExitStack, suppress
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection
from django.db.models.functions import Now
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from memops.console.errors import ConsoleError, NotExecuted
from memops.console.models import Approval, Run
from memops.console.runs import approvals, claim
from memops.console.runs.plan import plan_backup
from tests.databases import guard_off
from tests.postgres.people import TWO, as_requester, ask_for, person

PEOPLE = ("rita", "ann", "bob", "cy")
who = st.sampled_from(PEOPLE)
which = st.integers(0, 1)
EDITS = (
    {"approvals_needed": 0},
    {"requester_key": "user:0"},
    {"digest": "another plan"},
    {"break_glass": True, "incident": "x"},
)
KEPT = (
    ("memops_console_approval", "memops_approval_guard"),
    ("memops_console_signoff", "memops_signoff_truncate"),
    ("memops_console_runclosing", "memops_closing_truncate"),
    ("memops_console_hold", "memops_hold_truncate"),
)
"""What goes with the runs when they are truncated, and otherwise never."""


@pytest.mark.parametrize("needed", [1, 2])
def test_no_sequence_executes_without_valid_approvals_and_none_twice(console_db, settings, needed):
    settings.MEMOPS_APPROVALS = [TWO[0] | {"needed": needed}]
    plan = plan_backup("default")
    people = {name: person(name, "approver", "requester", "executor") for name in PEOPLE}
    seen = Counter()

    class Machine(RuleBasedStateMachine):
        """Beside the real thing, the model: who approves of which run now, and what was executed."""

        def __init__(self) -> None:
            super().__init__()
            _forget_all()
            User.objects.filter(username__in=PEOPLE).update(is_active=True)
            self.runs: list[Run] = []
            self.asked_by: dict[int, str] = {}
            self.approving: dict[int, set[str]] = {}
            self.executed: Counter[int] = Counter()
            self.gone: set[str] = set()
            self.request("rita")

        def person(self, name: str) -> User:
            return User.objects.get(pk=people[name].pk)

        def chosen(self, number: int) -> Run:
            return Run.objects.get(pk=self.runs[number % len(self.runs)].pk)

        @rule(name=who)
        def request(self, name):
            if len(self.runs) < 2 or not self.chosen(0).is_open:
                run = ask_for(plan, people[name])
                self.runs = [*self.runs[-1:], run]
                self.asked_by[run.pk], self.approving[run.pk] = name, set()

        @rule(number=which, name=who)
        def approve(self, number, name):
            run = self.chosen(number)
            with suppress(ConsoleError):
                approvals.approve(run, by=self.person(name))
                self.approving[run.pk].add(name)

        def everybody_approves(self, number):
            for name in PEOPLE:
                self.approve(number, name)

        @rule(number=which, name=who)
        def go_the_usual_way(self, number, name):
            self.all_are_there_again()
            self.everybody_approves(number)
            self.start(number, name)

        @rule(number=which, name=who, staying=st.sets(who, max_size=3), revoking=st.sets(who, max_size=2))
        def have_second_thoughts(self, number, name, staying, revoking):
            self.go_the_usual_way(number, name)
            self.revoke(number, revoking)
            self.only_these_are_still_there(staying)
            self.deliver(number, 1)

        @rule(number=which, name=who)
        def reject(self, number, name):
            run = self.chosen(number)
            with suppress(ConsoleError):
                approvals.reject(run, by=self.person(name), comment="no")
                self.approving[run.pk].clear()

        @rule(number=which, names=st.sets(who))
        def revoke(self, number, names):
            run = self.chosen(number)
            for name in names:
                with suppress(ConsoleError):
                    approvals.revoke(run, by=self.person(name), comment="wait")
                    self.approving[run.pk].discard(name)

        @rule(names=st.sets(who))
        def only_these_are_still_there(self, names):
            self.gone = set(PEOPLE) - names
            User.objects.filter(username__in=PEOPLE).update(is_active=False)
            User.objects.filter(username__in=names).update(is_active=True)

        @rule()
        def all_are_there_again(self):
            self.only_these_are_still_there(set(PEOPLE))

        @rule(number=which, change=st.sampled_from(EDITS))
        def edit(self, number, change):
            """Somebody with a shell lowers the bar."""
            with pytest.raises(IntegrityError):
                Run.objects.filter(pk=self.chosen(number).pk).update(**change)

        @rule(number=which)
        def expire(self, number):
            run = self.chosen(number)
            if run.state == "awaiting":
                with guard_off("memops_console_run", "memops_run_guard"):
                    Run.objects.filter(pk=run.pk).update(expires_at=Now() - timedelta(seconds=1))
                self.approving[run.pk].clear()

        @rule(number=which, name=who)
        def start(self, number, name):
            try:
                approvals.start(self.chosen(number), requester=as_requester(people[name]))
                seen["started"] += 1
            except NotExecuted:
                seen["refused at the start"] += 1
            except ConsoleError:
                seen["not started"] += 1

        @rule(number=which)
        def start_by_hand(self, number):
            """With plain SQL, past every check of the program."""
            with suppress(IntegrityError):
                Run.objects.filter(pk=self.chosen(number).pk, state__in=["awaiting", "queued"]).update(state="queued")

        @rule(number=which, name=who)
        def withdraw(self, number, name):
            with suppress(ConsoleError):
                approvals.withdraw(self.chosen(number), requester=as_requester(people[name]))

        @rule(number=which, times=st.integers(1, 3))
        def deliver(self, number, times):
            """The bell rings, now and then more than once, also for what nobody has started."""
            run = self.chosen(number)
            for _ in range(times):
                with claim.claimed(run.pk) as claimed:
                    if claimed is None:
                        continue
                    agreed = self.approving[run.pk] - self.gone - {self.asked_by[run.pk]}
                    assert len(agreed) >= needed
                    self.executed[run.pk] += 1
                    seen["executed"] += 1
                    Run.objects.filter(pk=run.pk).update(state="done", ended_at=Now(), outcome="nothing")
            run.refresh_from_db()
            seen["refused at the claim"] += run.state == "refused"

        @invariant()
        def none_is_executed_twice_and_nobody_approves_their_own(self):
            assert all(times <= 1 for times in self.executed.values())
            for run in self.runs:
                assert not Approval.objects.filter(run=run, approver=people[self.asked_by[run.pk]]).exists()

    run_state_machine_as_test(
        Machine,
        settings=hypothesis_settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert all(seen[name] for name in ("executed", "refused at the start", "refused at the claim")), seen


def _forget_all() -> None:
    with ExitStack() as off, connection.cursor() as cursor:
        for table, guard in KEPT:
            off.enter_context(guard_off(table, guard))
        cursor.execute("truncate memops_console_approval, memops_console_run cascade")
