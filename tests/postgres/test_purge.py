"""A quarantined table is dropped for good only when its time is over, a backup proves its rows, and nobody holds it."""

import json
import re
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction

from memops import demo
from memops.console.errors import (
    AlreadyHeld,
    AuditUnwritable,
    NeverWithoutApprovals,
    NotAHolder,
    NotHeld,
    NothingToHold,
    NothingToPurge,
    NothingToUndo,
    PlanRefused,
    ReasonMissing,
    TooLateToHold,
)
from memops.console.models import AuditEvent, Backup, Hold, QuarantinedTable, Run
from memops.console.pg import manifest
from memops.console.pg import purge as dropping
from memops.console.runs import history, holds, reconcile
from memops.console.runs.advance import advance
from memops.console.runs.overview import overview
from memops.console.runs.plan import plan_backup, plan_purge, plan_rollback, plan_undo
from memops.console.runs.policy import policy_for
from memops.console.steps import purge as purging
from project import embedded
from tests.postgres.people import as_requester, ask_for, execute, person
from tests.postgres.test_rollback import query, states

SOME_DAYS = timedelta(days=30)


@pytest.fixture
def olga(console_db: str) -> User:
    return User.objects.create_superuser("olga")


@pytest.fixture
def table(olga, settings) -> QuarantinedTable:
    """40 rows in quarantine, whose time is over, with a verified backup."""
    demo.load("default", rows=40, tenants=3)
    history.notice("default")
    settings.MEMOPS_QUARANTINE_KEEP = timedelta(0)
    return execute(plan_rollback("default"), olga).quarantined_table


@pytest.fixture
def unproved(olga, settings) -> QuarantinedTable:
    """40 rows in quarantine of which there is no backup."""
    demo.load("default", rows=40, tenants=3)
    settings.MEMOPS_QUARANTINE_KEEP = timedelta(0)
    call_command("migrate", "memops", "zero", verbosity=0)
    return history.notice("default")[-1].quarantined_table


@pytest.fixture
def dba_url(console_db: str, settings) -> str:
    return embedded.superuser_url(settings.MEMOPS_HOME, console_db)


@pytest.fixture
def owner_of_default(console_db: str, settings):
    with psycopg.connect(embedded.url(settings.MEMOPS_HOME, database=console_db), autocommit=True) as session:
        yield session


def is_there(table: QuarantinedTable) -> bool:
    return query("default", "select to_regclass(%s) is not null", table.relation) == [(True,)]


def codes(plan) -> set[str]:
    return {finding.code for finding in plan.refusals}


def as_dba(dba_url: str, statement: str) -> None:
    with psycopg.connect(dba_url, autocommit=True) as session:
        session.execute(statement)


def before_the_drop(monkeypatch, happens) -> None:
    """Do something when the run has compared the rows and goes on to its last look."""
    agree = purging._Locked.agree

    def agreeing(locked):
        happens()
        agree(locked)

    monkeypatch.setattr(purging._Locked, "agree", agreeing)


def after_the_last_look(monkeypatch, happens) -> None:
    agree = purging._Locked.agree

    def agreed(locked):
        agree(locked)
        happens()

    monkeypatch.setattr(purging._Locked, "agree", agreed)


