"""Is the procedure fit for use: rehearsed, approved, and is somebody there to be called?"""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from memops import demo
from memops.console.models import Contact, Review, Run
from memops.console.runs import targets
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_rollback, plan_undo
from memops.console.runs.procedure import procedure
from memops.console.runs.request import Requester, submit

ADD_REVIEW = "admin:memops_console_review_add"
ADD_CONTACT = "admin:memops_console_contact_add"


@pytest.fixture
def default(console_db: str) -> str:
    demo.load("default", rows=20, tenants=3)
    targets.sync()
    return "default"


@pytest.fixture
def olga(default: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("olga"))
    return client


def run_to_its_end(plan) -> Run:
    me = Requester(name="olga", origin=Run.Origin.COMMAND)
    run = submit(plan, requester=me, reason="rehearsal", seen_digest=plan.digest)
    advance(run.pk)
    run.refresh_from_db()
    assert run.state == "done"
    return run


def in_days(days: int) -> str:
    return f"{timezone.now().date() + timedelta(days=days)}"


def sign(client: Client, **changes: str):
    return client.post(reverse(ADD_REVIEW), {"role": "DBA", "note": "read it", "next_due": in_days(90)} | changes)


def add_contact(client: Client, **changes: str):
    filled = {"position": "1", "name": "Dana", "role": "DBA", "reached_by": "pager 7", "note": ""}
    return client.post(reverse(ADD_CONTACT), filled | changes)


class TestRehearsal:
    def test_a_guided_rollback_that_was_undone_is_one(self, default):
        rollback = run_to_its_end(plan_rollback(default))
        assert procedure().rehearsal is None

        undo = run_to_its_end(plan_undo(rollback))

        found = procedure()
        assert (found.rehearsal, found.rehearsed_at) == (undo, undo.ended_at)
        assert not any("rehears" in sentence for sentence in found.overdue)

    def test_an_emergency_rollback_is_none(self, default):
        run_to_its_end(plan_undo(run_to_its_end(plan_rollback(default, emergency=True))))

        assert procedure().rehearsal is None

    def test_one_that_is_too_long_ago_is_overdue_in_words(self, default):
        undo = run_to_its_end(plan_undo(run_to_its_end(plan_rollback(default))))
        long_ago = timezone.now() - timedelta(days=200)
        Run.objects.filter(pk=undo.pk).update(requested_at=long_ago, claimed_at=long_ago, ended_at=long_ago)

        due = (long_ago + timedelta(days=90)).date()
        assert any(f"A rehearsal is overdue since {due}:" in sentence for sentence in procedure().overdue)

    def test_none_at_all_is_told(self, default):
        assert any("never rehearsed" in sentence for sentence in procedure().overdue)


class TestReview:
    def test_who_adds_one_signs_it(self, olga):
        assert sign(olga).status_code == 302

        review = procedure().review
        assert (review.approver_name, review.approved_by.username, review.role) == ("olga", "olga", "DBA")

    @pytest.mark.parametrize("due", [in_days(0), in_days(-1), in_days(10_000), "soon", ""])
    def test_the_next_one_is_due_later_and_within_two_years(self, olga, due):
        assert sign(olga, next_due=due).status_code == 200
        assert not Review.objects.exists()

    def test_the_database_refuses_one_that_is_due_before_it_was_made_or_is_nobodys(self, default):
        with pytest.raises(IntegrityError):
            Review.objects.create(approver_name="x", role="DBA", next_due=timezone.now() - timedelta(days=2))
        with pytest.raises(IntegrityError):
            Review.objects.create(approver_name="", role="DBA", next_due=timezone.now() + timedelta(days=2))

    def test_it_cannot_be_changed_or_taken_back(self, olga):
        sign(olga)
        review = Review.objects.get()
        for act in ("change", "delete"):
            olga.post(reverse(f"admin:memops_console_review_{act}", args=[review.pk]), {"role": "other", "post": "yes"})

        assert Review.objects.get().role == "DBA"

    def test_an_overdue_one_is_told_in_words(self, default):
        long_ago = timezone.now() - timedelta(days=100)
        Review.objects.create(
            approved_at=long_ago, approver_name="olga", role="DBA", next_due=long_ago + timedelta(days=90)
        )

        assert any("A review is overdue since" in sentence for sentence in procedure().overdue)

    def test_who_may_only_look_signs_nothing(self, default):
        vera = User.objects.create_user("vera", is_staff=True)
        vera.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        client = Client()
        client.force_login(vera)

        assert sign(client).status_code == 403
        assert add_contact(client).status_code == 403
        assert not Review.objects.exists()
        assert not Contact.objects.exists()


class TestContacts:
    def test_they_are_called_in_their_order(self, olga):
        add_contact(olga, position="2", name="Sam", role="security officer")
        add_contact(olga)

        shown = olga.get(reverse("admin:index")).content.decode()

        assert [contact.name for contact in procedure().contacts] == ["Dana", "Sam"]
        assert shown.index("<b>Dana</b>") < shown.index("<b>Sam</b>")

    @pytest.mark.parametrize("wrong", [{"position": "0"}, {"position": "-1"}, {"name": ""}, {"name": "a\u202eb"}])
    def test_what_is_wrong_is_told_at_its_field(self, olga, wrong):
        answer = add_contact(olga, **wrong)

        assert answer.status_code == 200
        assert answer.context["adminform"].form.errors.keys() == wrong.keys()
        assert not Contact.objects.exists()

    def test_nothing_hostile_is_taken_for_html(self, olga):
        add_contact(olga, name="<script>alert(1)</script>")

        assert "<script>alert" not in olga.get(reverse("admin:index")).content.decode()


def test_the_command_line_says_the_same_and_fails_where_something_is_overdue(default, capsys):
    Contact.objects.create(position=1, name="Dana", role="DBA", reached_by="pager 7")

    with pytest.raises(SystemExit) as ended:
        call_command("memops", "procedure", "--json")

    told = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1
    assert told["contacts"] == [{"position": 1, "name": "Dana", "role": "DBA", "reached_by": "pager 7", "note": ""}]
    assert told["overdue"] == procedure().overdue

    run_to_its_end(plan_undo(run_to_its_end(plan_rollback(default))))
    Review.objects.create(approver_name="olga", role="DBA", next_due=timezone.now() + timedelta(days=9))
    call_command("memops", "procedure")

    shown = capsys.readouterr().out
    assert "Dana" in shown
    assert "olga (DBA)" in shown
    assert "Warning" not in shown
