"""The choice to have idle transactions ended: off unless it is asked for, read by approvers, bound by the digest."""

import html
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from memops import demo
from memops.console.models import Run, Step
from memops.console.runs import evidence, targets
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_rollback, plan_undo
from memops.console.steps import examination
from tests import holders
from tests.databases import alias_of
from tests.postgres.people import ask_for, execute
from tests.postgres.test_commands import memops

HOSTILE = "<img src=x onerror=alert(1)>"
HALF_A_MINUTE, MINUTE = timedelta(seconds=30), timedelta(minutes=1)
ENDED = {"pid": 4711, "role": "web", "application": HOSTILE, "state": "idle in transaction", "idle_seconds": 90.5}


@pytest.fixture
def default(console_db: str) -> str:
    demo.load("default", rows=20, tenants=3)
    targets.sync()
    return "default"


@pytest.fixture
def olga(default: str) -> User:
    return User.objects.create_superuser("olga")


@pytest.fixture
def operating(olga: User) -> Client:
    client = Client()
    client.force_login(olga)
    return client


def text(response: HttpResponse) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def url(suffix: str = "", query: str = "mode=emergency") -> str:
    return f"{reverse(f'admin:memops_console_target_rollback{suffix}', args=['default'])}?{query}"


# What it is bound to


def test_every_choice_is_another_digest(default):
    digests = {plan_rollback(default, end_idle=limit).digest for limit in (None, HALF_A_MINUTE, MINUTE)}

    assert len(digests) == 3


def test_it_is_off_unless_it_is_asked_for(default):
    plan = plan_rollback(default)

    assert (plan.end_idle, plan.binding["end_idle_seconds"]) == (None, None)
    assert "nobody's session is ended" in plan.idle


def test_a_run_whose_limit_the_settings_forbid_by_now_is_refused(default, olga, settings):
    run = ask_for(plan_rollback(default, emergency=True, end_idle=HALF_A_MINUTE), olga)
    settings.MEMOPS_END_IDLE_LEAST = MINUTE

    advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.outcome) == ("refused", "nothing")
    assert "from 60 to 86400" in run.error


def test_a_plan_from_before_there_was_the_choice_reads_back(default, olga):
    run = ask_for(plan_rollback(default), olga)
    for name in ("end_idle", "idle"):
        run.plan.pop(name)

    assert (run.planned().end_idle, run.planned().idle) == (None, "")


# What the plan says


def test_a_plan_that_waits_for_an_idle_transaction_says_that_another_could_have_it_ended(default):
    with holders.idle(default):
        [without] = [one.text for one in plan_rollback(default).warnings if one.code == "idle"]
        [chosen] = [one.text for one in plan_rollback(default, end_idle=MINUTE).warnings if one.code == "idle"]
    nobody = [one for one in plan_rollback(default).warnings if one.code == "idle"]

    assert "--end-idle" in without
    assert "it is ended as soon as it has been so for more than 60 s" in chosen
    assert nobody == []


def warned(alias: str, *, end_idle: timedelta | None) -> dict[str, str]:
    """What is said of the choice alone."""
    found = examination.look(alias)
    found.findings.clear()
    examination.idle_rules(found, end_idle=end_idle)
    return {finding.code: finding.text for finding in found.findings}


def test_a_plan_says_beforehand_what_its_role_may_not(target, dba, new_role):
    role = new_role("plain", "login bypassrls")
    dba.execute(f'grant select on public.django_migrations to "{role}"')
    with alias_of("plain", NAME=connections[target].settings_dict["NAME"], USER=role) as alias:
        without, off = warned(alias, end_idle=MINUTE), warned(alias, end_idle=None)
        dba.execute(f'grant pg_monitor, pg_signal_backend to "{role}"')
        granted = warned(alias, end_idle=MINUTE)

    assert "Grant it pg_monitor" in without["sees no idle sessions"]
    assert f"grant pg_signal_backend to {role}" in without["no right to end sessions"]
    assert (off, granted) == ({}, {})


# The pages