class TestThePurge:
    def test_the_table_is_dropped_and_what_it_was_is_kept(self, table, olga):
        proof, rows = table.backup, table.rows

        run = execute(plan_purge(table), olga)

        table.refresh_from_db()
        assert (run.state, run.outcome, run.error) == ("done", "purged", "")
        assert set(states(run).values()) == {"done"}
        assert not is_there(table)
        assert (table.state, table.rows, table.fingerprint) == ("purged", rows, proof.fingerprint)
        assert table.left_at is not None
        assert Backup.objects.get(pk=proof.pk).state == "verified"
        assert run.saw("purge")["fingerprint"] == proof.fingerprint
        assert query(
            "default", "select action, table_name from memops_quarantine.journal order by id desc limit 1"
        ) == [("purge", table.name)]

    def test_the_trail_has_hash_rows_and_size_before_it_happens_and_after(self, table, olga):
        run = execute(plan_purge(table), olga)

        told = {
            event.action: json.loads(event.details) for event in AuditEvent.objects.filter(action__startswith="purge.")
        }
        assert told["purge.begun"] == told["purge.done"]
        assert (told["purge.done"]["rows"], told["purge.done"]["backup"]) == (40, table.backup_id)
        assert told["purge.done"]["fingerprint"] == table.backup.fingerprint
        assert told["purge.done"]["backup_sha256"] == table.backup.sha256
        assert told["purge.done"]["total_bytes"] == run.saw("purge")["total_bytes"] > 0

    def test_the_plan_shows_what_goes_what_proves_it_and_the_exact_sql(self, table):
        plan = plan_purge(table)

        assert plan.is_possible
        assert plan.table.rows == 40
        assert plan.purge.fingerprint == table.fingerprint
        assert (plan.purge.backup, plan.purge.backup_sha256) == (table.backup_id, table.backup.sha256)
        assert f"set local memops.purge_oid = '{table.table_oid}'" in plan.sql
        assert "cascade" not in plan.sql.lower()
        assert f"Backup {table.backup_id}" in plan.brings_back

    def test_other_tables_in_quarantine_stay(self, table, olga):
        call_command("migrate", "memops", verbosity=0)
        demo.load("default", rows=10, tenants=1)
        other = execute(plan_rollback("default"), olga).quarantined_table

        execute(plan_purge(table), olga)

        other.refresh_from_db()
        assert (other.state, is_there(other)) == ("kept", True)
        assert execute(plan_undo(other.run), olga).state == "done"

    def test_its_rollback_cannot_be_undone_any_more_and_is_told_why(self, table, olga):
        rollback, backup = table.run, table.backup_id
        run = execute(plan_purge(table), olga)

        with pytest.raises(
            NothingToUndo, match=rf"dropped for good by run {run.pk} on .*; backup {backup} has its rows"
        ):
            plan_undo(rollback)

    def test_it_is_not_purged_twice(self, table, olga):
        run = execute(plan_purge(table), olga)
        table.refresh_from_db()

        with pytest.raises(NothingToPurge, match=f"dropped for good by run {run.pk}"):
            plan_purge(table)

    def test_status_and_overview_show_it_as_purged(self, table, olga):
        execute(plan_purge(table), olga)

        seen = overview("default")

        assert (seen.quarantined, [one.name for one in seen.purged]) == ([], [table.name])

    def test_another_consoles_purge_is_noticed_as_done_by_hand(self, table, olga):
        run = execute(plan_purge(table), olga)
        Run.objects.filter(pk=run.pk).update(key="00000000-0000-0000-0000-000000000000", journal_entry=None)
        QuarantinedTable.objects.filter(pk=table.pk).update(state="missing")

        [noticed] = history.notice("default")

        table.refresh_from_db()
        assert (noticed.kind, noticed.origin, noticed.outcome, noticed.purges) == ("purge", "by hand", "purged", table)
        assert table.state == "purged"

    def test_its_checklist_ticks_what_the_steps_have_seen(self, table, olga):
        run = execute(plan_purge(table), olga)

        ticked = dict(run.signoffs.values_list("item__machine", "decision"))
        assert ticked.keys() >= {"purge_proved", "purge_compared", "purge_gone", "others_untouched", "change_committed"}
        assert set(ticked.values()) == {"passed"}


