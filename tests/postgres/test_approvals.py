"""No run begins that enough other people have not agreed to, whoever asks, and by whatever way."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.db.models import F

from memops.console.errors import (
    AlreadyDecided,
    AlreadyStarted,
    ChainBroken,
    NoDecision,
    NotAnApprover,
    NotAwaiting,
    NotExecuted,
    OwnRequest,
    ReasonMissing,
    TargetBusy,
)
from memops.console.models import Approval, Run
from memops.console.runs import advance, approvals, claim, queue
from memops.console.runs.plan import plan_backup, plan_rollback
from memops.console.runs.request import Requester, submit
from tests.postgres.people import ONE, TWO, as_requester, ask_for, person, request_backup
from tests.postgres.test_audit import actions


@pytest.fixture
def two_needed(settings):
    settings.MEMOPS_APPROVALS = TWO


@pytest.fixture
def rita(console_db) -> User:
    """She asks. She may approve as well, but not what is her own."""
    return person("rita", "requester", "approver", "executor")


@pytest.fixture
def ann(console_db) -> User:
    return person("ann", "approver")


@pytest.fixture
def bob(console_db) -> User:
    return person("bob", "approver")


@pytest.fixture
def run(two_needed, rita) -> Run:
    return request_backup(rita)


@pytest.fixture
def approved(run, ann, bob) -> Run:
    approvals.approve(run, by=ann)
    approvals.approve(run, by=bob, comment="read it")
    return run


def state(run: Run) -> str:
    run.refresh_from_db()
    return run.state


def test_a_request_waits_and_rings_for_nobody(run):
    assert run.state == "awaiting"
    assert not queue.is_waiting(run)
    assert advance.advance(run.pk) is None
    assert state(run) == "awaiting"


def test_two_others_approve_somebody_starts_it_and_it_is_done(approved, rita):
    approvals.start(approved, requester=as_requester(rita))
    advance.advance(approved.pk)

    assert state(approved) == "done"
    kept = actions(run=approved.pk)
    assert [name for name in kept if name in ("approval.approved", "run.started")] == [
        "approval.approved", "approval.approved", "run.started",
    ]  # fmt: skip


def test_one_of_two_is_not_enough(run, ann, rita):
    approvals.approve(run, by=ann)

    with pytest.raises(NotExecuted, match="1 valid of 2"):
        approvals.start(run, requester=as_requester(rita))
    assert state(run) == "awaiting"


def test_the_same_person_does_not_count_twice(run, ann):
    approvals.approve(run, by=ann)

    with pytest.raises(AlreadyDecided):
        approvals.approve(run, by=ann)
    assert approvals.standing(run).valid == 1


def test_who_asked_does_not_approve(run, rita):
    with pytest.raises(OwnRequest):
        approvals.approve(run, by=rita)
    with pytest.raises(OwnRequest):
        approvals.reject(run, by=rita, comment="no")


def test_who_asked_on_the_command_line_does_not_approve_under_the_same_name(two_needed, ann):
    plan = plan_backup("default")
    asked = Requester(name="ann", origin=Run.Origin.COMMAND)
    run = submit(plan, requester=asked, reason="INC-1", seen_digest=plan.digest)

    with pytest.raises(OwnRequest):
        approvals.approve(run, by=ann)


@pytest.mark.parametrize("groups", [(), ("requester",), ("executor", "auditor", "administrator")])
def test_who_is_in_no_group_that_decides_does_not(run, groups):
    with pytest.raises(NotAnApprover, match="approver"):
        approvals.approve(run, by=person("zoe", *groups))


def test_a_rejection_ends_it_and_needs_a_reason(run, ann, bob):
    with pytest.raises(ReasonMissing):
        approvals.reject(run, by=ann, comment=" ")
    approvals.reject(run, by=ann, comment="not on a Friday")

    assert state(run) == "rejected"
    assert "not on a Friday" in run.error
    with pytest.raises(NotAwaiting):
        approvals.approve(run, by=bob)


def test_a_withdrawn_request_is_over(approved, rita):
    approvals.withdraw(approved, requester=as_requester(rita))

    assert state(approved) == "withdrawn"
    with pytest.raises(NotAwaiting):
        approvals.start(approved, requester=as_requester(rita))


def test_an_approval_that_is_taken_back_does_not_count_and_can_be_given_again(approved, ann, rita):
    approvals.revoke(approved, by=ann, comment="wrong table")
    with pytest.raises(NotExecuted):
        approvals.start(approved, requester=as_requester(rita))
    with pytest.raises(NoDecision):
        approvals.revoke(approved, by=ann, comment="again")

    approvals.approve(approved, by=ann)

    assert approvals.standing(approved).valid == 2


@pytest.mark.parametrize("change", ["revoked", "deactivated", "left the group", "deleted"])
def test_an_approval_that_is_gone_between_start_and_claim_refuses_the_run(approved, ann, rita, change):
    approvals.start(approved, requester=as_requester(rita))
    match change:
        case "revoked":
            approvals.revoke(approved, by=ann, comment="wait")
        case "deactivated":
            User.objects.filter(pk=ann.pk).update(is_active=False)
        case "left the group":
            ann.groups.clear()
        case "deleted":
            ann.delete()

    advance.advance(approved.pk)

    assert state(approved) == "refused"
    assert "1 valid of 2" in approved.error
    assert approved.outcome == "nothing"
    assert Approval.objects.filter(run=approved).count() == 2


def test_a_request_expires_by_the_clock_of_the_database(two_needed, rita, ann, bob, settings):
    settings.MEMOPS_APPROVALS = [TWO[0] | {"hours": 0.0001}]
    run = request_backup(rita)
    with connection.cursor() as cursor:
        cursor.execute("select pg_sleep(0.5)")

    with pytest.raises(NotAwaiting, match="expired"):
        approvals.approve(run, by=ann)
    assert state(run) == "expired"
    assert "Ask for it again" in run.error


def test_what_has_changed_on_the_target_since_the_approvals_is_named_and_nothing_is_done(
    two_needed, console_db, rita, ann, bob, tamperer
):
    run = ask_for(plan_rollback("default"), rita)
    for who in (ann, bob):
        approvals.approve(run, by=who)
    approvals.start(run, requester=as_requester(rita))
    tamperer.execute("create policy another on public.memory_chunks for select using (true)")

    advance.advance(run.pk)

    assert state(run) == "refused"
    assert "policies" in run.error
    assert run.outcome == "nothing"


def test_of_sixteen_who_press_run_at_once_one_wins_and_the_others_are_told_who(approved):
    people = [person(f"executor {number}", "executor") for number in range(16)]
    gate = threading.Barrier(16)

    def press(who: User) -> str:
        gate.wait()
        try:
            approvals.start(Run.objects.get(pk=approved.pk), requester=as_requester(who))
        except AlreadyStarted as told:
            return str(told)
        finally:
            connection.close()
        return f"won: {who.get_username()}"

    with ThreadPoolExecutor(max_workers=16) as threads:
        said = list(threads.map(press, people))

    (won,) = [text.removeprefix("won: ") for text in said if text.startswith("won")]
    assert sum(f"started by {won} already" in text for text in said) == 15
    assert sum(entry.task.get("args") == (approved.pk,) for entry in queue.OrmQ.objects.all()) == 1


def test_another_run_at_work_on_the_target_is_named(approved, rita, settings):
    settings.MEMOPS_APPROVALS = []
    active = request_backup(rita)

    with pytest.raises(TargetBusy, match=str(active.pk)):
        approvals.start(approved, requester=as_requester(rita))
    assert state(approved) == "awaiting"


def test_a_revocation_that_is_committed_first_wins_against_a_claim(approved, ann, rita, tamperer):
    """The claim waits for the revocation that is under way, and then sees it."""
    approvals.start(approved, requester=as_requester(rita))
    held: list[bool] = []

    def take() -> None:
        with claim.claimed(approved.pk) as claimed:
            held.append(claimed is not None)
        connection.close()

    with tamperer.transaction():
        tamperer.execute(
            "update memops_console_approval set revoked_at = now(), revoked_comment = 'wait' where approver_id = %s",
            [ann.pk],
        )
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(0.5)
        assert not held
    thread.join(10)

    assert held == [False]
    assert state(approved) == "refused"


class TestPlainSql:
    """What a page refuses, the database refuses as well, to its owner and to the superuser."""

    @pytest.fixture(params=["origin", "replica"])
    def superuser(self, tamperer, request):
        tamperer.execute(f"set session_replication_role = {request.param}")
        return tamperer

    @pytest.mark.parametrize("to", ["queued", "running"])
    def test_moves_no_run_on_without_approvals(self, run, superuser, to):
        with pytest.raises(psycopg.errors.CheckViolation, match="0 of 2 approvals"):
            superuser.execute("update memops_console_run set state = %s where id = %s", [to, run.pk])

    def test_inserts_no_run_that_is_queued_without_approvals(self, run, superuser):
        with pytest.raises(psycopg.errors.CheckViolation, match="0 of 2 approvals"):
            superuser.execute(
                "insert into memops_console_run select (jsonb_populate_record(r, jsonb_build_object("
                "'id', 999999, 'key', gen_random_uuid(), 'nonce', null, 'state', 'queued'))).*"
                " from memops_console_run r where id = %s",
                [run.pk],
            )

    @pytest.mark.parametrize(
        "change",
        [
            "approvals_needed = 0", "break_glass = true, incident = 'x'", "digest = repeat('a', 64)",
            "requester_key = 'user:0'", "approver_groups = 'requester'", "expires_at = now() + interval '1 year'",
            "kind = 'verify', subject_id = null", "plan = '{}'", "emergency = not emergency",
        ],
    )  # fmt: skip
    def test_does_not_change_what_was_asked_for(self, run, superuser, change):
        with pytest.raises(psycopg.errors.CheckViolation):
            superuser.execute(f"update memops_console_run set {change} where id = %s", [run.pk])

    def insert(self, connection, run, by: User, **change) -> None:
        values = {
            "run_id": run.pk,
            "requester_key": run.requester_key,
            "digest": run.digest,
            "decision": "approved",
            "approver_id": by.pk,
            "approver_key": f"user:{by.pk}",
            "approver_name": by.get_username(),
            "comment": "",
            "revoked_comment": "",
        } | change
        connection.execute(
            f"insert into memops_console_approval ({', '.join(values)}) values ({', '.join(['%s'] * len(values))})",
            list(values.values()),
        )

    def test_inserts_no_approval_of_ones_own(self, run, tamperer, rita):
        with pytest.raises(psycopg.errors.CheckViolation, match="approval_is_not_the_requesters"):
            self.insert(tamperer, run, rita)

    @pytest.mark.parametrize("forged", [{"requester_key": "user:0"}, {"digest": "a" * 64}])
    def test_inserts_no_approval_of_what_was_not_asked(self, run, tamperer, ann, forged):
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match="approval_of_what_was_asked"):
            self.insert(tamperer, run, ann, **forged)

    def test_gains_nothing_by_an_approval_under_a_false_key(self, run, tamperer, rita):
        self.insert(tamperer, run, rita, approver_key="user:0")

        assert approvals.standing(run).valid == 0

    def test_does_not_approve_what_is_over(self, approved, superuser, rita, bob):
        approvals.start(approved, requester=as_requester(rita))

        with pytest.raises(psycopg.errors.CheckViolation, match="does not await"):
            self.insert(superuser, approved, person("eve", "approver"))

    @pytest.mark.parametrize(
        "statement",
        [
            "delete from memops_console_approval", "update memops_console_approval set decision = 'rejected'",
            "update memops_console_approval set approver_id = 1", "update memops_console_approval set comment = 'x'",
        ],
    )  # fmt: skip
    def test_does_not_change_a_decision(self, approved, superuser, statement):
        with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.ForeignKeyViolation)):
            superuser.execute(statement)

    def test_does_not_bring_a_revoked_approval_back(self, approved, ann, superuser):
        approvals.revoke(approved, by=ann, comment="no")

        with pytest.raises(psycopg.errors.CheckViolation, match="revoked, not changed"):
            superuser.execute("update memops_console_approval set revoked_at = null")

    def test_does_not_send_a_run_back_to_wait(self, approved, rita, superuser):
        approvals.start(approved, requester=as_requester(rita))

        with pytest.raises(psycopg.errors.CheckViolation, match="does not go back"):
            superuser.execute(
                "update memops_console_run set state = 'awaiting', expires_at = expires_at where id = %s", [approved.pk]
            )


def test_the_orm_is_refused_like_everybody(run):
    with pytest.raises(IntegrityError, match="0 of 2 approvals"):
        Run.objects.filter(pk=run.pk).update(state="queued")


def test_the_groups_are_made_by_the_migration_with_one_permission_an_act(console_db):
    given = {group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}

    assert {"requester", "approver", "executor", "auditor", "administrator"} <= set(given)
    acts = {"rollback_target", "undo_target", "backup_target", "approve_run", "start_run", "break_glass_run"}
    assert given["requester"] & acts == {"rollback_target", "undo_target", "backup_target"}
    assert given["approver"] & acts == {"approve_run"}
    assert given["executor"] & acts == {"start_run"}
    assert given["auditor"] & acts == set() == given["administrator"] & acts
    assert all(
        name.startswith("view_") or name in ("verify_auditevent", "export_auditevent") for name in given["auditor"]
    )


def test_the_expiry_is_what_the_rule_says(rita, settings):
    settings.MEMOPS_APPROVALS = [ONE[0] | {"hours": 8.0}]
    run = request_backup(rita)

    assert Run.objects.filter(pk=run.pk, expires_at=F("requested_at") + timedelta(hours=8)).exists()


@pytest.mark.parametrize("guard", ["memops_run_guard", "memops_approval_guard", "memops_glass_review_guard"])
def test_no_run_is_asked_for_or_begins_while_a_guard_is_off(rita, tamperer, guard):
    run = request_backup(rita)
    table = {"memops_run_guard": "run", "memops_approval_guard": "approval"}.get(guard, "glassreview")
    tamperer.execute(f"alter table memops_console_{table} disable trigger {guard}")

    with pytest.raises(ChainBroken, match=f"trigger {guard} is not ENABLE ALWAYS"):
        request_backup(rita)
    advance.advance(run.pk)

    assert state(run) == "refused"


@pytest.mark.parametrize("stricter", [{"needed": 3}, {"groups": ["security"]}])
def test_a_run_that_was_asked_for_under_laxer_rules_is_refused(approved, rita, settings, stricter):
    approvals.start(approved, requester=as_requester(rita))
    settings.MEMOPS_APPROVALS = [TWO[0] | stricter]

    advance.advance(approved.pk)

    assert state(approved) == "refused"
    assert "needs now" in approved.error


def test_a_run_that_was_stored_by_hand_without_approvals_is_refused(run, tamperer):
    tamperer.execute(
        """
        insert into memops_console_run (key, target_id, kind, emergency, state, origin, plan, digest, requester_name,
            requester_key, approvals_needed, approver_groups, break_glass, incident, starter_name, reason, worker, xid,
            outcome, error, server)
        select gen_random_uuid(), target_id, kind, emergency, 'queued', origin, plan, digest, requester_name,
            requester_key, 0, '', false, '', '', reason, worker, xid, outcome, error, server
        from memops_console_run where id = %s
        """,
        [run.pk],
    )
    forged = Run.objects.latest("pk")

    advance.advance(forged.pk)

    assert state(forged) == "refused"
    assert "needs now: 2, from approver" in forged.error


def test_without_the_migration_what_waited_is_cancelled_and_nothing_else_is_lost(run, rita):
    call_command("migrate", "memops_console", "0004_audit", verbosity=0)
    call_command("migrate", "memops_console", verbosity=0)

    run.refresh_from_db()
    assert (run.state, run.outcome, run.reason) == ("cancelled", "nothing", "INC-1")
    assert request_backup(rita).state == "awaiting"
