"""Request, approve, start, in the console: everybody sees what they can do, and why they cannot do the rest."""

import time
from datetime import timedelta
from itertools import product

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from memops import demo
from memops.console.admin import sign_in
from memops.console.models import Approval, GlassReview, Run
from memops.console.runs import advance, approvals, targets
from tests.databases import guard_off
from tests.postgres.people import ONE, PASSWORD, TWO, ask_for, person, request_backup
from tests.postgres.test_console import HOSTILE, page, text

ROLLBACK = page("target_rollback_confirm", "default") + "?mode=emergency"


@pytest.fixture
def console(console_db, settings) -> str:
    settings.MEMOPS_APPROVALS = ONE
    demo.load("default", rows=20, tenants=3)
    targets.sync()
    return "default"


def browser_of(user: User, *, csrf: bool = False) -> Client:
    client = Client(enforce_csrf_checks=csrf)
    client.force_login(user)
    return client


@pytest.fixture
def rita(console) -> User:
    return person("rita", "requester", "executor", password=PASSWORD)


@pytest.fixture
def ann(console) -> User:
    return person("ann", "approver")


@pytest.fixture
def run(rita) -> Run:
    return request_backup(rita)


@pytest.fixture
def rita_sits(rita) -> Client:
    return browser_of(rita)


@pytest.fixture
def ann_sits(ann) -> Client:
    return browser_of(ann)


def state(run: Run) -> str:
    run.refresh_from_db()
    return run.state


def shown(client: Client, run: Run) -> str:
    return text(client.get(page("run_change", run.pk)))


def test_request_approve_run(rita_sits, ann_sits):
    form = rita_sits.get(ROLLBACK)
    assert "It needs 1 approval by members of approver, not by you. Nothing is started before that." in text(form)
    asked = rita_sits.post(
        ROLLBACK, {"seen": form.context["sealed"], "typed_name": "default", "reason": "INC-1: recall is wrong"}
    )
    run = Run.objects.get(kind="rollback")
    assert asked.url == page("run_change", run.pk)
    assert run.state == "awaiting"
    assert "0 of 1 approval by members of approver; not by rita, who asked." in shown(rita_sits, run)
    assert "Run is off: It needs 1 more approval." in shown(rita_sits, run)
    assert "Approve and Reject are off: You lack the permission" in shown(rita_sits, run)
    assert "asked for by rita: INC-1: recall is wrong" in text(ann_sits.get(reverse("admin:index")))

    said = ann_sits.post(page("run_approve", run.pk), {"comment": "I read the plan."}, follow=True)
    assert f"You have approved run {run.pk}. It can be started now." in text(said)
    assert "Approved by ann" in shown(rita_sits, run)
    assert "I read the plan." in shown(rita_sits, run)

    said = rita_sits.post(page("run_start", run.pk), follow=True)
    assert f"You have started run {run.pk}." in text(said)
    assert state(run) == "queued"
    advance.advance(run.pk)
    assert (state(run), run.outcome) == ("done", "quarantined")
    assert "rita started it at" in shown(ann_sits, run)


def test_who_asked_reads_that_somebody_else_has_to_decide(console):
    both = person("both", "requester", "approver")
    run = request_backup(both)
    sits = browser_of(both)

    assert "You asked for it, so somebody else has to decide." in shown(sits, run)
    said = sits.post(page("run_approve", run.pk), follow=True)

    assert f"Run {run.pk} was asked for by both, so somebody else has to decide on it. Nothing was changed." in text(
        said
    )
    assert not Approval.objects.exists()


def test_an_approver_of_other_runs_reads_which_groups_decide(run, settings):
    other = person("other", "requester")
    other.user_permissions.add(Permission.objects.get(codename="approve_run"))
    sits = browser_of(other)

    assert "You are in none of the groups that decide: approver." in shown(sits, run)
    assert "in none of the groups" in text(sits.post(page("run_approve", run.pk), follow=True))
    assert not Approval.objects.exists()


def test_a_rejection_needs_a_reason_and_ends_it(run, ann_sits, rita_sits):
    refused = ann_sits.post(page("run_reject", run.pk), {"comment": " "}, follow=True)
    assert "needs a comment" in text(refused)
    assert state(run) == "awaiting"

    ann_sits.post(page("run_reject", run.pk), {"comment": "Not during the day."})

    assert state(run) == "rejected"
    assert "Rejected by ann: Not during the day." in shown(rita_sits, run)
    assert 'id="run-start-form"' not in rita_sits.get(page("run_change", run.pk)).content.decode()


def test_an_approval_is_taken_back_on_the_page(run, ann_sits, rita_sits):
    ann_sits.post(page("run_approve", run.pk))
    assert "Take my approval back" in shown(ann_sits, run)

    ann_sits.post(page("run_revoke", run.pk), {"comment": "Wait for the dump."})

    assert "Taken back" in shown(rita_sits, run)
    said = rita_sits.post(page("run_start", run.pk), follow=True)
    assert "It has 0 valid of 1 approvals" in text(said)
    assert state(run) == "awaiting"