class TestWhatForbidsIt:
    def test_a_table_stays_for_its_time(self, table, settings):
        settings.MEMOPS_QUARANTINE_KEEP = SOME_DAYS

        plan = plan_purge(table)

        assert codes(plan) == {"retention"}
        assert re.search(r"(30 d|29 d 23 h) yet \(MEMOPS_QUARANTINE_DAYS\)", plan.refusals[0].text)
        assert plan.purge.left(plan.made_at) > timedelta(days=29)

    def test_the_time_counts_from_the_later_of_two_clocks(self, table, settings):
        """The target's may have been set back when the table was moved."""
        settings.MEMOPS_QUARANTINE_KEEP = SOME_DAYS
        table.since -= timedelta(days=400)
        table.save()

        assert codes(plan_purge(table)) == {"retention"}

    def test_a_longer_time_that_is_set_after_the_request_holds(self, table, olga, settings):
        run = ask_for(plan_purge(table), olga)
        settings.MEMOPS_QUARANTINE_KEEP = SOME_DAYS

        advance(run.pk)

        run.refresh_from_db()
        assert (run.state, run.outcome, is_there(table)) == ("refused", "nothing", True)
        assert "kept until" in run.error

    def test_a_table_without_a_verified_backup_is_not_dropped(self, unproved, olga):
        plan = plan_purge(unproved)

        assert codes(plan) == {"no proof"}
        with pytest.raises(PlanRefused, match="--quarantined"):
            ask_for(plan, olga)

    def test_a_backup_of_the_quarantined_table_makes_it_possible(self, unproved, olga):
        assert execute(plan_backup("default", quarantined=unproved), olga).state == "done"

        run = execute(plan_purge(QuarantinedTable.objects.get()), olga)

        assert (run.state, is_there(unproved)) == ("done", False)

    def test_a_backup_that_was_made_but_not_verified_proves_nothing(self, table):
        Backup.objects.update(state="written")

        assert codes(plan_purge(table)) == {"no proof"}

    def test_a_backup_of_other_rows_proves_nothing(self, table):
        rows, _, digest = table.fingerprint.rpartition(":")
        Backup.objects.update(fingerprint=f"{rows}:{'0' * len(digest)}")

        assert codes(plan_purge(table)) == {"no proof"}

    def test_a_backup_whose_file_is_gone_is_missed_by_the_plan(self, table):
        Path(table.backup.location).unlink()

        assert codes(plan_purge(table)) == {"backup missing"}

    @pytest.mark.parametrize(
        "statement",
        [
            "create view public.seen as select * from {}",
            "create table public.note (chunk uuid references {})",
            "create table public.child () inherits ({})",
        ],
    )
    def test_dependents_forbid_it_by_name(self, table, owner_of_default, statement):
        owner_of_default.execute(statement.format(table.relation))

        assert codes(plan_purge(table)) == {"dependent"}

    def test_a_dependent_that_comes_after_the_precheck_is_refused_by_the_server(
        self, table, olga, owner_of_default, monkeypatch
    ):
        run = ask_for(plan_purge(table), olga)
        statements = purging.dropping.lock

        def lock(connection, *, table):
            owner_of_default.execute(f"create view public.seen as select * from memops_quarantine.{table}")
            statements(connection, table=table)

        monkeypatch.setattr(purging.dropping, "lock", lock)
        advance(run.pk)

        run.refresh_from_db()
        assert (run.state, run.outcome, is_there(table)) == ("failed", "nothing", True)
        assert "view public.seen depends on table" in run.error

    def test_a_table_that_was_replaced_by_hand_is_not_dropped(self, table, olga, owner_of_default):
        run = ask_for(plan_purge(table), olga)
        owner_of_default.execute(f"alter table {table.relation} rename to elsewhere")
        owner_of_default.execute(f"create table {table.relation} (id int)")

        advance(run.pk)

        run.refresh_from_db()
        assert (run.state, run.outcome) == ("refused", "nothing")
        assert is_there(table)