def test_the_plan_page_offers_the_choice_and_has_not_made_it(default, operating):
    page = operating.get(url())

    assert page.context["plan"].end_idle is None
    assert "Idle transactions: left alone" in text(page)
    assert '<details class="panel" id="end-idle">' in page.content.decode()
    assert "5 to 86400" in text(page)


def test_the_plan_that_is_shown_is_the_plan_of_the_choice_on_every_page(default, operating):
    page = operating.get(url(query="mode=emergency&end_idle=30"))

    assert page.context["plan"].digest == plan_rollback(default, emergency=True, end_idle=HALF_A_MINUTE).digest
    assert "idle for more than 30 s" in text(page)
    assert page.context["intent"].confirm_url == url("_confirm", "mode=emergency&end_idle=30")
    assert page.context["other_mode"].url() == url(query="mode=guided&end_idle=30")
    assert page.context["leaving_idle_alone"].url() == url()
    confirm = operating.get(page.context["intent"].confirm_url)
    assert "This plan ends sessions" in text(confirm)
    assert confirm.context["intent"].url() == url(query="mode=emergency&end_idle=30")


def test_what_is_confirmed_is_what_the_run_does(default, operating):
    address = url("_confirm", "mode=emergency&end_idle=30")
    seen = operating.get(address).context["sealed"]

    operating.post(address, {"seen": seen, "typed_name": "default", "reason": "INC-1"})

    run = Run.objects.get(kind="rollback", state="queued")
    assert run.planned().end_idle == HALF_A_MINUTE
    page = text(operating.get(run.get_absolute_url()))
    assert "idle for more than 30 s" in page


@pytest.mark.parametrize(
    ("shown", "sent"), [("", "&end_idle=30"), ("&end_idle=30", ""), ("&end_idle=30", "&end_idle=31")]
)
def test_a_form_of_another_choice_starts_nothing(default, operating, shown, sent):
    seen = operating.get(url("_confirm", f"mode=emergency{shown}")).context["sealed"]

    refused = operating.post(
        url("_confirm", f"mode=emergency{sent}"), {"seen": seen, "typed_name": "default", "reason": "INC-1"}
    )

    assert "Nothing was started" in text(refused)
    assert not Run.objects.filter(kind="rollback", state="queued").exists()


@pytest.mark.parametrize("wrong", ["4", "soon", "99999999", HOSTILE, "30&end_idle=x"])
@pytest.mark.parametrize("suffix", ["", "_confirm"])
def test_a_wrong_number_makes_no_plan_and_says_what_is_possible(default, operating, suffix, wrong):
    shown = operating.get(url(suffix, f"mode=emergency&end_idle={wrong}"))

    assert shown.status_code == 200
    assert "a whole number of seconds from 5 to 86400" in text(shown)
    assert "plan" not in shown.context
    assert "confirm-form" not in shown.content.decode()
    assert HOSTILE not in shown.content.decode()
    assert ('name="end_idle"' in shown.content.decode()) is (suffix == "")


@pytest.mark.parametrize("suffix", ["", "_confirm"])
def test_nul_as_a_number_is_a_request_that_cannot_be_read(default, operating, suffix):
    assert operating.get(url(suffix, "mode=emergency&end_idle=%00")).status_code == 400


def test_an_undo_offers_it_as_well(default, olga, operating):
    rollback = execute(plan_rollback(default, emergency=True), olga)
    address = reverse("admin:memops_console_target_undo", args=["default", rollback.pk])

    page = operating.get(f"{address}?end_idle=30")

    assert page.context["plan"].digest == plan_undo(rollback, end_idle=HALF_A_MINUTE).digest
    assert page.context["intent"].confirm_url.endswith(f"undo/{rollback.pk}/confirm/?end_idle=30")


def test_a_backup_which_waits_for_nobody_does_not_offer_it(default, operating):
    page = operating.get(reverse("admin:memops_console_target_backup", args=["default"]))

    assert 'id="end-idle"' not in page.content.decode()


