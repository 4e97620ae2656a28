"""The whole of a restore, executed in this process against a real server: what it does, refuses and leaves."""

import stat
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.urls import reverse

from memops import demo
from memops.console.errors import NothingToRestore, TargetBusy
from memops.console.models import AuditEvent, Backup, QuarantinedTable, Run
from memops.console.models.plans import Plan
from memops.console.pg import session, staging
from memops.console.pg.standing import Choice
from memops.console.runs import history, reconcile
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_backup, plan_purge, plan_restore, plan_rollback, plan_undo
from memops.console.runs.request import Requester, submit
from project import embedded
from tests.postgres.people import ONE, person
from tests.prints import print_of

ME = Requester(name="on-call", origin=Run.Origin.COMMAND)
ROW = "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index) values (repeat('a', 64), %s, 's', 0)"
NOBODY = [{"target": "*", "kind": "*", "needed": 0, "groups": None, "hours": None}]


@pytest.fixture
def default(console_db: str, settings) -> str:
    """The alias of a target with 40 rows of demo data, which the console's own records share a database with."""
    settings.MEMOPS_APPROVALS = NOBODY
    demo.load("default", rows=40, tenants=3)
    history.notice("default")
    return "default"


@pytest.fixture
def verified(default: str) -> Backup:
    run = execute(plan_backup(default))
    assert run.state == "done", run.error
    return run.backups.get()


def execute(plan: Plan) -> Run:
    run = submit(plan, requester=ME, reason="INC-1", seen_digest=plan.digest)
    advance(run.pk)
    run.refresh_from_db()
    return run


def query(statement: str, *parameters: object) -> list[tuple[object, ...]]:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def refusals(plan: Plan) -> list[str]:
    return [finding.code for finding in plan.refusals]


def log_of(run: Run, step: str) -> str:
    return run.steps.get(name=step).log


def assert_nothing_is_left() -> None:
    with session.connect("default") as connection:
        assert staging.left_behind(connection) == []


def test_a_table_in_quarantine_is_brought_together_with_rows_that_came_after_a_new_deploy(default):
    """What an undo refuses, as it would hide the newer rows."""
    rollback = execute(plan_rollback(default))
    call_command("migrate", "memops", verbosity=0)
    query(ROW, "newer")
    refused = plan_undo(rollback)
    assert "--rows merge" in refused.refusals[0].text

    proved = execute(plan_backup(default, quarantined=rollback.quarantined_table)).backups.get()
    restored = execute(plan_restore(proved, rows=Choice.MERGE))

    assert (restored.state, restored.outcome) == ("done", "recovered"), restored.error
    assert query("select count(*), count(*) filter (where doc_id = 'newer') from public.memory_chunks") == [(41, 1)]


class TestAroundAPurge:
    @pytest.fixture(autouse=True)
    def its_time_is_over(self, settings):
        settings.MEMOPS_QUARANTINE_KEEP = timedelta(0)

    def test_what_was_dropped_for_good_comes_back_from_the_backup_that_proved_it(self, default):
        before = print_of()
        rollback = execute(plan_rollback(default))
        purge = execute(plan_purge(rollback.quarantined_table))
        assert (purge.state, purge.outcome) == ("done", "purged"), purge.error

        restored = execute(plan_restore(rollback.backups.get()))

        assert (restored.state, restored.outcome) == ("done", "recovered"), restored.error
        assert print_of() == before

    def test_what_a_restore_has_moved_aside_goes_for_good_once_a_backup_proves_it(self, default, verified):
        before = print_of()
        table = execute(plan_restore(verified, rows=Choice.REPLACE)).quarantined_table
        assert refusals(plan_purge(table)) == ["no proof"]
        assert execute(plan_backup(default, quarantined=table)).state == "done"
        table.refresh_from_db()

        purge = execute(plan_purge(table))

        assert (purge.state, purge.outcome) == ("done", "purged"), purge.error
        assert print_of() == before