class TestWhatChangesAfterThePlan:
    @pytest.mark.parametrize(
        "statement",
        [
            "update {} set source = 'x' where id = (select id from {} limit 1)",
            "delete from {} where id = (select id from {} limit 1)",
            "insert into {} (user_hash, doc_id, source, chunk_index) select user_hash, 'x', 'x', 0 from {} limit 1",
        ],
    )
    def test_rows_that_a_superuser_changes_in_quarantine_are_not_dropped(self, table, olga, dba_url, statement):
        run = ask_for(plan_purge(table), olga)
        as_dba(dba_url, statement.format(table.relation, table.relation))

        advance(run.pk)

        run.refresh_from_db()
        assert (run.state, run.outcome, is_there(table)) == ("refused", "nothing", True)
        assert f"are not those of backup {table.backup_id} (40 rows)" in run.error
        assert "Nothing was dropped" in run.error

    @pytest.mark.parametrize(
        ("damage", "told"),
        [
            (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "SHA-256 is not the one"),
            (lambda path: path.write_bytes(path.read_bytes()[:-9]), "bytes, and"),
            (lambda path: manifest.path_of(path).unlink(), "is missing"),
            (lambda path: path.chmod(0o666), "others may write it"),
        ],
    )
    def test_a_backup_that_is_damaged_after_the_plan_proves_nothing(self, table, olga, damage, told):
        run = ask_for(plan_purge(table), olga)
        damage(Path(table.backup.location))

        advance(run.pk)

        run.refresh_from_db()
        assert (run.state, run.outcome, is_there(table)) == ("refused", "nothing", True)
        assert told in run.error

    def test_a_link_in_the_place_of_the_archive_is_not_followed(self, table, olga, tmp_path):
        run = ask_for(plan_purge(table), olga)
        path = Path(table.backup.location)
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")

        advance(run.pk)

        run.refresh_from_db()
        assert (run.state, is_there(table)) == ("refused", True)

    def test_a_backup_that_is_damaged_while_the_rows_are_compared_is_noticed(self, table, olga, monkeypatch):
        path = Path(table.backup.location)
        before_the_drop(monkeypatch, lambda: path.write_bytes(b"x"))

        run = execute(plan_purge(table), olga)

        assert (run.state, run.outcome, is_there(table)) == ("refused", "nothing", True)
        assert "changed since this run has read it" in run.error

    def test_a_trail_that_cannot_be_written_holds_it_up(self, table, olga, monkeypatch):
        def refuse(action, **details):
            raise AuditUnwritable(problem="x")

        monkeypatch.setattr(purging, "record", refuse)

        run = execute(plan_purge(table), olga)

        assert (run.state, run.outcome, is_there(table)) == ("refused", "nothing", True)


