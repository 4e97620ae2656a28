"""Purges and holds in the console and on the command line: what is shown, who may, and that one click does nothing."""

import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from memops import demo
from memops.console.models import Hold, QuarantinedTable, Run
from memops.console.runs import approvals, history, holds
from memops.console.runs.plan import plan_purge, plan_rollback
from tests.postgres.people import ONE, PASSWORD, ask_for, execute, person
from tests.postgres.test_commands import memops
from tests.postgres.test_console import text

SURE = ("--confirm", "default", "--reason", "INC-1")


@pytest.fixture
def olga(console_db: str) -> User:
    return User.objects.create_superuser("olga", password=PASSWORD)


@pytest.fixture
def table(olga, settings) -> QuarantinedTable:
    """20 rows in quarantine, whose time is over, with a verified backup."""
    demo.load("default", rows=20, tenants=3)
    history.notice("default")
    settings.MEMOPS_QUARANTINE_KEEP = timedelta(0)
    return execute(plan_rollback("default"), olga).quarantined_table


@pytest.fixture
def operating(olga: User) -> Client:
    client = Client()
    client.force_login(olga)
    return client


@pytest.fixture
def as_olga(monkeypatch):
    """Run a verb as olga, who types her password."""

    def run(*arguments: object, password: str = PASSWORD):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        return memops(*map(str, arguments), "--as", "olga", "--password-stdin")

    return run


def page(name: str, *args: object) -> str:
    return reverse(f"admin:memops_console_{name}", args=args)


def confirm(client: Client, table: QuarantinedTable, query: str = "", **typed: str):
    url = f"{page('target_purge_confirm', 'default', table.pk)}{query}"
    opened = client.get(url)
    return client.post(
        url, {"seen": opened.context["sealed"], "typed_name": "default", "reason": "INC-1", **typed}, follow=True
    )


class TestTheConsole:
    def test_the_plan_shows_rows_age_proof_and_sql_and_starts_nothing(self, table, operating):
        shown = text(operating.get(page("target_purge", "default", table.pk)))

        assert "20 rows" in shown
        assert f"Backup {table.backup_id} , verified" in shown
        assert table.fingerprint in shown
        assert "which is over" in shown
        assert f"set local memops.purge_oid = '{table.table_oid}'" in shown
        assert not Run.objects.filter(kind="purge").exists()

    def test_the_target_is_typed_and_one_form_asks_for_one_run(self, table, operating):
        refused = confirm(operating, table, typed_name="defalt")
        assert "To go on, type the target's name" in text(refused)
        assert not Run.objects.filter(kind="purge").exists()

        asked = confirm(operating, table)

        run = Run.objects.get(kind="purge")
        assert (run.purges, run.requester_name, run.state) == (table, "olga", "queued")
        assert f"Run {run.pk}" in text(asked)

    def test_a_plan_that_is_refused_has_no_form(self, table, operating, olga):
        holds.put(table, kind=Hold.Kind.LEGAL, by=olga, reason="case 7")

        shown = operating.get(page("target_purge_confirm", "default", table.pk))

        assert "case 7" in text(shown)
        assert b'id="confirm-form"' not in shown.content

    def test_without_a_backup_is_a_choice_that_approvers_read(self, table, operating, settings):
        settings.MEMOPS_APPROVALS = ONE
        plan = text(operating.get(f"{page('target_purge', 'default', table.pk)}?backup=none"))
        assert "this plan drops the rows without a backup" in plan

        confirm(operating, table, "?backup=none")

        run = Run.objects.get(kind="purge")
        assert (run.state, run.planned().approved_as) == ("awaiting", "purge-without-backup")
        ann = person("ann", "approver")
        approving = Client()
        approving.force_login(ann)
        shown = text(approving.get(run.get_absolute_url()))
        assert "None is asked for: this plan drops the rows without a backup." in shown
        assert "It is asked for, and approved, as that." in shown

    def test_the_glass_is_not_offered(self, table, operating, settings):
        settings.MEMOPS_APPROVALS = ONE

        shown = operating.get(page("target_purge_confirm", "default", table.pk))

        assert b"break_glass" not in shown.content
        confirm(operating, table, break_glass="on", incident="INC-9")
        assert Run.objects.get(kind="purge").state == "awaiting"

    def test_another_word_for_the_proof_is_no_page(self, table, operating):
        assert operating.get(f"{page('target_purge', 'default', table.pk)}?backup=some").status_code == 404

    def test_who_may_only_look_is_told_what_is_missing(self, table):
        vera = User.objects.create_user("vera", is_staff=True)
        vera.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        viewing = Client()
        viewing.force_login(vera)

        assert "You lack the permission “Can ask for the purge" in text(
            viewing.get(page("target_purge", "default", table.pk))
        )
        assert viewing.get(page("target_purge_confirm", "default", table.pk)).status_code == 403
        for act in ("hold", "lift"):
            url = page(f"quarantinedtable_{act}", table.pk)
            assert viewing.post(url, {"kind": "manual", "reason": "x"}).status_code == 403
        assert "Putting one is off" in text(viewing.get(table.get_absolute_url()))

    def test_the_action_of_the_list_leads_to_the_plan(self, table, operating):
        answer = operating.post(
            page("quarantinedtable_changelist"), {"action": "purge", "_selected_action": [table.pk]}
        )

        assert answer.url == page("target_purge", "default", table.pk)

    def test_a_hold_is_put_shown_and_lifted_on_the_tables_page(self, table, operating):
        put = operating.post(
            page("quarantinedtable_hold", table.pk), {"kind": "legal", "reason": "case 7"}, follow=True
        )
        assert "There is a legal hold on memory_chunks_" in text(put)
        assert "Legal hold since" in text(put)
        assert "by olga : case 7" in text(put) or "by olga: case 7" in text(put)

        lifted = operating.post(
            page("quarantinedtable_lift", table.pk), {"kind": "legal", "reason": "it is over"}, follow=True
        )

        assert "No hold stands." in text(lifted)
        assert "by olga: it is over" in text(lifted)
        assert Hold.objects.get().lifted_at is not None

    def test_a_hold_without_a_reason_or_of_no_kind_is_none(self, table, operating):
        for data, status in (({"kind": "manual", "reason": " "}, 302), ({"kind": "x", "reason": "x"}, 404)):
            assert operating.post(page("quarantinedtable_hold", table.pk), data).status_code == status
        assert not Hold.objects.exists()

    def test_a_purged_table_says_what_it_was_and_offers_nothing(self, table, operating, olga):
        run = execute(plan_purge(table), olga)

        shown = operating.get(table.get_absolute_url())

        assert "Dropped for good" in text(shown)
        assert f"Backup {table.backup_id} of" in text(shown)
        assert f"undo-{table.run_id}" in shown.content.decode()
        assert "is not in quarantine since" in text(shown)
        assert run.get_absolute_url() in shown.content.decode()
        rollback = text(operating.get(table.run.get_absolute_url()))
        assert "Nothing is lost" not in rollback
        assert "dropped for good" in rollback
        assert "What was dropped is in the backup" in text(operating.get(run.get_absolute_url()))


