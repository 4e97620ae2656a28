"""The pages of the audit trail: what is looked for is found, without counting, and only by those who may."""

import json

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from memops.console import audit
from memops.console.audit import browse
from memops.console.models import AuditEvent
from memops.console.runs import advance
from memops.console.runs.plan import plan_backup
from tests.postgres.test_audit import actions, ask, stand_alone, without_triggers
from tests.postgres.test_console import HOSTILE, page, text

LIST = "auditevent_changelist"


@pytest.fixture
def auditor(console_db) -> Client:
    """Staff who may see, check and export the trail, and nothing else."""
    user = User.objects.create_user("audrey", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__endswith="_auditevent"))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def many(console_db) -> int:
    """A hundred and twenty events of three people on two targets."""
    for number in range(120):
        audit.record("tried", actor=f"person {number % 3}", target=f"t{number % 2}", about=f"word{number}")
    return 120


def numbers(response) -> list[int]:
    return [event.sequence for event in response.context["found"].events]


def test_every_event_is_on_exactly_one_page(auditor, many):
    seen, address = [], page(LIST)
    while address:
        shown = auditor.get(address)
        seen += numbers(shown)
        address = shown.context["older"] and page(LIST) + shown.context["older"]

    assert seen == sorted(AuditEvent.objects.values_list("sequence", flat=True), reverse=True)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("actor=person+1", 40),
        ("actor=person+1&words=word4", 5),
        ("words=WORD11", 11),
        ("words=no+such", 0),
        ("since=2000-01-01&until=2099-01-01&words=word1", 31),
        ("since=2099-01-01", 0),
        ("until=2000-01-01", 0),
        ("run=999", 0),
    ],
)
def test_what_is_looked_for_is_found_and_nothing_else(auditor, many, asked, found):
    shown = auditor.get(f"{page(LIST)}?{asked}")

    assert len(numbers(shown)) == found


def test_the_words_are_looked_for_in_a_window_and_the_rest_is_a_page_of_its_own(auditor, many, monkeypatch):
    monkeypatch.setattr(browse, "WINDOW", 30)

    shown = auditor.get(f"{page(LIST)}?words=word5")
    seen = numbers(shown)
    assert "Words were looked for in the events from number" in text(shown)
    while shown.context["older"]:
        shown = auditor.get(page(LIST) + shown.context["older"])
        seen += numbers(shown)

    wanted = AuditEvent.objects.filter(details__icontains="word5").order_by("-sequence")
    assert seen == list(wanted.values_list("sequence", flat=True))
    assert len(seen) == 11


@pytest.mark.parametrize(
    "asked",
    [
        "run=abc", "run=-1", f"run={10**30}", "before=x", "since=yesterday", "until=2026-13-01", "action=drop",
        "words=a", f"actor={'x' * 151}", "target=%27%3B",
    ],
)  # fmt: skip
def test_a_look_that_makes_no_sense_is_an_error_at_its_field(auditor, many, asked):
    shown = auditor.get(f"{page(LIST)}?{asked}")

    assert shown.status_code == 200
    assert shown.context["found"] is None
    assert 'class="wrong"' in shown.content.decode()


def test_wildcards_and_markup_are_only_text(auditor, many):
    audit.record("tried", actor=HOSTILE, about=HOSTILE)

    assert numbers(auditor.get(f"{page(LIST)}?words=word%25")) == []
    shown = auditor.get(page(LIST))
    assert HOSTILE in text(shown)
    assert "<img" not in shown.content.decode().replace('<img src="/static', "")
    event = AuditEvent.objects.latest("sequence")
    assert "<img src=x" not in auditor.get(event.get_absolute_url()).content.decode()