def test_the_page_and_the_checklist_of_a_run_say_how_many_it_has_ended(default, olga, operating):
    run = execute(plan_rollback(default, emergency=True, end_idle=HALF_A_MINUTE), olga)
    step = run.steps.get(name="reverse")
    sessions = [ENDED | {"ended": True, "result": "ended"}, ENDED | {"ended": False, "result": "left alone"}]
    Step.objects.filter(pk=step.pk).update(saw=step.saw | {"idle_sessions": sessions})

    page = operating.get(run.get_absolute_url())

    assert f"Idle sessions ended 1: pid 4711 of web ({HOSTILE}), idle for 1 min 30 s" in text(page)
    assert "1 idle session was ended to get the table" in text(page)
    assert HOSTILE not in page.content.decode()
    for name in ("change_committed", "sessions_ended"):
        said = evidence.look(run, name)
        assert said.decision == "passed"
        assert "as its plan says: 1. pid 4711 of web" in said.text


def test_the_evidence_of_a_run_that_ended_nobody_says_that(rolled_back):
    assert evidence.look(rolled_back, "sessions_ended").text == "No session was ended: its plan lets nobody be ended."
    assert "ended" not in evidence.look(rolled_back, "change_committed").text


def test_a_run_that_failed_after_it_had_ended_some_keeps_them_on_its_record(default, olga, settings):
    """Its lock budget was spent all the same: others are told that sessions were ended for nothing."""
    settings.MEMOPS_END_IDLE_LEAST, settings.MEMOPS_LOCK_BUDGET = timedelta(seconds=1), timedelta(seconds=3)
    with holders.idle(default) as idle, holders.active(default):
        run = execute(plan_rollback(default, emergency=True, end_idle=timedelta(seconds=1)), olga)

    assert run.state == "refused"
    assert [one["pid"] for one in run.ended_sessions] == [idle.pid]
    assert "ended before that, as the plan says: 1" in run.error
    assert evidence.look(run, "duration").decision == "passed"
    assert memops("run", str(run.pk)).code == 3


# The command line


def test_a_wrong_number_on_the_command_line_ends_with_2_and_starts_nothing(default, olga):
    confirmed = ("--confirm", "default", "--reason", "x")
    rollback = execute(plan_rollback(default, emergency=True), olga)
    before = Run.objects.count()

    for wrong in ("4", "soon", "-1", "1e3", "86401"):
        assert memops("plan", "rollback", f"--end-idle={wrong}").code == 2
        assert memops("rollback", f"--end-idle={wrong}", *confirmed).code == 2
        assert memops("undo", str(rollback.pk), f"--end-idle={wrong}", *confirmed).code == 2

    assert Run.objects.count() == before


def test_the_plan_on_the_command_line_is_the_plan_of_the_choice(default):
    plain = memops("plan", "rollback", "--json").data
    chosen = memops("plan", "rollback", "--end-idle", "30", "--json").data

    assert (plain["plan"]["end_idle"], chosen["plan"]["end_idle"]) == (None, 30.0)
    assert chosen["plan"]["binding"]["end_idle_seconds"] == 30.0
    assert chosen["plan"]["digest"] == plan_rollback(default, end_idle=HALF_A_MINUTE).digest
    assert "idle for more than 30 s" in memops("plan", "rollback", "--end-idle", "30").out


def test_a_rollback_on_the_command_line_says_whom_it_has_ended(default, settings):
    settings.MEMOPS_END_IDLE_LEAST = timedelta(seconds=1)
    asked = ("rollback", "--emergency", "--end-idle", "1", "--confirm", "default", "--reason", "x")
    with holders.idle(default) as other:
        done = memops(*asked, "--json")

    assert (done.code, done.data["run"]["end_idle"]) == (0, 1.0)
    [said] = done.data["run"]["ended_sessions"]
    assert (said["pid"], said["role"], said["application"]) == (other.pid, "memops_owner", "reporting")
    shown = memops("run", str(done.data["run"]["id"])).out
    assert f"pid {other.pid} of memops_owner (reporting), idle for " in shown
