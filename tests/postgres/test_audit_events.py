"""What becomes an event beside the runs: people, their rights, settings, refusals; and what never does: a secret."""

import ast
import json
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from memops import demo
from memops.console import audit
from memops.console.audit import actions as known_actions
from memops.console.audit import configuration
from memops.console.models import AuditEvent, Contact, Run
from memops.console.pg import trail
from memops.console.runs import targets
from memops.console.runs.overview import overviews
from tests.postgres.test_audit import PASSWORD, actions

LOGIN = "admin:login"


def details(action: str) -> dict:
    return json.loads(AuditEvent.objects.filter(action=action).latest("sequence").details)


@pytest.fixture
def ann(console_db) -> User:
    return User.objects.create_superuser("ann", password=PASSWORD)


@pytest.fixture
def as_ann(ann) -> Client:
    client = Client()
    client.force_login(ann)
    return client


def test_sign_ins_and_failed_ones_are_events_without_the_password(ann):
    client, page = Client(), reverse(LOGIN)
    client.post(page, {"username": "ann", "password": PASSWORD + "x"})
    client.post(page, {"username": "ann", "password": PASSWORD})
    client.post(reverse("admin:logout"))

    assert actions(address="127.0.0.1") == ["sign_in.failed", "sign_in", "sign_out"]
    assert set(AuditEvent.objects.filter(address="127.0.0.1").values_list("actor", flat=True)) == {"ann"}
    for event in trail.events():
        assert PASSWORD not in json.dumps(event)


@pytest.mark.parametrize("name", [PASSWORD, PASSWORD + "\x1b", PASSWORD * 40])
def test_what_was_typed_instead_of_a_name_is_not_kept_for_it_may_be_a_password(ann, name):
    answer = Client().post(reverse(LOGIN), {"username": name, "password": "x"})

    assert answer.status_code == 200
    assert AuditEvent.objects.get(action="sign_in.failed").actor == "unknown name"
    assert PASSWORD not in "".join(json.dumps(event) for event in trail.events())


def test_a_user_who_is_made_changed_and_deleted_is_an_event_each_without_the_password(ann):
    ann.email, ann.is_staff = "ann@example.org", False
    ann.set_password(PASSWORD + "2")
    ann.save()
    ann.save()
    number = str(ann.pk)
    ann.delete()

    assert actions(object_type="user", object_id=number) == ["user.created", "user.changed", "user.deleted"]
    changed = details("user.changed")
    assert changed["now"] == {"email": "ann@example.org", "is_staff": False, "password": "not shown"}
    assert changed["was"] == {"email": "", "is_staff": True, "password": "not shown"}
    assert "pbkdf2" not in "".join(event["details"] for event in trail.events())


def test_groups_and_permissions_that_are_given_and_taken_are_events_with_their_names(ann):
    group = Group.objects.create(name="operators")
    group.permissions.add(Permission.objects.get(codename="rollback_target"))
    ann.groups.add(group)
    ann.groups.remove(group)
    group.permissions.clear()
    ann.user_permissions.add(Permission.objects.get(codename="undo_target"))

    assert actions()[1:] == [
        "group.created", "group.permission.given", "user.group.given", "user.group.taken", "group.permission.all_taken",
        "user.permission.given",
    ]  # fmt: skip
    assert details("group.permission.given")["what"] == ["rollback_target"]
    assert details("user.group.given")["what"] == ["operators"]


def test_a_change_in_the_console_is_the_persons_who_made_it_with_request_and_address(as_ann):
    answer = as_ann.post(
        reverse("admin:memops_console_contact_add"),
        {"position": 1, "name": "Bea", "role": "DBA", "reached_by": "5551", "note": ""},
        headers={"X-Request-ID": "from-the-proxy-1"},
    )

    assert answer.status_code == 302
    event = AuditEvent.objects.get(action="contact.created")
    assert (event.actor, event.address, event.request_id) == ("ann", "127.0.0.1", "from-the-proxy-1")
    assert answer.headers["X-Request-ID"] == "from-the-proxy-1"
    assert event.object_id == str(Contact.objects.get().pk)


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "é"])
def test_a_request_id_that_is_none_is_replaced(as_ann, given):
    answer = as_ann.get(reverse("admin:index"), headers={"X-Request-ID": given.encode().decode("latin-1")})

    assert len(answer.headers["X-Request-ID"]) == 32


def test_a_page_that_was_refused_is_an_event(console_db):
    client = Client()
    client.force_login(User.objects.create_user("vera", is_staff=True))

    assert client.get(reverse("admin:memops_console_run_changelist")).status_code == 403

    event = AuditEvent.objects.get(action="permission.refused")
    assert (event.actor, event.object_id) == ("vera", reverse("admin:memops_console_run_changelist"))


def test_forged_forms_of_strangers_do_not_fill_the_trail(console_db):
    stranger = Client(enforce_csrf_checks=True)

    assert stranger.post(reverse(LOGIN), {"username": "x", "password": "y"}).status_code == 403

    assert actions() == []


def test_settings_are_kept_once_and_again_when_they_change_and_secrets_only_as_a_fingerprint(console_db, settings):
    configuration._noticed.clear()
    configuration.notice()
    configuration._noticed.clear()
    configuration.notice()
    settings.MEMOPS_LOCK_BUDGET_SECONDS = 77
    settings.SECRET_KEY = PASSWORD
    configuration._noticed.clear()
    configuration.notice()

    kept = list(AuditEvent.objects.filter(action__startswith="settings").order_by("sequence"))
    assert [event.action for event in kept] == ["settings.seen", "settings.changed"]
    assert json.loads(kept[1].details)["changed"] == ["MEMOPS_LOCK_BUDGET_SECONDS", "SECRET_KEY"]
    written = "".join(event.details for event in kept)
    assert PASSWORD not in written
    for name in ("MEMORY_TENANT_HMAC_KEY", "MEMORY_ENCRYPTION_KEY", "MEMOPS_AUDIT_KEY"):
        secret = getattr(django_settings, name)
        assert str(secret) not in written
        assert (secret.hex() if isinstance(secret, bytes) else secret) not in written


def test_a_change_by_hand_that_is_noticed_is_an_event(console_db):
    targets.sync()
    overviews()
    demo.load("default", rows=5, tenants=1)
    call_command("migrate", "memops", "zero", verbosity=0)
    overviews()

    run = Run.objects.get(kind="rollback")
    assert "run.noticed_by_hand" in actions(run=run.pk)


def test_the_trail_says_what_every_action_of_ours_means():
    """A new action without words would stand in the console as code."""
    calls = [
        node.args[0]
        for file in Path(audit.__file__).parents[1].rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and node.args
        and getattr(node.func, "id", getattr(node.func, "attr", "")) in ("record", "record_or_log")
        and not isinstance(node.args[0], ast.JoinedStr)
    ]
    written = {one.value for call in calls for one in ast.walk(call) if isinstance(one, ast.Constant)}

    assert len(written) > 15
    assert written - known_actions.WORDS.keys() == set()