class TestComesBack:
    def test_after_a_rollback_and_a_purge_by_hand(self, default):
        before = print_of()
        rollback = execute(plan_rollback(default))
        query(f"drop table {rollback.quarantined_table.relation}")

        run = execute(plan_restore(rollback.backups.get()))

        assert (run.state, run.outcome, run.error) == ("done", "recovered", "")
        assert print_of() == before
        assert query("select name from django_migrations where app = 'memops'") == [("0001_memory_chunks",)]
        assert not hasattr(run, "quarantined_table")
        assert {said.decision for said in run.signoffs.all()} == {"passed", "not_applicable"}
        assert run.checklist.kind == "restore"
        assert_nothing_is_left()

    def test_from_the_backup_of_an_emergency_with_the_rights_of_before(self, default):
        before = print_of()
        rollback = execute(plan_rollback(default, emergency=True))

        run = execute(plan_restore(rollback.backups.get()))

        assert (run.state, run.outcome) == ("done", "recovered"), run.error
        assert print_of() == before
        rights = "select has_table_privilege('memops_app', 'public.memory_chunks', 'select, insert, update, delete')"
        assert query(rights) == [(True,)]

    def test_over_a_table_that_a_later_deployment_has_made(self, default, verified):
        before = print_of()
        call_command("migrate", "memops", "zero", verbosity=0)
        call_command("migrate", "memops", verbosity=0)

        run = execute(plan_restore(verified))

        assert (run.state, run.outcome) == ("done", "recovered"), run.error
        assert print_of() == before
        assert "The empty table that stood there was dropped." in log_of(run, "swap")

    def test_what_it_did_is_in_the_trail_and_on_the_record(self, verified):
        run = execute(plan_restore(verified, rows=Choice.MERGE))

        asked = AuditEvent.objects.get(run=run.pk, action="run.requested")
        assert '"rows_choice":"merge","subject":1' in asked.details
        names = [step.name for step in run.steps.all()]
        assert names == ["precheck", "load", "bring_in", "build", "trial", "swap", "postcheck"]
        assert run.saw("swap")["merged"]["standing"] == 40
        assert run.journal_entry == query("select max(id) from memops_quarantine.journal")[0][0]


class TestRowsThatStandThere:
    def test_without_a_choice_it_is_refused_with_their_number_and_the_choices(self, verified):
        query(ROW, "newer")

        plan = plan_restore(verified)

        assert refusals(plan) == ["rows standing"]
        [finding] = plan.refusals
        assert "public.memory_chunks has 41 rows, 1 of them written since backup" in finding.text
        assert all(choice.value in finding.text for choice in Choice)

    @pytest.mark.parametrize("choice", Choice)
    def test_the_choice_is_part_of_what_is_approved(self, verified, choice):
        plan = plan_restore(verified, rows=choice)

        others = [plan_restore(verified, rows=other) for other in Choice if other != choice]

        assert plan.is_possible
        assert plan.digest not in {other.digest for other in others}
        assert choice.words in plan.warnings[-1].text + plan.warnings[0].text

    @pytest.mark.parametrize(("choice", "rows"), [(Choice.REPLACE, 40), (Choice.MERGE, 41), (Choice.KEEP_NEWER, 41)])
    def test_it_does_what_was_chosen_and_the_way_back_leads_to_what_stood_there(self, verified, choice, rows):
        query(ROW, "newer")
        standing = print_of()

        run = execute(plan_restore(verified, rows=choice))

        assert (run.state, run.outcome) == ("done", "recovered"), run.error
        assert query("select count(*) from public.memory_chunks") == [(rows,)]
        assert run.quarantined_table.state == "kept"
        assert print_of(run.quarantined_table.relation) == standing
        restored = execute(plan_rollback("default", emergency=True))
        undo = execute(plan_undo(run))
        assert (restored.state, undo.state, undo.outcome) == ("done", "done", "restored"), undo.error
        assert print_of() == standing

    def test_rows_that_came_after_the_plan_of_an_empty_table_are_not_hidden(self, default, verified):
        call_command("migrate", "memops", "zero", verbosity=0)
        call_command("migrate", "memops", verbosity=0)
        plan = plan_restore(verified)
        run = submit(plan, requester=ME, reason="INC-1", seen_digest=plan.digest)
        query(ROW, "came late")

        advance(run.pk)
        run.refresh_from_db()

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert query("select doc_id from public.memory_chunks") == [("came late",)]
        assert_nothing_is_left()

    def test_what_differs_is_listed_by_id_and_never_by_content(self, verified):
        [(id,)] = query(
            "update public.memory_chunks set text_plain = 'a secret of the user', updated_at = now()"
            " where id = (select id from public.memory_chunks limit 1) returning id::text"
        )

        run = execute(plan_restore(verified, rows=Choice.MERGE))

        assert f"Differs: {id} (taken: the standing row)" in log_of(run, "bring_in")
        assert "a secret" not in "".join(step.log + str(step.saw) for step in run.steps.all())

    def test_no_write_of_a_busy_application_is_lost(self, verified, settings):
        """Writers in a loop, until after the swap: what one of them was told to be written is there."""
        settings.MEMOPS_LOCK_TIMEOUT = settings.MEMOPS_LOCK_TIMEOUT * 2
        url = embedded.url(settings.MEMOPS_HOME, database=connections["default"].settings_dict["NAME"])
        over, written, deleted = Event(), list[str](), list[str]()

        def write(name: str) -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                number = 0
                while not over.is_set():
                    number += 1
                    doc_id = f"{name} {number}"
                    connection.execute(ROW, [doc_id])
                    written.append(doc_id)
                    if number % 3 == 0:
                        gone = f"{name} {number - 1}"
                        connection.execute("delete from public.memory_chunks where doc_id = %s", [gone])
                        deleted.append(gone)

        writers = [Thread(target=write, args=[name]) for name in ("ann", "bob")]
        for writer in writers:
            writer.start()
        try:
            run = execute(plan_restore(verified, rows=Choice.MERGE))
        finally:
            over.set()
            for writer in writers:
                writer.join()

        assert (run.state, run.outcome) == ("done", "recovered"), run.error
        found = {doc_id for (doc_id,) in query("select doc_id from public.memory_chunks where source = 's'")}
        assert found == set(written) - set(deleted)
        assert len(written) > 20