def test_a_request_is_withdrawn_on_the_page(run, rita_sits):
    rita_sits.post(page("run_withdraw", run.pk))

    assert state(run) == "withdrawn"


def test_an_expired_request_says_so_and_offers_nothing(run, ann_sits):
    with guard_off("memops_console_run", "memops_run_guard"):
        Run.objects.filter(pk=run.pk).update(expires_at=run.requested_at)

    assert "Nobody had started it by" in shown(ann_sits, run)
    assert state(run) == "expired"
    said = ann_sits.post(page("run_approve", run.pk), follow=True)
    assert f"Run {run.pk} is expired: it does not await a decision any more." in text(said)


def test_the_second_of_two_who_start_it_reads_who_was_first(run, ann_sits, rita_sits):
    ann_sits.post(page("run_approve", run.pk))
    zoe = browser_of(person("zoe", "executor"))
    rita_sits.post(page("run_start", run.pk))

    said = zoe.post(page("run_start", run.pk), follow=True)

    assert f"Run {run.pk} was started by rita already, and is queued." in text(said)


def test_a_start_after_ten_minutes_asks_for_the_password(run, ann_sits, rita, rita_sits):
    ann_sits.post(page("run_approve", run.pk))
    session = rita_sits.session
    session[sign_in.PROVED_AT] = time.time() - timedelta(minutes=11).total_seconds()
    session.save()

    assert 'id="start-password"' in rita_sits.get(page("run_change", run.pk)).content.decode()
    for typed in ({}, {"password": "wrong"}):
        assert "Nothing was started." in text(rita_sits.post(page("run_start", run.pk), typed, follow=True))
        assert state(run) == "awaiting"
    rita_sits.post(page("run_start", run.pk), {"password": PASSWORD})

    assert state(run) == "queued"


def test_who_looks_at_a_request_sees_what_has_become_of_it_without_doing_anything(run, ann_sits, rita_sits):
    live = page("run_live", run.pk) + "?awaits="
    assert 'live/?awaits=people"' in rita_sits.get(page("run_change", run.pk)).content.decode()
    assert "HX-Refresh" not in rita_sits.get(live + "people")

    ann_sits.post(page("run_approve", run.pk))
    assert rita_sits.get(live + "people")["HX-Refresh"] == "true"
    assert 'live/?awaits=start"' in rita_sits.get(page("run_change", run.pk)).content.decode()
    assert "HX-Refresh" not in rita_sits.get(live + "start")

    rita_sits.post(page("run_start", run.pk))
    assert rita_sits.get(live + "start")["HX-Refresh"] == "true"


@pytest.mark.parametrize("act", ["approve", "reject", "revoke", "withdraw", "start", "review"])
class TestNoEffect:
    def test_by_get(self, act, run, rita_sits):
        assert rita_sits.get(page(f"run_{act}", run.pk)).status_code == 405
        assert state(run) == "awaiting"

    def test_for_whoever_is_not_signed_in(self, act, run):
        answer = Client().post(page(f"run_{act}", run.pk), {"comment": "x", "note": "x"})

        assert (answer.status_code, answer.url.split("?")[0]) == (302, reverse("admin:login"))
        assert (state(run), Approval.objects.count()) == ("awaiting", 0)

    def test_for_somebody_who_may_only_look(self, act, run):
        auditor = browser_of(person("audrey", "auditor"))

        answer = auditor.post(page(f"run_{act}", run.pk), {"comment": "x", "note": "x"}, follow=True)

        # Nobody needs a permission to take an approval back, but an approval.
        assert answer.status_code == 403 or (act == "revoke" and "There is no approval of yours" in text(answer))
        assert (state(run), Approval.objects.count()) == ("awaiting", 0)

    def test_with_a_wrong_token(self, act, run, rita, ann):
        for user in (rita, ann):
            answer = browser_of(user, csrf=True).post(
                page(f"run_{act}", run.pk), {"comment": "x", "note": "x", "csrfmiddlewaretoken": "a" * 64}
            )
            assert answer.status_code == 403
        assert (state(run), Approval.objects.count()) == ("awaiting", 0)

    def test_with_a_comment_that_holds_nul(self, act, run, rita_sits, ann_sits):
        for client in (ann_sits, rita_sits):
            answer = client.post(page(f"run_{act}", run.pk), {"comment": "a\0b", "note": "a\0b"}, follow=True)
            assert answer.status_code == 400
        assert (state(run), Approval.objects.count()) == ("awaiting", 0)

    def test_with_a_hostile_comment_nothing_is_shown_as_markup(self, act, run, rita_sits, ann_sits):
        for client, typed in product((ann_sits, rita_sits), ("\u202etxt.exe", "x" * 2001, HOSTILE)):
            answer = client.post(page(f"run_{act}", run.pk), {"comment": typed, "note": typed}, follow=True)
            assert answer.status_code in (200, 403)
            assert HOSTILE not in answer.content.decode()