class TestHolds:
    def test_a_hold_forbids_the_plan_and_says_whose_it_is(self, table, olga):
        holds.put(table, kind=Hold.Kind.LEGAL, by=olga, reason="case 7")

        plan = plan_purge(table)

        assert codes(plan) == {"hold"}
        assert "Legal hold by olga since" in plan.refusals[0].text
        assert "case 7" in plan.refusals[0].text

    def test_a_hold_that_is_put_after_the_request_refuses_the_run(self, table, olga):
        run = ask_for(plan_purge(table), olga)
        holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait")

        advance(run.pk)

        run.refresh_from_db()
        assert (run.state, run.outcome, is_there(table)) == ("refused", "nothing", True)

    def test_a_hold_that_is_put_while_the_rows_are_compared_stops_the_drop(self, table, olga, monkeypatch):
        before_the_drop(monkeypatch, lambda: holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait"))

        run = execute(plan_purge(table), olga)

        assert (run.state, run.outcome, is_there(table)) == ("refused", "nothing", True)
        assert "is under a hold" in run.error

    def test_a_hold_that_comes_after_the_last_look_is_told_that_it_is_late(self, table, olga, monkeypatch):
        told = []

        def hold():
            with pytest.raises(TooLateToHold) as late:
                holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait")
            told.append(str(late.value))

        after_the_last_look(monkeypatch, hold)

        run = execute(plan_purge(table), olga)

        assert run.state == "done"
        assert f"run {run.pk} had found no hold" in told[0]
        assert not Hold.objects.exists()

    def test_a_hold_can_be_put_again_when_the_drop_has_not_happened(self, table, olga, monkeypatch):
        def fail(*arguments, **more):
            raise DatabaseError("the drop fails")

        monkeypatch.setattr(purging.dropping, "drop", fail)
        run = execute(plan_purge(table), olga)
        assert (run.state, run.outcome) == ("failed", "nothing")

        holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait")

        assert codes(plan_purge(table)) == {"hold"}

    def test_lifting_a_hold_lets_it_go(self, table, olga):
        holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait")
        lifted = holds.lift(table, kind=Hold.Kind.MANUAL, by=olga, reason="it is over")

        assert (lifted.lifted_by_name, lifted.lifted_reason) == ("olga", "it is over")
        assert execute(plan_purge(table), olga).state == "done"

    def test_lifting_one_kind_leaves_the_other(self, table, olga):
        for kind in Hold.Kind:
            holds.put(table, kind=kind, by=olga, reason="wait")
        holds.lift(table, kind=Hold.Kind.MANUAL, by=olga, reason="it is over")

        assert codes(plan_purge(table)) == {"hold"}

    def test_one_of_a_kind_stands_at_a_time(self, table, olga):
        holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait for ann")

        with pytest.raises(AlreadyHeld, match="wait for ann"):
            holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait")

    def test_what_is_under_no_hold_has_none_to_lift(self, table, olga):
        with pytest.raises(NotHeld, match="no legal hold"):
            holds.lift(table, kind=Hold.Kind.LEGAL, by=olga, reason="x")

    def test_what_is_gone_is_not_held(self, table, olga):
        execute(plan_purge(table), olga)

        with pytest.raises(NothingToHold, match="dropped for good"):
            holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait")

    def test_it_takes_a_reason_and_the_permission(self, table, olga):
        with pytest.raises(ReasonMissing):
            holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason=" ")
        with pytest.raises(NotAHolder):
            holds.put(table, kind=Hold.Kind.MANUAL, by=person("vera", "auditor"), reason="x")
        assert holds.put(table, kind=Hold.Kind.MANUAL, by=person("rita", "requester"), reason="x").put_by_name == "rita"
        with pytest.raises(NotAHolder):
            holds.lift(table, kind=Hold.Kind.MANUAL, by=User.objects.get(username="vera"), reason="x")

    def test_both_are_in_the_trail_with_who_and_why(self, table, olga):
        holds.put(table, kind=Hold.Kind.LEGAL, by=olga, reason="case 7")
        holds.lift(table, kind=Hold.Kind.LEGAL, by=olga, reason="case 7 is over")

        told = AuditEvent.objects.filter(action__startswith="hold.").order_by("sequence")
        assert [(one.action, one.actor, one.object_id) for one in told] == [
            (action, "olga", table.name) for action in ("hold.put_asked", "hold.put", "hold.lift_asked", "hold.lifted")
        ]
        assert "case 7" in told[0].details

    def test_an_undo_of_a_held_table_says_what_it_means(self, table, olga):
        holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait")

        assert "hold" in {finding.code for finding in plan_undo(table.run).warnings}

    @pytest.mark.parametrize(
        "statement",
        [
            "delete from memops_console_hold",
            "truncate memops_console_hold",
            "update memops_console_hold set reason = 'x'",
            "update memops_console_hold set kind = 'legal'",
            "update memops_console_quarantinedtable set doomed_by_id = run_id",
        ],
    )
    def test_the_database_keeps_them_whoever_asks(self, table, olga, statement):
        holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait")

        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)

    def test_a_lifted_hold_is_not_lifted_otherwise_and_survives_its_people(self, table, olga):
        rita = person("rita", "requester")
        holds.put(table, kind=Hold.Kind.MANUAL, by=rita, reason="wait")
        hold = holds.lift(table, kind=Hold.Kind.MANUAL, by=rita, reason="over")
        with pytest.raises(IntegrityError), transaction.atomic():
            Hold.objects.update(lifted_reason="other")

        rita.delete()

        hold.refresh_from_db()
        assert (hold.put_by, hold.put_by_name, hold.lifted_by, hold.lifted_by_name) == (None, "rita", None, "rita")


class TestWithoutABackup:
    def test_it_has_to_be_chosen_and_is_another_digest(self, table):
        with_backup, without = plan_purge(table), plan_purge(table, without_backup=True)

        assert with_backup.digest != without.digest
        assert "without backup" in {finding.code for finding in without.warnings}
        assert (with_backup.approved_as, without.approved_as) == ("purge", "purge-without-backup")

    def test_it_drops_what_nothing_proves_and_keeps_what_it_was(self, unproved, olga):
        run = execute(plan_purge(unproved, without_backup=True), olga)

        unproved.refresh_from_db()
        assert (run.state, states(run)["proof"], is_there(unproved)) == ("done", "skipped", False)
        assert (unproved.state, unproved.rows) == ("purged", 40)
        assert unproved.fingerprint.startswith("fp1-md5:40:")
        assert run.signoffs.get(item__machine="purge_proved").decision == "failed"

    def test_rows_that_change_after_the_plan_are_not_dropped_where_it_is_known_what_they_were(
        self, table, olga, dba_url
    ):
        run = ask_for(plan_purge(table, without_backup=True), olga)
        as_dba(dba_url, f"update {table.relation} set source = 'x'")

        advance(run.pk)

        run.refresh_from_db()
        assert (run.state, is_there(table)) == ("refused", True)

    @pytest.mark.parametrize("forbids", ["hold", "retention"])
    def test_a_hold_and_the_time_forbid_it_as_well(self, unproved, olga, settings, forbids):
        if forbids == "hold":
            holds.put(unproved, kind=Hold.Kind.MANUAL, by=olga, reason="wait")
        else:
            settings.MEMOPS_QUARANTINE_KEEP = SOME_DAYS

        assert codes(plan_purge(unproved, without_backup=True)) == {forbids}