class TestRefused:
    def test_a_backup_that_is_not_verified(self, verified):
        Backup.objects.update(state="written", verified_at=None)
        verified.refresh_from_db()

        assert refusals(plan_restore(verified)) == ["not verified"]

    def test_a_backup_that_failed(self, verified):
        verified.state = "failed"

        with pytest.raises(NothingToRestore, match="it is failed"):
            plan_restore(verified)

    def test_a_backup_whose_file_is_gone(self, verified):
        Path(verified.location).unlink()

        assert "file" in refusals(plan_restore(verified, rows=Choice.REPLACE))

    def test_a_backup_of_another_database_unless_the_plan_says_so(self, verified):
        Backup.objects.update(server="7/1")
        verified.refresh_from_db()

        assert refusals(plan_restore(verified, rows=Choice.REPLACE)) == ["other database"]
        allowed = plan_restore(verified, rows=Choice.REPLACE, elsewhere=True)
        assert allowed.is_possible
        assert execute(allowed).outcome == "recovered"

    def test_an_archive_that_was_damaged_before_anything_is_touched_and_it_counts_no_more(self, verified):
        content = bytearray(Path(verified.location).read_bytes())
        content[100] ^= 1
        Path(verified.location).write_bytes(content)
        before = print_of()

        run = execute(plan_restore(verified, rows=Choice.REPLACE))

        assert (run.state, run.outcome) == ("failed", "nothing")
        assert "SHA-256" in run.error
        assert print_of() == before
        verified.refresh_from_db()
        assert verified.state == "written"
        assert_nothing_is_left()

    def test_the_archive_of_another_backup_in_its_place(self, verified):
        other = execute(plan_backup("default")).backups.get()
        for suffix in (".dump.zst", ".json"):
            there = Path(verified.location.replace(".dump.zst", suffix))
            there.write_bytes(Path(other.location.replace(".dump.zst", suffix)).read_bytes())

        run = execute(plan_restore(verified, rows=Choice.REPLACE))

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert "manifest" in run.error

    def test_memories_that_the_keys_of_the_console_do_not_open(self, verified, settings):
        settings.MEMORY_ENCRYPTION_KEY, settings.MEMORY_ENCRYPTION_KEY_OLD = b"x" * 32, None
        before = print_of()

        run = execute(plan_restore(verified, rows=Choice.REPLACE))

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert "MEMORY_ENCRYPTION_KEY_OLD" in run.error
        assert print_of() == before
        assert_nothing_is_left()

    def test_rows_without_cipher_text_need_no_key(self, default, settings):
        query("update public.memory_chunks set text_cipher = null, meta_cipher = null, emb_cipher = null")
        backup = execute(plan_backup(default)).backups.get()
        settings.MEMORY_ENCRYPTION_KEY = b"x" * 32

        assert execute(plan_restore(backup, rows=Choice.REPLACE)).outcome == "recovered"

    def test_a_disk_without_room_or_one_that_cannot_be_seen_is_told(self, verified):
        step = verified.run.steps.get(name="precheck")
        step.saw["table"]["total_bytes"] = 2**60
        step.save()

        found = {finding.code for finding in plan_restore(verified, rows=Choice.REPLACE).findings}

        assert "disk" in found or "disk not seen" in found

    def test_a_table_with_other_columns_can_only_be_replaced(self, verified):
        query("alter table public.memory_chunks add column extra int")

        assert refusals(plan_restore(verified, rows=Choice.MERGE)) == ["columns"]
        assert plan_restore(verified, rows=Choice.REPLACE).is_possible

    def test_a_publication_of_every_table_is_told_for_it_would_publish_the_one_beside(self, verified, tamperer):
        tamperer.execute("create publication everything for all tables")

        [finding] = [one for one in plan_restore(verified).findings if one.code == "publication"]

        assert "everything publishes every table" in finding.text

    def test_a_second_restore_meanwhile(self, verified):
        plan = plan_restore(verified, rows=Choice.REPLACE)
        submit(plan, requester=ME, reason="INC-1", seen_digest=plan.digest)

        with pytest.raises(TargetBusy, match="is queued"):
            submit(plan, requester=ME, reason="INC-1", seen_digest=plan.digest)