def test_an_event_has_a_page_that_says_whether_it_was_changed(auditor, many, tamperer):
    event = AuditEvent.objects.get(sequence=7)
    shown = text(auditor.get(event.get_absolute_url()))
    assert "Its hash is that of its content" in shown
    assert event.hash in shown
    assert "word" in shown

    without_triggers(tamperer, "update audit_event set actor = 'x', details = 'no json' where sequence = 7")
    without_triggers(tamperer, "delete from audit_event where sequence = 9")

    assert "its hash is not that of its content" in text(auditor.get(event.get_absolute_url()))
    following = AuditEvent.objects.get(sequence=10)
    assert "it does not continue the event before it" in text(auditor.get(following.get_absolute_url()))


@pytest.mark.parametrize("key", ["0", "999999", "x", "%D9%A1", "9" * 30])
def test_an_event_that_is_not_there_is_no_page(auditor, many, key):
    shown = auditor.get(f"{page(LIST)}{key}/change/")

    assert shown.status_code in (302, 404)


def test_the_events_of_a_run_are_linked_from_its_page(auditor, console_db, client):
    run = ask(plan_backup("default"))
    advance.advance(run.pk)
    client.force_login(User.objects.create_superuser("olga"))
    link = f"{page(LIST)}?run={run.pk}"

    assert link in client.get(run.get_absolute_url()).content.decode()
    assert len(numbers(client.get(link))) == len(actions(run=run.pk)) > 5
    log = client.get(page("run_log", run.pk))
    assert log.status_code == 200
    assert actions(run=run.pk)[-1] == "run.log_downloaded"


def test_a_check_says_that_the_trail_holds_and_then_what_is_wrong(auditor, many, tamperer):
    shown = text(auditor.post(page("auditevent_verify"), follow=True))
    assert "The chain holds" in shown
    assert actions()[-1] == "audit.checked"

    without_triggers(tamperer, "update audit_event set actor = 'x' where sequence = 7")

    assert "WRONG at number 7, edited" in text(auditor.post(page("auditevent_verify"), follow=True))


def test_a_broken_trail_is_said_on_the_page_before_anybody_asks(auditor, many, tamperer):
    tamperer.execute("alter table audit_event disable trigger audit_event_rows")

    assert "The trail is broken: the trigger audit_event_rows" in text(auditor.get(page(LIST)))


def test_an_export_from_the_console_is_what_an_auditor_can_verify(auditor, many, tmp_path):
    answer = auditor.post(page("auditevent_export"))

    file = tmp_path / "trail.jsonl"
    file.write_bytes(b"".join(answer.streaming_content))
    assert stand_alone(file).returncode == 0
    assert "attachment" in answer.headers["Content-Disposition"]
    event = AuditEvent.objects.get(action="audit.exported")
    assert (event.actor, json.loads(event.details)) == ("audrey", {"to": "console"})


@pytest.mark.parametrize("name", ["auditevent_verify", "auditevent_export"])
def test_checking_and_exporting_need_a_permission_each_and_a_form(many, name):
    client = Client()
    user = User.objects.create_user("vera", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_auditevent"))
    client.force_login(user)

    assert client.get(page(LIST)).status_code == 200
    assert page(name) not in client.get(page(LIST)).content.decode()
    assert client.get(page(name)).status_code == 405
    assert client.post(page(name)).status_code == 403
    assert "audit.exported" not in actions()


def test_who_may_not_see_the_trail_does_not(many):
    client = Client()
    client.force_login(User.objects.create_user("vera", is_staff=True))

    assert client.get(page(LIST)).status_code == 403
    assert client.get(page("auditevent_change", 3)).status_code == 403
    assert page(LIST) not in client.get(page(LIST)).content.decode()


@pytest.mark.parametrize("name", ["auditevent_add", "auditevent_delete"])
def test_nobody_writes_the_trail_in_the_console(console_db, client, name):
    audit.record("tried")
    client.force_login(User.objects.create_superuser("olga"))
    arguments = [] if name == "auditevent_add" else [1]

    assert client.post(page(name, *arguments), {"post": "yes"}).status_code == 403
    assert client.post(page("auditevent_change", 1), {"actor": "x"}).status_code == 405