class TestBreakGlass:
    @pytest.fixture
    def gwen(self, console) -> User:
        gwen = person("gwen", "requester", "approver")
        gwen.user_permissions.add(Permission.objects.get(codename="break_glass_run"))
        return gwen

    def test_whoever_lacks_the_permission_does_not_see_it_and_cannot_post_it(self, rita_sits):
        form = rita_sits.get(ROLLBACK)
        assert 'id="break-glass"' not in form.content.decode()

        rita_sits.post(
            ROLLBACK,
            {"seen": form.context["sealed"], "typed_name": "default", "reason": "INC-1"}
            | {"break_glass": "on", "incident": "INC-1"},
        )

        assert Run.objects.get(kind="rollback").state == "awaiting"

    def test_it_asks_for_the_incident(self, gwen):
        sits = browser_of(gwen)
        form = sits.get(ROLLBACK)
        answer = sits.post(
            ROLLBACK,
            {"seen": form.context["sealed"], "typed_name": "default", "reason": "INC-1", "break_glass": "on"},
        )

        assert "Nothing was started. Say which incident it is for." in text(answer)
        assert not Run.objects.filter(kind="rollback").exists()

    def test_it_starts_at_once_and_then_the_target_waits_for_a_review_by_somebody_else(self, gwen, ann_sits):
        sits = browser_of(gwen)
        form = sits.get(ROLLBACK)
        sits.post(
            ROLLBACK,
            {"seen": form.context["sealed"], "typed_name": "default", "reason": "down", "break_glass": "on"}
            | {"incident": "INC-9"},
        )
        run = Run.objects.get(kind="rollback")
        assert (run.state, run.break_glass, run.incident) == ("queued", True, "INC-9")
        advance.advance(run.pk)

        assert "Until somebody else has reviewed it, default takes no new run." in shown(ann_sits, run)
        assert "Needs review:" in text(ann_sits.get(reverse("admin:index")))
        offered = text(sits.get(page("target_change", "default")))
        assert f"run {run.pk} was started without approvals" in offered.lower()
        refused = sits.post(page("run_review", run.pk), {"note": "It was right."}, follow=True)
        assert "somebody else has to decide" in text(refused)
        assert not GlassReview.objects.exists()

        ann_sits.post(page("run_review", run.pk), {"note": "It could not wait."})

        assert "ann reviewed it at" in shown(sits, run)
        assert "takes no new run" not in shown(sits, run)


class TestWindow:
    def ask(self, client: Client, **typed: str):
        form = client.get(ROLLBACK)
        return client.post(
            ROLLBACK, {"seen": form.context["sealed"], "typed_name": "default", "reason": "INC-1"} | typed
        )

    def test_a_run_is_asked_for_with_its_window(self, rita_sits, ann_sits):
        self.ask(rita_sits, not_before="2026-12-01T02:00", not_after="2026-12-01T03:00")

        run = Run.objects.get(kind="rollback")
        assert run.window == "from 2026-12-01 02:00 UTC to 2026-12-01 03:00 UTC"
        ann_sits.post(page("run_approve", run.pk))
        assert f"Run is off: It may begin {run.window}." in shown(rita_sits, run)
        said = rita_sits.post(page("run_start", run.pk), follow=True)
        assert "only in its maintenance window" in text(said)
        assert state(run) == "awaiting"

    @pytest.mark.parametrize("typed", ["tonight", HOSTILE, "2020-01-01T00:00"])
    def test_what_is_no_window_is_a_field_error_and_is_kept_in_the_form(self, rita_sits, typed):
        answer = self.ask(rita_sits, not_after=typed)

        assert answer.status_code == 200
        assert "The maintenance window cannot be used" in text(answer)
        assert HOSTILE not in answer.content.decode()
        assert answer.context["form"]["not_after"].value() == typed
        assert not Run.objects.filter(kind="rollback").exists()


def test_two_are_counted_down(console, rita_sits, rita, settings, ann_sits):
    settings.MEMOPS_APPROVALS = TWO
    run = request_backup(rita)

    said = ann_sits.post(page("run_approve", run.pk), follow=True)

    assert f"You have approved run {run.pk}. It needs 1 more." in text(said)
    assert "1 of 2 approvals" in text(said)


def test_the_plan_that_is_approved_stands_on_the_page(rita, ann_sits, settings):
    from memops.console.runs.plan import plan_rollback

    run = ask_for(plan_rollback("default"), rita)

    seen = shown(ann_sits, run)
    assert run.digest in seen
    assert "memops_quarantine" in seen
    assert approvals.standing(run).needed == 1
