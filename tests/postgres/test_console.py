"""The console's pages: who may what, that reading starts nothing, and that one form starts one run at most."""

import html
import re
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from memops import demo
from memops.console.admin import nonce
from memops.console.models import Backup, QuarantinedTable, Run, Step, Target
from memops.console.runs import targets
from tests.conftest import alias_of
from tests.databases import guard_off

HOSTILE = "<img src=x onerror=alert(1)>&\"'"
GUIDED, EMERGENCY = "?mode=guided", "?mode=emergency"


def page(name: str, *args: object) -> str:
    return reverse(f"admin:memops_console_{name}", args=args)


def text(response: HttpResponse) -> str:
    """What a person reads: without tags, entities and runs of spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


@pytest.fixture
def console(console_db: str) -> str:
    """A console whose only target, ``default``, has 20 rows in memory_chunks."""
    demo.load("default", rows=20, tenants=3)
    targets.sync()
    return "default"


@pytest.fixture
def operator(console: str) -> User:
    return User.objects.create_superuser("olga")


@pytest.fixture
def viewer(console: str) -> User:
    """Staff who may see everything of the console and do nothing."""
    user = User.objects.create_user("vera", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="memops_console", codename__startswith="view_")
    )
    return user


@pytest.fixture
def operating(operator: User, client: Client) -> Client:
    client.force_login(operator)
    return client


@pytest.fixture
def viewing(viewer: User) -> Client:
    client = Client()
    client.force_login(viewer)
    return client


@pytest.fixture
def ended(console: str) -> Run:
    """A rollback of the past, with everything that a page can show; every text in it is hostile."""
    now = timezone.now()
    run = Run.objects.create(
        target_id="default",
        kind=Run.Kind.ROLLBACK,
        origin=Run.Origin.CONSOLE,
        state=Run.State.DONE,
        reason=HOSTILE,
        requester_name=HOSTILE,
        requested_at=now,
        claimed_at=now,
        ended_at=now,
        outcome=Run.Outcome.QUARANTINED,
        error=HOSTILE,
        worker=HOSTILE,
    )
    Step.objects.create(
        run=run,
        position=1,
        name="postcheck",
        title=HOSTILE,
        state=Step.State.DONE,
        started_at=now,
        ended_at=now,
        log=f"10:00:00 {HOSTILE}\n",
        error=HOSTILE,
        saw={
            "checks": [{"name": HOSTILE, "ok": False, "detail": HOSTILE}],
            HOSTILE: HOSTILE,
            "nested": {HOSTILE: [{HOSTILE: HOSTILE}]},
            "names": [HOSTILE, HOSTILE],
            "long": HOSTILE * 20,
        },
    )
    backup = Backup.objects.create(
        run=run,
        target_id="default",
        relation=HOSTILE,
        table_oid=1,
        server="1/1",
        state=Backup.State.FAILED,
        location=HOSTILE,
        error=HOSTILE,
        manifest={HOSTILE: HOSTILE},
        verification={"checks": [{"name": HOSTILE, "ok": True, "detail": HOSTILE}]},
    )
    QuarantinedTable.objects.create(
        run=run,
        target_id="default",
        name=HOSTILE,
        table_oid=1,
        server="1/1",
        since=now,
        rows=7,
        total_bytes=1,
        backup=backup,
    )
    return run


@pytest.fixture
def every_page(ended: Run) -> list[str]:
    """Every page that can be read, with the confirmation pages."""
    table, backup = ended.quarantined_table, ended.backups.get()
    return [
        reverse("admin:index"),
        page("queue"),
        page("target_changelist"),
        page("target_change", "default"),
        page("target_rollback", "default") + GUIDED,
        page("target_rollback", "default") + EMERGENCY,
        page("target_rollback_confirm", "default") + GUIDED,
        page("target_rollback_confirm", "default") + EMERGENCY,
        page("target_undo", "default", ended.pk),
        page("target_undo_confirm", "default", ended.pk),
        page("target_backup", "default"),
        page("target_backup", "default") + f"?quarantined={table.pk}",
        page("target_backup_confirm", "default"),
        page("target_verify", "default", backup.pk),
        page("target_verify_confirm", "default", backup.pk),
        page("run_changelist"),
        page("run_change", ended.pk),
        page("run_live", ended.pk),
        page("run_tail", ended.pk, 1),
        page("run_log", ended.pk),
        page("backup_changelist"),
        page("backup_change", backup.pk),
        page("quarantinedtable_changelist"),
        page("quarantinedtable_change", table.pk),
    ]


class Confirmation:
    """The confirmation page of one intent, opened in a browser."""

    def __init__(self, client: Client, url: str) -> None:
        self.client, self.url = client, url
        self.opened = client.get(url)
        self.seen = self.opened.context["sealed"]

    def send(self, **changes: str) -> HttpResponse:
        filled = {"seen": self.seen, "typed_name": "default", "reason": "incident 7"} | changes
        return self.client.post(self.url, filled)


@pytest.fixture
def confirmation(operating: Client) -> Callable[[str], Confirmation]:
    def opened(url: str = page("target_rollback_confirm", "default") + EMERGENCY) -> Confirmation:
        return Confirmation(operating, url)

    return opened


# Who may see and do what


def test_every_page_asks_to_sign_in_first(every_page: list[str], client: Client) -> None:
    for url in every_page:
        response = client.get(url)
        assert (response.status_code, response.url.split("?")[0]) == (302, reverse("admin:login")), url


def test_staff_without_permissions_see_no_target_and_no_record(every_page: list[str], client: Client) -> None:
    client.force_login(User.objects.create_user("nina", is_staff=True))
    for url in every_page[1:]:
        assert client.get(url).status_code == 403, url
    start = client.get(reverse("admin:index"))
    assert start.status_code == 200
    assert "You lack the permission" in text(start)
    assert "memory_chunks is deployed" not in text(start)


def test_reading_every_page_starts_nothing(every_page: list[str], operating: Client) -> None:
    # The deployment by hand, which these pages notice, is not started by them.
    runs = Run.objects.exclude(origin=Run.Origin.BY_HAND).values_list("pk", "state")
    before = list(runs.all())
    for url in every_page:
        assert operating.get(url).status_code in (200, 286), url
    assert list(runs.all()) == before
    assert demo.row_count("default") == 20


@pytest.mark.parametrize("act", ["cancel", "reconcile"])
def test_acts_on_a_run_are_not_to_be_had_by_get(act: str, ended: Run, operating: Client) -> None:
    assert operating.get(page(f"run_{act}", ended.pk)).status_code == 405


def test_a_viewer_reads_why_every_action_is_off(viewing: Client) -> None:
    response = viewing.get(page("target_change", "default"))
    assert "Roll back… is not possible: You lack the permission" in text(response)
    assert page("target_rollback", "default") not in response.content.decode()
    plan = viewing.get(page("target_rollback", "default"))
    assert "Continue to confirmation… is not possible: You lack the permission" in text(plan)


@pytest.mark.parametrize("act", ["rollback", "backup"])
def test_a_viewer_cannot_confirm(act: str, viewing: Client, confirmation: Callable[[str], Confirmation]) -> None:
    url = page(f"target_{act}_confirm", "default")
    seen = confirmation(url).seen
    assert viewing.get(url).status_code == 403
    response = viewing.post(url, {"seen": seen, "typed_name": "default", "reason": "let me"})
    assert response.status_code == 403
    assert not Run.objects.exists()


def test_a_viewer_cannot_cancel_or_reconcile(viewing: Client, confirmation: Callable[[], Confirmation]) -> None:
    confirmation().send()
    run = Run.objects.get()
    for act in ("cancel", "reconcile"):
        assert viewing.post(page(f"run_{act}", run.pk)).status_code == 403
    run.refresh_from_db()
    assert run.state == Run.State.QUEUED


def test_a_permission_on_rollbacks_gives_no_other(viewer: User, viewing: Client) -> None:
    viewer.user_permissions.add(Permission.objects.get(codename="rollback_target"))
    assert viewing.get(page("target_rollback_confirm", "default")).status_code == 200
    assert viewing.get(page("target_backup_confirm", "default")).status_code == 403


@pytest.mark.parametrize("action", ["roll_back", "back_up"])
def test_admin_actions_are_not_to_be_had_without_their_permission(action: str, viewing: Client) -> None:
    response = viewing.post(page("target_changelist"), {"action": action, "_selected_action": ["default"]})
    assert "Location" not in response
    assert f'value="{action}"' not in response.content.decode()


def test_the_queues_own_admin_is_not_reachable(operating: Client) -> None:
    for url in ("django_q/", "django_q/schedule/", "django_q/schedule/add/", "django_q/ormq/"):
        assert operating.get(reverse("admin:index") + url).status_code == 404


def test_records_cannot_be_added_changed_or_deleted(ended: Run, operating: Client) -> None:
    for model, key in (("target", "default"), ("run", ended.pk), ("backup", ended.backups.get().pk)):
        assert operating.get(page(f"{model}_add")).status_code == 403
        assert operating.post(page(f"{model}_change", key), {"reason": "another"}).status_code == 405
        assert operating.post(page(f"{model}_delete", key), {"post": "yes"}).status_code == 403


# The confirmation


def test_a_confirmed_form_queues_the_run_that_was_shown(confirmation: Callable[[], Confirmation]) -> None:
    form = confirmation()
    assert "20 rows" in text(form.opened)
    response = form.send(reason="incident 7: recall is wrong")
    run = Run.objects.get()
    assert response.url == page("run_change", run.pk)
    assert (run.kind, run.emergency, run.state) == ("rollback", True, "queued")
    assert (run.requester_name, run.origin, run.reason) == ("olga", "console", "incident 7: recall is wrong")
    assert run.digest == form.opened.context["plan"].digest


def test_a_backup_is_confirmed_without_a_typed_name(confirmation: Callable[[str], Confirmation]) -> None:
    form = confirmation(page("target_backup_confirm", "default"))
    assert "typed_name" not in form.opened.context["form"].fields
    assert form.send().status_code == 302
    assert Run.objects.get().kind == Run.Kind.BACKUP


@pytest.mark.parametrize("typed", ["", "Default", "staging", "default2", HOSTILE])
def test_another_name_than_the_targets_starts_nothing(typed: str, confirmation: Callable[[], Confirmation]) -> None:
    response = confirmation().send(typed_name=typed)
    assert response.status_code == 200
    assert "Nothing was started" in text(response)
    assert HOSTILE not in response.content.decode()
    assert not Run.objects.exists()


def test_a_form_without_a_reason_starts_nothing_and_can_be_mended(confirmation: Callable[[], Confirmation]) -> None:
    form = confirmation()
    refused = form.send(reason=" \n ")
    assert "A run needs a reason" in text(refused)
    assert not Run.objects.exists()
    form.send(seen=refused.context["sealed"])
    assert Run.objects.count() == 1


def test_the_reason_is_kept_in_a_form_that_is_shown_again(confirmation: Callable[[], Confirmation]) -> None:
    response = confirmation().send(typed_name="nonsense", reason="incident 8")
    assert response.context["form"]["reason"].value() == "incident 8"
    assert "nonsense" not in re.sub(r"“nonsense”", "", response.content.decode())


def test_the_same_form_twice_is_one_run(confirmation: Callable[[], Confirmation]) -> None:
    form = confirmation()
    first, second = form.send(), form.send()
    assert first.url == second.url
    assert Run.objects.count() == 1
    assert "No second run was started" in text(form.client.get(second.url))


def test_a_second_form_cannot_start_a_run_beside_an_active_one(confirmation: Callable[[], Confirmation]) -> None:
    first, second = confirmation(), confirmation()
    first.send()
    response = second.send()
    assert response.status_code == 200
    assert f"Run {Run.objects.get().pk}" in text(response)


def test_a_form_of_another_page_starts_nothing(confirmation: Callable[[str], Confirmation]) -> None:
    guided = confirmation(page("target_rollback_confirm", "default") + GUIDED)
    emergency = confirmation(page("target_rollback_confirm", "default") + EMERGENCY)
    assert "made for another person or another page" in text(emergency.send(seen=guided.seen))
    assert not Run.objects.exists()


def test_a_form_of_another_person_starts_nothing(confirmation: Callable[[], Confirmation], client: Client) -> None:
    seen = confirmation().seen
    client.force_login(User.objects.create_superuser("otto"))
    response = client.post(
        page("target_rollback_confirm", "default") + EMERGENCY,
        {"seen": seen, "typed_name": "default", "reason": "mine"},
    )
    assert "made for another person" in text(response)
    assert not Run.objects.exists()


def test_an_altered_form_starts_nothing(confirmation: Callable[[], Confirmation]) -> None:
    form = confirmation()
    for seen in ("", "x", form.seen[:-2] + "xx", form.seen[10:]):
        assert "not one that the console gave out" in text(form.send(seen=seen))
    assert not Run.objects.exists()


def test_a_form_that_is_too_old_starts_nothing(
    confirmation: Callable[[], Confirmation], monkeypatch: pytest.MonkeyPatch
) -> None:
    form = confirmation()
    monkeypatch.setattr(nonce, "VALID_FOR", timedelta(seconds=-1))
    assert "more than an hour ago" in text(form.send())
    assert not Run.objects.exists()


def test_a_plan_that_has_changed_is_shown_again_with_what_changed(
    confirmation: Callable[[], Confirmation], console_db: str
) -> None:
    form = confirmation()
    with connections["default"].cursor() as cursor:
        cursor.execute("alter policy memory_tenant_isolation on memory_chunks using (true)")
    response = form.send()
    assert response.context["differences"]
    assert "The plan has changed since you read it" in text(response)
    assert not Run.objects.exists()
    assert form.send(seen=response.context["sealed"]).status_code == 302


def test_a_form_without_its_csrf_token_starts_nothing(operator: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(operator)
    form = Confirmation(strict, page("target_rollback_confirm", "default") + EMERGENCY)
    response = form.send()
    assert response.status_code == 403
    assert "This form is not valid any more" in text(response)
    assert not Run.objects.exists()


def test_a_refused_plan_has_no_form_and_names_its_reasons(operating: Client) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("create view latest as select id from public.memory_chunks")
    for url in (page("target_rollback", "default"), page("target_rollback_confirm", "default")):
        response = operating.get(url)
        assert "latest depends on public.memory_chunks" in text(response)
        assert 'id="confirm-form"' not in response.content.decode()


def test_a_rollback_without_a_place_for_its_backup_offers_the_emergency_one(
    operating: Client, settings, tmp_path
) -> None:
    occupied = tmp_path / "a file"
    occupied.write_text("no folder")
    settings.MEMOPS_BACKUP_DIR = occupied
    response = operating.get(page("target_rollback", "default") + GUIDED)
    assert "backup folder" in text(response)
    assert 'id="offer-emergency"' in response.content.decode()
    assert 'id="possible"' in operating.get(page("target_rollback", "default") + EMERGENCY).content.decode()


def test_a_rollback_is_guided_or_an_emergency_and_nothing_else(operating: Client) -> None:
    assert operating.get(page("target_rollback", "default") + "?mode=quick").status_code == 404


def test_the_subject_has_to_be_of_the_target(ended: Run, operating: Client) -> None:
    Target.objects.create(alias="other")
    assert operating.get(page("target_undo", "other", ended.pk)).status_code == 404
    assert operating.get(page("target_verify", "other", ended.backups.get().pk)).status_code == 404
    assert operating.get(page("target_backup", "default") + "?quarantined=99999").status_code == 404
    assert operating.get(page("target_backup", "default") + "?quarantined=x").status_code == 404


# What is shown


def test_nothing_hostile_is_taken_for_html(every_page: list[str], operating: Client) -> None:
    for url in every_page:
        response = operating.get(url)
        if response["Content-Type"].startswith("text/html"):
            assert "<img src=x" not in response.content.decode(), url
        else:
            assert response["Content-Type"] == "text/plain; charset=utf-8"
            assert response["Content-Disposition"].startswith("attachment")


def test_no_page_needs_inline_script_or_style(every_page: list[str], operating: Client) -> None:
    for url in every_page:
        response = operating.get(url)
        assert "default-src 'self'" in response["Content-Security-Policy"]
        if response["Content-Type"].startswith("text/html"):
            tags = re.findall(r"<[a-z][^>]*>", re.sub(r"\"[^\"]*\"", '""', response.content.decode()))
            assert not [tag for tag in tags if re.search(r"\s(?:style|on\w+)\s*=|^<style", tag)], url
            assert not [tag for tag in tags if tag.startswith("<script") and "src=" not in tag], url


def test_the_start_page_says_where_every_target_stands(operating: Client) -> None:
    shown = text(operating.get(reverse("admin:index")))
    assert "memory_chunks is deployed" in shown
    assert "yes, 20 rows" in shown
    assert "0001_memory_chunks" in shown
    assert "No worker is alive" in shown


def test_the_start_page_offers_the_way_back_where_the_table_is_away(ended: Run, operating: Client) -> None:
    undo = page("target_undo", "default", ended.pk)
    assert undo not in operating.get(reverse("admin:index")).content.decode()
    with connections["default"].cursor() as cursor:
        cursor.execute("delete from public.memory_chunks")
    assert undo in operating.get(reverse("admin:index")).content.decode()


def test_a_target_that_does_not_answer_does_not_take_the_start_page_along(
    operating: Client, settings, tmp_path
) -> None:
    with alias_of("far", HOST=str(tmp_path)) as far:
        connections.databases[far]["OPTIONS"].pop("host", None)
        settings.MEMOPS_TARGETS = [*settings.MEMOPS_TARGETS, far]
        shown = text(operating.get(reverse("admin:index")))
        assert "memory_chunks is deployed" in shown
        assert 'The target "far" does not answer' in shown
        assert "far: It does not answer" in text(operating.get(page("target_change", far)))
        assert "No plan can be made" in text(operating.get(page("target_rollback", far)))


def test_an_active_run_shuts_the_buttons_and_is_linked(
    operating: Client, confirmation: Callable[[], Confirmation]
) -> None:
    run = confirmation().send().url
    response = operating.get(page("target_change", "default"))
    assert run in response.content.decode()
    assert "Roll back… is not possible: Run" in text(response)


def test_a_queued_run_can_be_cancelled_from_its_page(
    operating: Client, confirmation: Callable[[], Confirmation]
) -> None:
    url = confirmation().send().url
    assert "No worker is alive" in text(operating.get(url))
    response = operating.post(url.replace("change/", "cancel/"), follow=True)
    assert "is cancelled" in text(response)
    assert Run.objects.get().state == Run.State.CANCELLED


def test_a_run_that_says_it_runs_while_nobody_holds_it_is_shown_as_lost(ended: Run, operating: Client) -> None:
    Run.objects.filter(pk=ended.pk).update(state=Run.State.RUNNING, ended_at=None, outcome="")
    response = operating.get(page("run_change", ended.pk))
    assert "Worker lost" in text(response)
    assert 'id="run-reconcile"' in response.content.decode()
    assert "Worker lost" in text(operating.get(page("run_changelist")))
    assert "Worker lost" in text(operating.get(reverse("admin:index")))


def test_the_live_part_is_asked_for_until_the_run_has_ended(
    ended: Run, operating: Client, confirmation: Callable[[], Confirmation]
) -> None:
    assert operating.get(page("run_live", ended.pk)).status_code == 286
    confirmation().send()
    queued = Run.objects.get(state=Run.State.QUEUED)
    assert operating.get(page("run_live", queued.pk)).status_code == 200
    assert 'hx-trigger="every 1s"' in operating.get(page("run_change", queued.pk)).content.decode()


def test_a_log_is_followed_by_offset(ended: Run, operating: Client) -> None:
    Step.objects.filter(run=ended).update(log="12:00:00 one\n12:00:01 two\n", state=Step.State.RUNNING, ended_at=None)
    first = operating.get(page("run_tail", ended.pk, 1) + "?from=13").content.decode()
    assert first.startswith("12:00:01 two\n<span")
    assert "?from=26" in first
    Step.objects.filter(run=ended).update(state=Step.State.DONE, ended_at=timezone.now())
    assert operating.get(page("run_tail", ended.pk, 1) + "?from=26").content == b""
    assert operating.get(page("run_tail", ended.pk, 1) + "?from=x").status_code == 404
    assert operating.get(page("run_tail", ended.pk, 9)).status_code == 404


def test_checks_that_failed_are_said_in_words(ended: Run, operating: Client) -> None:
    assert "1 of 1 check FAILED" in text(operating.get(page("run_change", ended.pk)))


def test_the_history_is_found_by_number_reason_and_filters(ended: Run, operating: Client) -> None:
    Run.objects.filter(pk=ended.pk).update(reason="incident 4711")
    for query in (f"q={ended.pk}", "q=4711", "kind__exact=rollback&state__exact=done", "target__alias__exact=default"):
        assert f">#{ended.pk}<" in operating.get(page("run_changelist") + f"?{query}").content.decode(), query
    assert f">#{ended.pk}<" not in operating.get(page("run_changelist") + "?q=nothing").content.decode()


def test_a_rollback_is_labelled_as_what_it_was(ended: Run, operating: Client) -> None:
    # What was asked for never changes, but here.
    with guard_off("memops_console_run", "memops_run_guard"):
        Run.objects.filter(pk=ended.pk).update(emergency=True)
    assert "Emergency rollback" in text(operating.get(page("run_changelist")))
    with guard_off("memops_console_run", "memops_run_guard"):
        Run.objects.filter(pk=ended.pk).update(emergency=False, origin=Run.Origin.BY_HAND)
    assert "Rollback by hand" in text(operating.get(page("run_changelist")))


def test_actions_lead_to_the_plan_of_the_one_that_was_chosen(ended: Run, operating: Client) -> None:
    backup, table = ended.backups.get(), ended.quarantined_table
    for list_page, action, key, plan in (
        ("target_changelist", "roll_back", "default", page("target_rollback", "default") + GUIDED),
        ("target_changelist", "back_up", "default", page("target_backup", "default")),
        ("run_changelist", "undo", ended.pk, page("target_undo", "default", ended.pk)),
        ("backup_changelist", "verify", backup.pk, page("target_verify", "default", backup.pk)),
        ("quarantinedtable_changelist", "undo", table.pk, page("target_undo", "default", ended.pk)),
    ):
        response = operating.post(page(list_page), {"action": action, "_selected_action": [key]})
        assert response.url == plan, action


def test_an_action_on_two_targets_asks_to_choose_one(operating: Client) -> None:
    Target.objects.create(alias="other")
    response = operating.post(
        page("target_changelist"), {"action": "roll_back", "_selected_action": ["default", "other"]}, follow=True
    )
    assert "Choose exactly one target" in text(response)
    assert not Run.objects.exists()


def test_the_cancel_action_takes_back_queued_runs_only(
    ended: Run, operating: Client, confirmation: Callable[[], Confirmation]
) -> None:
    confirmation().send()
    queued = Run.objects.get(state=Run.State.QUEUED)
    response = operating.post(
        page("run_changelist"), {"action": "cancel", "_selected_action": [ended.pk, queued.pk]}, follow=True
    )
    assert f"Run {queued.pk} is cancelled" in text(response)
    assert f"Run {ended.pk} is done: only a queued run can be cancelled" in text(response)


def test_the_queue_page_says_what_waits(operating: Client, confirmation: Callable[[], Confirmation]) -> None:
    confirmation().send()
    shown = text(operating.get(page("queue")))
    assert "No worker is alive" in shown
    assert f"Run {Run.objects.get().pk}" in shown


def test_error_pages_tell_no_secret(operating: Client, settings) -> None:
    missing = operating.get(page("run_change", 10**17))
    assert missing.status_code == 404
    assert "There is no such page" in text(missing)
    for secret in (settings.SECRET_KEY, "Traceback", str(settings.MEMOPS_HOME)):
        assert secret not in missing.content.decode()
    assert operating.get(page("run_change", "1_00")).status_code == 404


def test_the_server_is_not_named_with_its_address_or_password(operating: Client, every_page: list[str]) -> None:
    password = psycopg.conninfo.conninfo_to_dict(password="hunter2-in-the-url")["password"]
    connections.databases["default"]["PASSWORD"], before = password, connections.databases["default"]["PASSWORD"]
    try:
        for url in every_page:
            assert "hunter2" not in operating.get(url).content.decode(), url
    finally:
        connections.databases["default"]["PASSWORD"] = before