class TestWhoHasToAgree:
    @pytest.mark.parametrize(
        ("embedded", "kind", "needed"),
        [
            (True, "purge", 1),
            (True, "purge-without-backup", 2),
            (False, "purge", 2),
            (False, "purge-without-backup", 3),
        ],
    )
    def test_by_default_one_more_where_nothing_proves_the_rows(self, settings, embedded, kind, needed):
        settings.MEMOPS_APPROVALS, settings.MEMOPS_EMBEDDED = [], embedded

        assert policy_for("default", kind).needed == needed

    def test_a_rule_for_purges_is_none_for_those_without_a_backup(self, table, olga, settings):
        settings.MEMOPS_EMBEDDED = True
        settings.MEMOPS_APPROVALS = [{"target": "*", "kind": "purge", "needed": 0, "groups": None, "hours": None}]

        assert ask_for(plan_purge(table, without_backup=True), olga).approvals_needed == 2
        assert ask_for(plan_purge(table), olga).state == "queued"

    def test_a_stricter_rule_that_comes_later_refuses_the_run(self, table, olga, settings):
        run = ask_for(plan_purge(table, without_backup=True), olga)
        settings.MEMOPS_APPROVALS = [
            {"target": "*", "kind": "purge-without-backup", "needed": 1, "groups": None, "hours": None}
        ]

        advance(run.pk)

        run.refresh_from_db()
        assert (run.state, is_there(table)) == ("refused", True)

    def test_no_incident_waives_them(self, table, olga, settings):
        settings.MEMOPS_APPROVALS = []

        with pytest.raises(NeverWithoutApprovals):
            ask_for(plan_purge(table), olga, break_glass=True, incident="INC-9")
        assert not Run.objects.filter(kind="purge").exists()


def test_a_run_that_was_lost_after_its_drop_is_settled_by_the_journal(table, olga, monkeypatch):
    def die(*arguments, **more):
        raise KeyboardInterrupt

    run = ask_for(plan_purge(table), olga)
    monkeypatch.setattr(purging, "record_change", die)
    monkeypatch.setattr("memops.console.runs.advance._end", lambda *arguments: None)
    with pytest.raises(KeyboardInterrupt):
        advance(run.pk)

    reconcile.reconcile(requester=as_requester(olga))

    run.refresh_from_db()
    table.refresh_from_db()
    assert (run.state, run.outcome, table.state, is_there(table)) == ("interrupted", "purged", "purged", False)


def test_a_server_without_shared_memory_compares_in_one_process(table, olga, monkeypatch):
    take, asked = dropping.fingerprint.of, []

    def full(session, **more):
        asked.append(more.get("one_process", False))
        if not asked[-1]:
            session.execute("do $$ begin raise exception using errcode = 'disk_full'; end $$")
        return take(session, **more)

    monkeypatch.setattr(dropping.fingerprint, "of", full)

    assert execute(plan_purge(table), olga).state == "done"
    assert asked == [False, True]


class TestGoingBackToAReleaseWithoutPurges:
    def test_holds_go_and_come_again_with_the_migration(self, table, olga):
        holds.put(table, kind=Hold.Kind.MANUAL, by=olga, reason="wait")

        call_command("migrate", "memops_console", "0008", verbosity=0)
        call_command("migrate", "memops_console", verbosity=0)

        assert not Hold.objects.exists()
        assert execute(plan_purge(table), olga).state == "done"

    def test_a_history_with_purges_is_kept(self, table, olga):
        execute(plan_purge(table), olga)

        with pytest.raises(DatabaseError, match="There are purges in the history"):
            call_command("migrate", "memops_console", "0008", verbosity=0)
        assert Run.objects.filter(kind="purge").exists()