class TestTheCommandLine:
    def test_a_purge_shows_its_plan_and_proof(self, table):
        done = memops("purge", table.name, *SURE)

        assert done.code == 0, done.err
        assert f"backup {table.backup_id}, verified" in done.out
        assert "4/4 Check the result: done" in done.out
        assert "OK     What was dropped is in the backup" in done.out
        status = memops("status")
        assert f"Purged, quarantined by {table.run_id}" in status.out
        data = memops("status", "--json").data["targets"][0]
        assert data["quarantined_tables"] == []
        assert (data["purged_tables"][0]["name"], data["purged_tables"][0]["state"]) == (table.name, "purged")
        refused = memops("undo", str(table.run_id), *SURE)
        assert (refused.code, "was dropped for good" in refused.err) == (3, True)

    def test_it_is_not_asked_for_without_the_targets_name(self, table):
        refused = memops("purge", table.name, "--reason", "x")

        assert (refused.code, "--confirm default" in refused.err) == (2, True)
        assert not Run.objects.filter(kind="purge").exists()

    def test_the_plan_of_a_purge_is_shown_without_asking_for_it(self, table, settings):
        settings.MEMOPS_QUARANTINE_KEEP = timedelta(days=30)

        shown = memops("plan", "purge", table.name, "--json")

        assert (shown.code, shown.data["possible"]) == (3, False)
        assert shown.data["plan"]["purge"]["backup"] == table.backup_id
        assert [one["code"] for one in shown.data["plan"]["findings"] if one["level"] == "refuses"] == ["retention"]
        assert "drop table" in memops("plan", "purge", table.name).out

    @pytest.mark.parametrize(
        "arguments", [("purge",), ("purge", "x", "--emergency"), ("rollback", "x"), ("rollback", "--without-backup")]
    )
    def test_a_plan_that_is_not_clear_is_none(self, table, arguments):
        assert memops("plan", *arguments).code == 2

    def test_a_table_that_is_not_there_has_none(self, table):
        assert memops("purge", "memory_chunks_x", *SURE).code == 2

    def test_without_a_backup_waits_for_those_who_agree_to_that(self, table, settings):
        settings.MEMOPS_APPROVALS, settings.MEMOPS_EMBEDDED = [], True

        asked = memops("purge", table.name, "--without-backup", *SURE)

        run = Run.objects.get(kind="purge")
        assert (asked.code, run.state, run.approvals_needed) == (3, "awaiting", 2)
        for name in ("ann", "zoe"):
            approvals.approve(run, by=person(name, "approver"))
        started = memops("start", str(run.pk))
        assert (started.code, QuarantinedTable.objects.get().state) == (0, "purged")

    def test_a_hold_stops_it_until_it_is_lifted(self, table, as_olga):
        held = as_olga("hold", table.name, "--legal", "--reason", "case 7", "--json")
        assert (held.code, held.data["hold"]["kind"], held.data["hold"]["by"]) == (0, "legal", "olga")
        assert "may be purged; a hold stands" in memops("status").out
        refused = memops("purge", table.name, *SURE)
        assert (refused.code, "case 7" in refused.err) == (3, True)
        assert as_olga("hold", table.name, "--legal", "--reason", "again").code == 3

        lifted = as_olga("lift", table.name, "--legal", "--reason", "over")

        assert (lifted.code, "is lifted" in lifted.out) == (0, True)
        assert as_olga("lift", table.name, "--reason", "over").code == 2
        assert memops("purge", table.name, *SURE).code == 0

    def test_a_wrong_password_and_a_person_without_the_permission_put_none(self, table, as_olga, monkeypatch):
        assert as_olga("hold", table.name, "--reason", "x", password="wrong").code == 3
        person("vera", "auditor", password=PASSWORD)
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
        refused = memops("hold", table.name, "--reason", "x", "--as", "vera", "--password-stdin")
        assert (refused.code, "may neither put holds nor lift them" in refused.err) == (3, True)
        assert not Hold.objects.exists()

    def test_a_run_that_was_asked_for_says_which_table_it_drops(self, table, olga):
        run = ask_for(plan_purge(table), olga)

        assert memops("run", str(run.pk), "--json").data["run"]["purges"] == table.name