class TestApplication:
    @pytest.fixture
    def told(self, tmp_path: Path, settings) -> Path:
        """Where the commands write what they were asked."""
        told = tmp_path / "told"
        script = tmp_path / "app"
        script.write_text(f'#!/bin/sh\necho "$1" >> {told}\necho "the application says $1"\n[ "$1" != "$2" ]\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        settings.MEMOPS_STOP_COMMAND = [str(script), "stop"]
        settings.MEMOPS_START_COMMAND = [str(script), "start"]
        return told

    def test_it_is_stopped_before_the_swap_and_started_after_it(self, verified, told):
        run = execute(plan_restore(verified, rows=Choice.REPLACE))

        assert (run.state, run.outcome) == ("done", "recovered"), run.error
        assert told.read_text().split() == ["stop", "start"]
        log = log_of(run, "swap")
        assert "the application says stop" in log
        assert log.index("says stop") < log.index("Swapping") < log.index("says start")

    def test_it_is_started_also_where_the_swap_gives_up(self, verified, told, settings):
        settings.MEMOPS_LOCK_BUDGET = settings.MEMOPS_LOCK_TIMEOUT
        url = embedded.url(settings.MEMOPS_HOME, database=connections["default"].settings_dict["NAME"])
        with psycopg.connect(url) as reader:
            reader.execute("select from public.memory_chunks limit 1")
            run = execute(plan_restore(verified, rows=Choice.REPLACE))

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert "idle in transaction" in run.error
        assert told.read_text().split() == ["stop", "start"]
        assert_nothing_is_left()

    def test_one_that_cannot_be_stopped_refuses_before_anything_is_touched(self, verified, told, settings):
        settings.MEMOPS_STOP_COMMAND = [*settings.MEMOPS_STOP_COMMAND, "stop"]
        before = print_of()

        run = execute(plan_restore(verified, rows=Choice.REPLACE))

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert "ended with exit code 1" in run.error
        assert print_of() == before
        assert told.read_text().split() == ["stop", "start"]
        assert_nothing_is_left()

    def test_one_that_takes_too_long_is_ended_and_refuses(self, verified, told, settings):
        settings.MEMOPS_STOP_COMMAND = ["sleep", "60"]
        settings.MEMOPS_COMMAND_DEADLINE = settings.MEMOPS_LOCK_TIMEOUT

        run = execute(plan_restore(verified, rows=Choice.REPLACE))

        assert run.state == "refused"
        assert "it took longer than" in run.error

    def test_one_that_does_not_start_again_is_told_and_the_restore_stands(self, verified, told, settings):
        settings.MEMOPS_START_COMMAND = ["/nowhere/app", "s3cret-token"]

        run = execute(plan_restore(verified, rows=Choice.REPLACE))

        assert (run.state, run.outcome) == ("failed", "recovered")
        assert "The application was started again: it is not started" in run.error
        assert "s3cret-token" not in str(run.plan) + run.error + "".join(
            step.log + str(step.saw) for step in run.steps.all()
        )

    def test_other_commands_than_those_of_the_plan_refuse_the_run(self, verified, told, settings):
        plan = plan_restore(verified, rows=Choice.REPLACE)
        run = submit(plan, requester=ME, reason="x", seen_digest=plan.digest)
        settings.MEMOPS_START_COMMAND = ["true"]

        advance(run.pk)
        run.refresh_from_db()

        assert run.state == "refused"
        assert "application" in run.error


class TestDoors:
    def test_the_command_line_restores_and_says_how_it_ended(self, verified, capsys):
        before = print_of()

        call_command(
            "memops", "restore", str(verified.pk), "--rows", "replace", "--confirm", "default", "--reason", "INC-1"
        )

        told = capsys.readouterr().out
        assert "Table restored from a backup" in told
        assert "a rollback of what was restored, then manage.py memops undo" in told
        assert print_of() == before

    def test_the_command_line_refuses_rows_that_nobody_has_decided_about(self, verified, capsys):
        with pytest.raises(SystemExit) as ended:
            call_command("memops", "restore", str(verified.pk), "--confirm", "default", "--reason", "x")

        assert ended.value.code == 3
        assert not Run.objects.filter(kind="restore").exists()

    def test_the_plan_of_a_restore_is_read_on_the_command_line(self, verified, capsys):
        call_command("memops", "plan", "restore", str(verified.pk), "--rows", "merge")

        told = capsys.readouterr().out
        assert "Merge by id" in told
        assert "Load the backup beside the table" in told

    @pytest.fixture
    def browser(self, verified) -> Client:
        client = Client()
        client.force_login(person("rita", "requester", "executor"))
        return client

    def test_the_backups_page_leads_to_the_plan_and_the_confirmation(self, verified, browser, settings):
        settings.MEMOPS_APPROVALS = ONE
        address = reverse("admin:memops_console_target_restore", args=["default", verified.pk])
        page = browser.get(verified.get_absolute_url())
        assert f'href="{address}"' in page.content.decode()

        refused = browser.get(address)
        plan = browser.get(f"{address}?rows=merge")
        confirm = browser.get(f"{address}confirm/?rows=merge")
        sent = browser.post(
            f"{address}confirm/?rows=merge",
            {"seen": confirm.context["sealed"], "typed_name": "default", "reason": "INC-1"},
        )

        assert "Say what becomes of them" in refused.content.decode()
        assert "restore-choice" in plan.content.decode()
        run = Run.objects.get(kind="restore")
        assert sent.url == run.get_absolute_url()
        assert (run.state, run.plan["rows_choice"], run.subject_id) == ("awaiting", "merge", verified.pk)
        assert browser.get(sent.url).status_code == 200

    def test_a_choice_that_does_not_exist_is_told(self, verified, browser):
        answer = browser.get(
            reverse("admin:memops_console_target_restore", args=["default", verified.pk]) + "?rows=all"
        )

        assert "one of replace, merge, keep-newer" in answer.content.decode()

    def test_who_may_not_restore_is_told_so(self, verified):
        client = Client()
        client.force_login(person("zoe", "approver"))

        page = client.get(verified.get_absolute_url())

        assert "Can restore memory_chunks from a backup" in page.content.decode()


def test_another_consoles_restore_is_noticed_in_the_history(verified):
    run = execute(plan_restore(verified, rows=Choice.REPLACE))
    QuarantinedTable.objects.all().delete()
    query("update memops_quarantine.journal set run_id = 'somebody else' where run_id = %s", str(run.key))
    run.target.refresh_from_db()
    run.target.journal_seen = 0
    run.target.save()
    Run.objects.filter(pk=run.pk).update(journal_entry=None)

    noticed = history.notice("default")

    assert [(one.kind, one.outcome) for one in noticed][-2:] == [("rollback", "quarantined"), ("restore", "recovered")]


def test_reconcile_starts_the_application_of_a_run_that_was_lost_and_removes_what_was_staged(
    verified, settings, tmp_path
):
    told = tmp_path / "told"
    settings.MEMOPS_STOP_COMMAND, settings.MEMOPS_START_COMMAND = ["true"], ["touch", str(told)]
    plan = plan_restore(verified, rows=Choice.REPLACE)
    run = submit(plan, requester=ME, reason="x", seen_digest=plan.digest)
    Run.objects.filter(pk=run.pk).update(state="running", claimed_at=run.requested_at)
    run.steps.filter(name="swap").update(state="running", saw={"application": "stopped"})
    place = staging.place_of("default", run.key.hex)
    query(f"create schema {place.schema}")

    [settled] = reconcile.reconcile(requester=ME)

    assert told.exists()
    assert settled.removed == [
        f"the schema {place.schema}, with what was loaded",
        "the application was started again",
    ]
    assert_nothing_is_left()
