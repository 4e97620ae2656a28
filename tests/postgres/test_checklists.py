"""A run is closed only when everything on its checklist is proved or signed by who may; and what was said stays."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from memops import demo
from memops.console.audit import anchors
from memops.console.errors import (
    AlreadyClosed,
    ItemIsOpen,
    ItemIsSettled,
    ItemsAreOpen,
    MachineItem,
    NoChecklist,
    NoSuchItem,
    NotASigner,
    NoteMissing,
    NotInRole,
    ReasonUnreadable,
    RunIsClosed,
    TwoRoles,
)
from memops.console.models import AuditEvent, ChecklistTemplate, Run, RunClosing, SignOff
from memops.console.runs import checklists, evidence, history, signing
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_backup, plan_rollback, plan_undo
from tests.postgres.people import SIGNED_BY_PEOPLE, ask_for, execute, person
from tests.postgres.test_audit import actions


@pytest.fixture
def default(console_db) -> str:
    demo.load("default", rows=40, tenants=3)
    history.notice("default")
    return "default"


@pytest.fixture
def bob(console_db) -> User:
    return person("bob", "approver")


@pytest.fixture
def quarantined(default, ann) -> Run:
    """A guided rollback of 40 rows."""
    return execute(plan_rollback(default), ann)


@pytest.fixture
def deployed(default) -> Run:
    return Run.objects.get(kind="deploy")


def words(run: Run) -> dict[int, str]:
    return {one.item.number: one.state for one in checklists.standing(run).items}


def number_of(run: Run, role: str) -> int:
    return run.checklist.items.get(role=role).number


class TestMachineItems:
    def test_a_rollback_ticks_its_own_with_evidence_and_leaves_the_rest_to_people(self, quarantined):
        found = words(quarantined)

        assert {number for number, state in found.items() if state == "open"} == set(SIGNED_BY_PEOPLE)
        assert {state for number, state in found.items() if number not in SIGNED_BY_PEOPLE} == {"passed"}
        table, backup = quarantined.quarantined_table, quarantined.backups.get()
        said = {one.item.number: one.newest.note for one in checklists.standing(quarantined).items if one.newest}
        assert "0001_memory_chunks" in said[1]
        assert said[3].startswith("40 rows")
        assert "idx_memory_chunks_doc_id" in said[4]
        assert "memory_tenant_isolation" in said[5]
        assert said[6] == backup.location
        assert f"{backup.size_bytes:,} bytes" in said[7]
        assert backup.sha256 in said[8]
        assert table.fingerprint in said[8]
        assert "quarantine" in said[9]
        assert "7 of 7 steps" in said[10]
        assert " ms" in said[11]
        assert "checks, each of them OK" in said[19]

    def test_an_undo_ticks_its_own(self, quarantined, ann, default):
        undone = execute(plan_undo(quarantined), ann)

        assert undone.state == "done"
        assert words(undone) == dict.fromkeys(range(1, 6), "passed") | dict.fromkeys((6, 7, 8), "open")
        assert "40 rows" in checklists.standing(undone).items[2].newest.note

    def test_an_emergency_rollback_of_an_empty_table_has_no_backup_to_prove(self, rolled_back):
        assert rolled_back.outcome == "dropped"
        found = words(rolled_back)
        assert [found[number] for number in (6, 7, 8)] == ["not_applicable"] * 3
        assert found[12] == "passed"

    def test_a_rollback_by_hand_says_what_nobody_has_looked_at(self, default, ann):
        call_command("migrate", "memops", "zero", verbosity=0)
        (run,) = history.notice(default)

        found = words(run)
        assert (found[1], found[8], found[9], found[11], found[12]) == (
            "failed", "failed", "passed", "not_applicable", "failed",
        )  # fmt: skip
        signing.accept(run, 12, by=ann, reason="to_regclass is null, I looked")
        assert words(run)[12] == "accepted"

    def test_every_check_of_the_delivered_checklists_exists_for_its_kind(self, console_db):
        for template in ChecklistTemplate.objects.all():
            names = set(template.items.exclude(machine="").values_list("machine", flat=True))
            assert names - set(evidence.names_for(template.kind)) == set()

    def test_what_a_lost_worker_has_not_ticked_is_ticked_by_whoever_looks(self, rolled_back, tamperer):
        tamperer.execute("alter table memops_console_signoff disable trigger user")
        tamperer.execute("delete from memops_console_signoff")
        tamperer.execute("alter table memops_console_signoff enable always trigger memops_signoff_rows")

        assert words(rolled_back)[1] == "passed"

    def test_records_that_cannot_be_read_prove_nothing(self, rolled_back):
        rolled_back.steps.filter(name="precheck").update(saw={"table": {"oid": None}})

        assert evidence.look(rolled_back, "rows_seen").decision == "failed"
        assert evidence.look(rolled_back, "no such check").decision == "failed"

    def test_they_are_one_event_of_the_trail_before_the_end_of_the_run(self, rolled_back):
        kept = actions(run=rolled_back.pk)

        assert kept[-2:] == ["checklist.ticked", "run.ended"]


class TestSigning:
    def test_a_sign_off_keeps_who_in_which_role_when_and_the_note(self, rolled_back, ann):
        said = signing.sign(rolled_back, 16, by=ann, role="executor", note="all six")

        assert (said.signer, said.signer_name, said.signer_key) == (ann, "ann", f"user:{ann.pk}")
        assert (said.decision, said.role, said.note) == ("signed", "executor", "all six")
        assert said.at > rolled_back.ended_at
        assert actions(run=rolled_back.pk)[-2:] == ["checklist.asked", "checklist.signed"]

    def test_nobody_signs_in_a_role_that_is_not_theirs(self, rolled_back, ann):
        with pytest.raises(NotInRole, match="DBA"):
            signing.sign(rolled_back, 16, by=ann, role="DBA")
        assert words(rolled_back)[16] == "open"

    def test_an_item_is_signed_once(self, rolled_back, ann, bob):
        signing.sign(rolled_back, 16, by=ann)

        with pytest.raises(ItemIsSettled, match="by ann"):
            signing.sign(rolled_back, 16, by=bob)
        with pytest.raises(ItemIsSettled):
            signing.not_applicable(rolled_back, 16, by=bob, reason="no")

    def test_not_applicable_needs_a_reason(self, rolled_back, ann):
        with pytest.raises(NoteMissing):
            signing.not_applicable(rolled_back, 20, by=ann, reason=" \n")
        signing.not_applicable(rolled_back, 20, by=ann, reason="nobody has noticed")

        assert words(rolled_back)[20] == "not_applicable"

    @pytest.mark.parametrize("note", ["turned \u202e round", "bell \x07", "x" * 2001])
    def test_a_note_shows_as_what_it_is(self, rolled_back, ann, note):
        with pytest.raises(ReasonUnreadable):
            signing.sign(rolled_back, 16, by=ann, note=note)

    def test_a_machine_item_is_not_ticked_by_hand(self, rolled_back, ann, tamperer):
        with pytest.raises(ItemIsSettled):
            signing.sign(rolled_back, 1, by=ann)
        signing.reopen(rolled_back, 1, by=ann, reason="that was another database")
        with pytest.raises(MachineItem, match="by evidence"):
            signing.sign(rolled_back, 1, by=ann)
        with pytest.raises(NoteMissing):
            signing.accept(rolled_back, 1, by=ann, reason="")
        signing.accept(rolled_back, 1, by=ann, reason="it is the right one")

        assert words(rolled_back)[1] == "accepted"
        with pytest.raises(MachineItem, match="by a person"):
            signing.accept(rolled_back, 16, by=ann, reason="x")

    def test_who_may_not_sign_does_not(self, rolled_back):
        for one in (person("vera", "auditor"), person("adam", "administrator"), person("zoe")):
            with pytest.raises(NotASigner):
                signing.sign(rolled_back, 16, by=one)
            with pytest.raises(NotASigner):
                signing.close(rolled_back, by=one)

    def test_who_was_deactivated_does_not(self, rolled_back, ann):
        User.objects.filter(pk=ann.pk).update(is_active=False)

        with pytest.raises(NotASigner):
            signing.sign(rolled_back, 16, by=ann)

    @pytest.mark.parametrize("number", [0, -1, 22, 2**15, 2**70])
    def test_an_item_that_is_not_there_is_named(self, rolled_back, ann, number):
        with pytest.raises(NoSuchItem):
            signing.sign(rolled_back, number, by=ann)

    def test_before_the_end_there_is_nothing_to_sign(self, default, ann):
        run = ask_for(plan_rollback(default), ann)

        with pytest.raises(NoChecklist, match="queued"):
            signing.sign(run, 16, by=ann)
        assert checklists.words(run) == ""

    def test_of_eight_who_sign_at_once_one_wins_and_the_others_are_told_who(self, rolled_back):
        people = [person(f"signer {number}", "executor") for number in range(8)]
        gate = threading.Barrier(8)

        def press(who: User) -> str:
            gate.wait()
            try:
                signing.sign(Run.objects.get(pk=rolled_back.pk), 16, by=who)
            except ItemIsSettled as told:
                return str(told)
            finally:
                connection.close()
            return f"won: {who.get_username()}"

        with ThreadPoolExecutor(max_workers=8) as threads:
            said = list(threads.map(press, people))

        (won,) = [text.removeprefix("won: ") for text in said if text.startswith("won")]
        assert sum(f"by {won}" in text for text in said) == 7
        assert SignOff.objects.filter(run=rolled_back, item__number=16).count() == 1


class TestRoles:
    def test_a_deployment_asks_for_four_roles_of_four_people(self, deployed):
        assert list(deployed.checklist.items.exclude(role="").values_list("role", flat=True)) == [
            "DBA", "DevOps lead", "Security", "Architecture",
        ]  # fmt: skip
        dora = person("dora", "DBA", "Security")
        signing.sign(deployed, number_of(deployed, "DBA"), by=dora)

        with pytest.raises(TwoRoles, match="as DBA"):
            signing.sign(deployed, number_of(deployed, "Security"), by=dora)
        signing.sign(deployed, number_of(deployed, "Security"), by=person("sam", "Security"))

    def test_the_migration_of_a_deployment_by_hand_is_ticked(self, deployed):
        ticked = [one for one in checklists.standing(deployed).items if one.state == "passed"]

        assert [one.item.text for one in ticked] == ["Migration ran"]
        assert "Table created" in ticked[0].newest.note

    @pytest.mark.parametrize("act", ["sign", "not_applicable"])
    def test_an_item_of_a_role_is_signed_and_set_aside_by_its_members_alone(self, deployed, ann, act):
        how = {} if act == "sign" else {"reason": "no"}
        for one in (ann, User.objects.create_superuser("root")):
            with pytest.raises(NotInRole, match="DBA"):
                getattr(signing, act)(deployed, number_of(deployed, "DBA"), by=one, **how)
        with pytest.raises(NotInRole):
            getattr(signing, act)(deployed, number_of(deployed, "DBA"), by=ann, role="executor", **how)

    def test_who_has_taken_one_back_may_sign_in_the_other(self, deployed):
        dora = person("dora", "DBA", "Security")
        signing.sign(deployed, number_of(deployed, "DBA"), by=dora)
        signing.reopen(deployed, number_of(deployed, "DBA"), by=dora, reason="not mine")

        assert signing.sign(deployed, number_of(deployed, "Security"), by=dora).role == "Security"

    def test_a_sign_off_outlives_its_signer(self, deployed):
        dora = person("dora", "DBA")
        said = signing.sign(deployed, number_of(deployed, "DBA"), by=dora)
        dora.delete()

        said.refresh_from_db()
        assert (said.signer, said.signer_name) == (None, "dora")
        assert words(deployed)[number_of(deployed, "DBA")] == "signed"


class TestClosing:
    def test_it_is_closed_when_everything_required_is_settled_and_the_trail_is_anchored(self, settled, ann):
        assert checklists.words(settled) == "not closed: every item is settled"
        before = len(anchors.kept())

        signing.close(settled, by=ann, note="done")

        assert checklists.words(settled) == "closed"
        assert len(anchors.kept()) == before + 1
        assert actions(run=settled.pk)[-2:] == ["run.close_asked", "run.closed"]
        assert settled not in checklists.unclosed()
        with pytest.raises(AlreadyClosed, match="by ann"):
            signing.close(settled, by=ann)

    def test_not_while_something_is_open_and_the_items_are_named(self, rolled_back, ann):
        with pytest.raises(ItemsAreOpen, match=r"5 required items.*16 \(API servers restarted\)"):
            signing.close(rolled_back, by=ann)
        assert checklists.words(rolled_back) == "not closed: 5 items open"
        assert rolled_back in checklists.unclosed()

    def test_a_closed_run_is_not_signed_further(self, settled, ann):
        signing.close(settled, by=ann)

        with pytest.raises(RunIsClosed):
            signing.sign(settled, 16, by=ann)

    def test_reopening_an_item_reopens_the_run_with_a_trace_and_it_can_be_closed_again(self, settled, ann, bob):
        signing.close(settled, by=ann)

        with pytest.raises(NoteMissing):
            signing.reopen(settled, 17, by=bob, reason=" ")
        signing.reopen(settled, 17, by=bob, reason="health checks fail again")

        assert checklists.words(settled) == "not closed: 1 item open"
        trace = [(one.decision, one.person_name, one.note) for one in settled.closings.all()]
        assert trace == [("closed", "ann", ""), ("reopened", "bob", "health checks fail again")]
        said = settled.signoffs.filter(item__number=17).values_list("decision", flat=True)
        assert list(said) == ["signed", "reopened"]
        signing.sign(settled, 17, by=bob)
        assert checklists.words(settled) == "not closed: every item is settled"
        signing.close(settled, by=bob)
        assert checklists.words(settled) == "closed"

    def test_what_is_open_is_not_reopened(self, rolled_back, ann):
        with pytest.raises(ItemIsOpen):
            signing.reopen(rolled_back, 16, by=ann, reason="x")

    def test_of_eight_who_close_at_once_one_does(self, settled):
        people = [person(f"closer {number}", "executor") for number in range(8)]
        gate = threading.Barrier(8)

        def press(who: User) -> bool:
            gate.wait()
            try:
                signing.close(Run.objects.get(pk=settled.pk), by=who)
            except AlreadyClosed:
                return False
            finally:
                connection.close()
            return True

        with ThreadPoolExecutor(max_workers=8) as threads:
            assert sum(threads.map(press, people)) == 1
        assert RunClosing.objects.filter(run=settled).count() == 1

    def test_a_run_that_is_not_closed_holds_up_no_other(self, quarantined, ann, default):
        assert execute(plan_undo(quarantined), ann).state == "done"

    def test_a_run_that_changed_nothing_has_nothing_to_sign(self, default, ann, tamperer):
        run = ask_for(plan_rollback(default), ann)
        tamperer.execute("create policy another on public.memory_chunks for select using (true)")
        advance(run.pk)
        run.refresh_from_db()

        assert run.state == "refused"
        assert checklists.words(run) == "nothing to sign"
        with pytest.raises(NoChecklist, match="changed nothing"):
            signing.close(run, by=ann)

    def test_a_backup_needs_no_checklist(self, default, ann):
        run = execute(plan_backup(default), ann)

        assert checklists.words(run) == "no checklist"
        assert checklists.standing(run) is None
        with pytest.raises(NoChecklist):
            signing.close(run, by=ann)


AS_MACHINE = {"signer_id": None, "signer_key": "memops", "signer_name": "memops"}
FORGED = (
    (16, {"signer_key": "user:0"}),
    (16, {"signer_name": "bob"}),
    (16, {"signer_id": None}),
    (16, {"role": "DBA"}),
    (16, {"decision": "accepted", "note": "x"}),
    (16, {"decision": "reopened", "note": "x"}),
    (16, {"decision": "not_applicable", "note": " \n\t "}),
    (16, {"decision": "passed", "note": "x"}),
    (
        16,
        {"decision": "passed", "note": "x", **AS_MACHINE},
    ),
    (
        1,
        {"decision": "failed", "note": "x", **AS_MACHINE},
    ),
    (1, {}),
)
KEPT = (
    "delete from memops_console_signoff",
    "update memops_console_signoff set decision = 'signed', note = 'x'",
    "update memops_console_signoff set at = now()",
    "update memops_console_signoff set signer_id = (select min(id) from auth_user) where decision = 'passed'",
    "truncate memops_console_signoff",
    "update memops_console_checklistitem set required = false",
    "delete from memops_console_checklistitem",
    "truncate memops_console_checklistitem cascade",
    "update memops_console_checklisttemplate set items_total = 1",
    "delete from memops_console_checklisttemplate",
    "truncate memops_console_checklisttemplate cascade",
    "update memops_console_run set checklist_id = null",
    "insert into memops_console_checklistitem (template_id, number, block, text, machine, role, required)"
    " select id, items_total + 1, 'b', 't', '', '', true from memops_console_checklisttemplate",
    "insert into memops_console_checklisttemplate (kind, version, items_total, author_key, author_name, note)"
    " values ('rollback', 7, 1, 'x', 'x', '')",
)


class TestPlainSql:
    """What a page refuses, the database refuses as well, to its owner and to the superuser."""

    @pytest.fixture(params=["owner", "origin", "replica"])
    def anybody(self, console_db, settings, request, tamperer):
        if request.param == "owner":
            from project import embedded

            with psycopg.connect(embedded.url(settings.MEMOPS_HOME, database=console_db), autocommit=True) as owner:
                yield owner
        else:
            tamperer.execute(f"set session_replication_role = {request.param}")
            yield tamperer

    def test_changes_neither_a_checklist_nor_what_was_said(self, rolled_back, anybody):
        before = words(rolled_back)

        for statement in KEPT:
            with pytest.raises(psycopg.errors.CheckViolation):
                anybody.execute(statement)
        assert words(rolled_back) == before

    def test_changes_no_closing(self, settled, ann, anybody):
        signing.close(settled, by=ann)

        for statement in (
            "delete from memops_console_runclosing",
            "truncate memops_console_runclosing",
            "update memops_console_runclosing set note = 'x'",
        ):
            with pytest.raises(psycopg.errors.CheckViolation, match="kept"):
                anybody.execute(statement)

    def insert(self, connection, table: str, **values) -> None:
        connection.execute(
            f"insert into memops_console_{table} ({', '.join(values)}) values ({', '.join(['%s'] * len(values))})",
            list(values.values()),
        )

    def close(self, connection, run: Run, by: User, **changes) -> None:
        values = {"run_id": run.pk, "decision": "closed", "person_id": by.pk, "person_key": f"user:{by.pk}"}
        self.insert(connection, "runclosing", **(values | {"person_name": by.username, "note": ""} | changes))

    def say(self, connection, run: Run, number: int, by: User, **changes) -> None:
        item = run.checklist.items.get(number=number)
        values = {"run_id": run.pk, "item_id": item.pk, "decision": "signed", "signer_id": by.pk}
        values |= {"signer_key": f"user:{by.pk}", "signer_name": by.username, "role": "", "note": ""}
        self.insert(connection, "signoff", **(values | changes))

    def test_closes_no_run_early(self, rolled_back, ann, anybody):
        with pytest.raises(psycopg.errors.CheckViolation, match="5 open items"):
            self.close(anybody, rolled_back, ann)

    def test_closes_in_nobody_elses_name(self, settled, ann, anybody):
        for forged in ({"person_key": "user:0"}, {"person_name": "bob"}, {"person_id": None}):
            with pytest.raises(psycopg.errors.CheckViolation, match="active person"):
                self.close(anybody, settled, ann, **forged)

    def test_closes_no_run_twice(self, settled, ann, anybody):
        signing.close(settled, by=ann)

        with pytest.raises(psycopg.errors.CheckViolation, match="already"):
            self.close(anybody, settled, ann)

    def test_signs_no_more_than_a_page(self, rolled_back, ann, anybody):
        before = words(rolled_back)

        for number, forged in FORGED:
            with pytest.raises(psycopg.errors.CheckViolation):
                self.say(anybody, rolled_back, number, ann, **forged)
        assert words(rolled_back) == before

    def test_signs_once_in_one_role_and_only_after_the_end(self, deployed, default, ann, anybody):
        dora = person("dora", "DBA", "Security")
        with pytest.raises(psycopg.errors.CheckViolation, match="group DBA"):
            self.say(anybody, deployed, number_of(deployed, "DBA"), ann)
        self.say(anybody, deployed, number_of(deployed, "DBA"), dora, role="DBA")
        with pytest.raises(psycopg.errors.CheckViolation, match="settled"):
            self.say(anybody, deployed, number_of(deployed, "DBA"), dora, role="DBA")
        with pytest.raises(psycopg.errors.CheckViolation, match="two of the roles"):
            self.say(anybody, deployed, number_of(deployed, "Security"), dora, role="Security")
        waiting = ask_for(plan_rollback(default), ann)
        with pytest.raises(psycopg.errors.CheckViolation, match="not on the checklist"):
            self.say(anybody, deployed, 1, ann, item_id=waiting.checklist.items.get(number=16).pk)
        with pytest.raises(psycopg.errors.CheckViolation, match="has not ended"):
            self.say(anybody, waiting, 16, ann)

    @pytest.mark.parametrize("level", ["repeatable read", "serializable"])
    def test_does_not_look_away_from_who_came_first(self, settled, ann, tamperer, level):
        for write in (
            lambda: self.say(tamperer, settled, 1, ann, decision="reopened", note="x"),
            lambda: self.close(tamperer, settled, ann),
        ):
            with (
                pytest.raises(psycopg.errors.CheckViolation, match="read committed only"),
                tamperer.transaction(),
            ):
                tamperer.execute(f"set transaction isolation level {level}")
                write()

    def test_items_that_a_version_lacks_count_as_open(self, console_db, tamperer, ann):
        tamperer.execute(
            "insert into memops_console_checklisttemplate (kind, version, items_total, author_key, author_name, note)"
            " values ('rollback', 2, 3, 'x', 'x', '')"
        )
        run = execute(plan_rollback("default", emergency=True), ann)

        with pytest.raises(psycopg.errors.CheckViolation, match="3 open items"):
            self.close(tamperer, run, ann)


def test_the_trail_keeps_what_was_signed_in_words_that_the_console_knows(settled, ann):
    event = AuditEvent.objects.filter(run=settled.pk, action="checklist.signed").first()

    assert (event.actor, '"item":21' in event.details) == ("ann", True)


def test_the_groups_of_the_migration_may_sign_close_and_publish_as_is_said(console_db):
    given = {group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}
    acts = {"sign_checklist", "close_run", "publish_checklisttemplate"}

    assert given["requester"] & acts == {"sign_checklist"}
    assert given["approver"] & acts == given["executor"] & acts == {"sign_checklist", "close_run"}
    assert given["auditor"] & acts == set()
    assert given["administrator"] & acts == {"publish_checklisttemplate"}
    for role in ("DBA", "DevOps lead", "Security", "Architecture"):
        assert given[role] & acts == {"sign_checklist"}


def test_back_to_the_release_before_and_forward_again(quarantined):
    """Runs from before have no checklist, and say so; new ones have."""
    app = "memops_console"
    MigrationExecutor(connection).migrate([(app, "0006_groups")])
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace where nspname = 'public'"
            " and proname in ('memops_open_items', 'memops_signoff_guard', 'memops_checklist_guard',"
            " 'memops_closing_guard', 'memops_run_checklist', 'memops_is_person', 'memops_run_is_closed')"
        )
        assert cursor.fetchone() == (0,)
    forward = MigrationExecutor(connection)
    forward.migrate(forward.loader.graph.leaf_nodes(app))

    quarantined.refresh_from_db()
    assert checklists.words(quarantined) == "no checklist"
    delivered = ChecklistTemplate.objects.filter(version=1).values_list("kind", flat=True)
    assert sorted(delivered) == ["deploy", "purge", "restore", "rollback", "undo"]
    assert execute(plan_undo(quarantined), User.objects.get(username="ann")).checklist.kind == "undo"
