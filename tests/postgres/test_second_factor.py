"""Who can change something types a code beside the password, each code is good once, and nothing keeps it."""

import argparse
import base64
import io
import re
import sys
import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db.models import F
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from memops import demo
from memops.console import second_factor
from memops.console.admin import sign_in
from memops.console.commands import person as person_command
from memops.console.errors import CodesThrottled, CodeUnreadable, CodeWrong, NoSecondFactor, SecondFactorExists
from memops.console.models import AuditEvent, Run
from memops.console.runs import approvals, targets
from tests.postgres.people import ONE, PASSWORD, person, request_backup
from tests.postgres.test_audit import actions

INDEX = "/admin/"
CODE, SET_UP, CODES, OWN = (
    f"/admin/memops_console/second-factor/{page}" for page in ("code/", "set-up/", "recovery-codes/", "")
)
ROLLBACK = "/admin/memops_console/target/default/rollback/confirm/?mode=emergency"


@pytest.fixture(autouse=True)
def required(console_db, settings) -> None:
    settings.MEMOPS_SECOND_FACTOR = "required"
    demo.load("default", rows=20, tenants=3)
    targets.sync()


@pytest.fixture
def olga() -> User:
    return User.objects.create_superuser("olga", password=PASSWORD)


def signed_in(name: str = "olga") -> Client:
    client = Client()
    assert client.post(reverse("admin:login"), {"username": name, "password": PASSWORD}).status_code == 302
    return client


def code_of(key: str, *, later: timedelta = timedelta(0)) -> str:
    totp = TOTP(bytes.fromhex(key))
    totp.time = time.time() + later.total_seconds()
    return f"{totp.token():06}"


def enrol(user: User) -> tuple[str, list[str]]:
    """Gives the secret and the recovery codes. The code that it took belongs to the time step before."""
    key = second_factor.new_key()
    _, codes = second_factor.set_up(user, key=key, typed=code_of(key, later=timedelta(seconds=-30)), may_replace=True)
    return key, codes


def wrong(key: str) -> str:
    """A code that is not right now, nor soon, nor lately."""
    near = {code_of(key, later=timedelta(seconds=30 * step)) for step in range(-3, 4)}
    return next(
        code
        for code in ("000000", "111111", "222222", "333333", "444444", "555555", "666666", "777777")
        if code not in near
    )


def words(response: HttpResponse) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


@pytest.fixture
def enrolled(olga) -> tuple[str, list[str]]:
    return enrol(olga)


@pytest.fixture
def verified(enrolled) -> Client:
    """olga, after password and code."""
    client = signed_in()
    assert client.post(CODE, {"code": code_of(enrolled[0])}).status_code == 302
    return client


def let_time_pass(client: Client) -> None:
    session = client.session
    session[sign_in.PROVED_AT] = time.time() - 3600
    session.save()


def forget_throttle() -> None:
    for model in (TOTPDevice, StaticDevice):
        model.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)


class TestWhoIsAsked:
    @pytest.mark.parametrize("group", ["requester", "approver", "executor", "administrator"])
    def test_whoever_can_change_something(self, group):
        assert second_factor.is_asked_of(person("zoe", group))

    @pytest.mark.parametrize("groups", [(), ("auditor",)])
    def test_nobody_who_only_reads(self, groups):
        zoe = person("zoe", *groups, password=PASSWORD)
        assert not second_factor.is_asked_of(zoe)
        assert signed_in("zoe").get(INDEX).status_code == 200

    def test_whoever_is_given_a_single_right_from_then_on(self):
        zoe = person("zoe", "auditor", password=PASSWORD)
        client = signed_in("zoe")
        assert client.get(INDEX).status_code == 200

        zoe.user_permissions.add(Permission.objects.get(codename="break_glass_run"))

        assert client.get(INDEX).status_code == 302

    def test_whoever_has_set_one_up_without_having_to(self):
        enrol(person("zoe", "auditor", password=PASSWORD))
        assert signed_in("zoe").get(INDEX).url.startswith(CODE)

    def test_nobody_where_it_is_off(self, olga, settings):
        settings.MEMOPS_SECOND_FACTOR = "off"
        client = signed_in()
        assert client.get(INDEX).status_code == 200
        assert "Second factor" not in words(client.get(INDEX))
        assert client.get(OWN).status_code == 404


class TestBeforeTheCode:
    @pytest.mark.parametrize(
        "url", [INDEX, "/", ROLLBACK, OWN, CODES, "/admin/password_change/", "/admin/auth/user/", "/admin/nothing/"]
    )
    def test_every_page_leads_to_the_code_and_back(self, enrolled, url):
        led = signed_in().get(url)
        assert (led.status_code, led.url.split("?")[0]) == (302, CODE)

        client = signed_in()
        onwards = client.post(client.get(url).url, {"code": code_of(enrolled[0])})

        assert (onwards.status_code, onwards.url) == (302, url)

    def test_nothing_is_done_by_a_form(self, enrolled):
        client = signed_in()
        refused = client.post(ROLLBACK, {"typed_name": "default", "reason": "x"})
        assert refused.status_code == 403
        assert "Type the code of your second factor first" in words(refused)
        assert not Run.objects.filter(kind="rollback").exists()
        assert "permission.refused" in actions()

    def test_nobody_is_sent_to_another_site(self, enrolled):
        answer = signed_in().post(CODE + "?next=https://example.org/", {"code": code_of(enrolled[0])})
        assert answer.url == INDEX

    def test_the_session_gets_another_key_with_the_code(self, enrolled):
        client = signed_in()
        before = client.session.session_key
        client.post(CODE, {"code": code_of(enrolled[0])})
        assert client.session.session_key != before

    def test_the_password_alone_puts_no_other_device_in_place(self, olga, enrolled):
        client = signed_in()
        assert client.get(SET_UP).url.startswith(CODE)
        assert client.post(SET_UP, {"code": "123456"}).url.startswith(CODE)
        key = second_factor.new_key()
        with pytest.raises(SecondFactorExists):
            second_factor.set_up(olga, key=key, typed=code_of(key), may_replace=False)
        assert TOTPDevice.objects.get().key == enrolled[0]


class TestSettingUp:
    def secret(self, page: HttpResponse) -> str:
        typed = re.search(r'id="secret"[^>]*>([A-Z2-7 ]+)<', page.content.decode())[1].replace(" ", "")
        return base64.b32decode(typed).hex()

    def test_a_code_of_the_new_device_sets_it_up_and_shows_recovery_codes_once(self, olga):
        client = signed_in()
        page = client.get(client.get(INDEX).url, follow=True)
        assert "<svg" in page.content.decode()
        assert "style=" not in re.search(r"<svg.*?</svg>", page.content.decode(), re.DOTALL)[0]
        assert not TOTPDevice.objects.exists()

        done = client.post(SET_UP, {"code": code_of(self.secret(page))})

        codes = re.findall(r"<code>((?:[a-z2-7]{4}-){3}[a-z2-7]{4})</code>", done.content.decode())
        assert len(set(codes)) == second_factor.RECOVERY_CODES
        assert "no-store" in done["Cache-Control"]
        assert client.get(INDEX).status_code == 200
        assert codes[0] not in client.get(OWN).content.decode()
        assert "second_factor.set_up" in actions(actor="olga")
        again = client.post(SET_UP, {"code": code_of(self.secret(page))}, follow=True)
        assert codes[0] not in again.content.decode()
        assert TOTPDevice.objects.count() == 1

    def test_a_wrong_code_sets_nothing_up_and_keeps_the_picture(self, olga):
        client = signed_in()
        key = self.secret(client.get(SET_UP))

        refused = client.post(SET_UP, {"code": wrong(key)})

        assert "Nothing was set up" in words(refused)
        assert self.secret(refused) == key
        assert not TOTPDevice.objects.exists()
        assert client.get(INDEX).status_code == 302

    def test_the_code_that_set_it_up_lets_nobody_in_again(self, olga):
        key = second_factor.new_key()
        code = code_of(key)
        second_factor.set_up(olga, key=key, typed=code, may_replace=False)
        with pytest.raises(CodeWrong):
            second_factor.verify(olga, code)

    def test_another_device_takes_its_place_and_ends_every_other_session(self, verified, enrolled, olga):
        old_key, _ = enrolled
        TOTPDevice.objects.update(last_t=F("last_t") - 5)
        elsewhere = signed_in()
        elsewhere.post(CODE, {"code": code_of(old_key)})
        assert elsewhere.get(INDEX).status_code == 200

        verified.post(SET_UP, {"code": code_of(self.secret(verified.get(SET_UP)))})

        assert verified.get(INDEX).status_code == 200
        assert elsewhere.get(INDEX).status_code == 302
        assert TOTPDevice.objects.get(user=olga).key != old_key


class TestCodes:
    def test_the_same_code_does_not_let_in_twice(self, olga, enrolled):
        code = code_of(enrolled[0])
        second_factor.verify(olga, code)
        with pytest.raises(CodeWrong, match="used already"):
            second_factor.verify(olga, code)

    def test_a_recovery_code_lets_in_once_however_it_is_typed(self, enrolled):
        _, codes = enrolled
        assert signed_in().post(CODE, {"code": codes[0].upper().replace("-", " ")}).url == INDEX
        assert "second_factor.recovery_code_used" in actions()
        refused = signed_in().post(CODE, {"code": codes[0]})
        assert "wrong, or was used already" in words(refused)
        assert StaticToken.objects.count() == second_factor.RECOVERY_CODES - 1

    def test_a_recovery_code_is_its_owners_alone(self, enrolled):
        omar = person("omar", "approver")
        enrol(omar)
        with pytest.raises(CodeWrong):
            second_factor.verify(omar, enrolled[1][0])

    def test_new_recovery_codes_make_the_old_ones_void(self, verified, enrolled, olga):
        assert verified.get(CODES).status_code == 200
        assert StaticToken.objects.count() == second_factor.RECOVERY_CODES

        done = verified.post(CODES)

        new = re.findall(r"<code>((?:[a-z2-7]{4}-){3}[a-z2-7]{4})</code>", done.content.decode())
        with pytest.raises(CodeWrong):
            second_factor.verify(olga, enrolled[1][1])
        forget_throttle()
        second_factor.verify(olga, new[0])
        assert verified.get(INDEX).status_code == 200

    def test_wrong_codes_are_counted_and_slow_down_even_the_right_one(self, olga, enrolled):
        for _ in range(3):
            TOTPDevice.objects.update(throttling_failure_timestamp=None)
            with pytest.raises(CodeWrong):
                second_factor.verify(olga, wrong(enrolled[0]))
        with pytest.raises(CodesThrottled, match="3 wrong codes"):
            second_factor.verify(olga, code_of(enrolled[0]))
        assert [name for name in actions(actor="olga") if name == "second_factor.wrong"] == ["second_factor.wrong"] * 3

        TOTPDevice.objects.update(throttling_failure_timestamp=F("throttling_failure_timestamp") - timedelta(seconds=5))

        second_factor.verify(olga, code_of(enrolled[0]))

    @pytest.mark.parametrize("typed", ["", "12345", "1234567", "\uff11" * 6, "abcdef", "a" * 17, "'; --"])
    def test_what_is_no_code_is_said_and_not_counted(self, olga, enrolled, typed):
        with pytest.raises(CodeUnreadable):
            second_factor.verify(olga, typed)
        assert TOTPDevice.objects.get().throttling_failure_count == 0

    def test_neither_secret_nor_code_is_kept_or_told(self, verified, enrolled, olga, caplog):
        key, codes = enrolled
        with pytest.raises(CodeWrong):
            second_factor.verify(olga, wrong(key))
        kept = str(list(AuditEvent.objects.values())) + caplog.text + str(list(StaticToken.objects.values()))
        for secret in (key, second_factor.typeable(key), second_factor.typeable(key).replace(" ", ""), *codes):
            assert secret not in kept
            assert secret.replace("-", "") not in kept.lower()


class TestProvingAgain:
    def confirm(self, client: Client, **typed: str) -> HttpResponse:
        opened = client.get(ROLLBACK)
        filled = {"seen": opened.context["sealed"], "typed_name": "default", "reason": "incident 7"}
        return client.post(ROLLBACK, filled | typed)

    @pytest.fixture
    def stale(self, verified) -> Client:
        let_time_pass(verified)
        TOTPDevice.objects.update(last_t=F("last_t") - 5)
        return verified

    def test_password_and_code_start_it(self, stale, enrolled):
        assert 'name="code"' in stale.get(ROLLBACK).content.decode()
        assert self.confirm(stale, password=PASSWORD, code=code_of(enrolled[0])).status_code == 302
        assert Run.objects.filter(kind="rollback").count() == 1

    def test_neither_alone_does(self, stale, enrolled):
        for typed in (
            {"password": PASSWORD},
            {"code": code_of(enrolled[0])},
            {"password": PASSWORD, "code": wrong(enrolled[0])},
        ):
            answer = self.confirm(stale, **typed)
            assert "Nothing was started" in words(answer)
            assert typed["code"] not in answer.content.decode() if "code" in typed else True
        assert not Run.objects.filter(kind="rollback").exists()

    def test_no_code_is_used_up_before_the_password_is_right(self, stale, enrolled):
        code = code_of(enrolled[0])
        self.confirm(stale, password="wrong", code=code)
        assert self.confirm(stale, password=PASSWORD, code=code).status_code == 302

    def test_a_proof_is_not_asked_for_twice_because_of_another_mistake(self, stale, enrolled):
        answer = self.confirm(stale, password=PASSWORD, code=code_of(enrolled[0]), typed_name="production")
        assert answer.status_code == 200
        assert 'name="code"' not in answer.content.decode()
        assert self.confirm(stale).status_code == 302

    def test_wrong_passwords_here_shut_out_as_they_do_at_the_sign_in(self, stale):
        answers = [self.confirm(stale, password="wrong") for _ in range(5)]
        assert answers[-1].status_code == 429

    def test_an_approved_run_is_started_with_both(self, stale, enrolled, settings):
        settings.MEMOPS_APPROVALS = ONE
        rita, ann = person("rita", "requester"), person("ann", "approver")
        run = request_backup(rita)
        approvals.approve(run, by=ann)
        start = reverse("admin:memops_console_run_start", args=[run.pk])
        assert 'id="start-code"' in stale.get(run.get_absolute_url()).content.decode()

        refused = stale.post(start, {"password": PASSWORD, "code": wrong(enrolled[0])}, follow=True)
        run.refresh_from_db()
        assert ("That code is wrong" in words(refused), run.state) == (True, "awaiting")

        forget_throttle()
        stale.post(start, {"password": PASSWORD, "code": code_of(enrolled[0])})
        run.refresh_from_db()
        assert run.state == "queued"

    @pytest.mark.parametrize("url", [SET_UP, CODES])
    def test_what_concerns_the_factor_itself_asks_for_both_as_well(self, stale, enrolled, url):
        led = stale.get(url)
        assert led.url.startswith(CODE)
        assert stale.post(CODES).url.startswith(CODE)
        assert StaticToken.objects.count() == second_factor.RECOVERY_CODES

        assert stale.post(led.url, {"password": PASSWORD}).status_code == 200
        assert stale.post(led.url, {"password": PASSWORD, "code": code_of(enrolled[0])}).url == url


class TestRemoval:
    def page(self, user: User) -> str:
        return reverse("admin:auth_user_second_factor", args=[user.pk])

    @pytest.fixture
    def omar(self) -> User:
        omar = person("omar", "approver", password=PASSWORD)
        enrol(omar)
        return omar

    def test_an_administrator_removes_a_colleagues_on_a_page_of_its_own(self, verified, omar):
        assert "Remove it" in words(verified.get(reverse("admin:auth_user_change", args=[omar.pk])))
        chosen = {"action": "remove_second_factor", "_selected_action": [omar.pk]}
        assert verified.post(reverse("admin:auth_user_changelist"), chosen).url == self.page(omar)
        assert "Are you sure" in words(verified.get(self.page(omar)))
        assert second_factor.has_one(omar)

        verified.post(self.page(omar))

        assert not second_factor.has_one(omar)
        assert not StaticDevice.objects.filter(user=omar).exists()
        event = AuditEvent.objects.get(action="second_factor.removed")
        assert (event.actor, event.object_id) == ("olga", str(omar.pk))
        assert signed_in("omar").get(INDEX, follow=True).redirect_chain[-1][0].startswith(SET_UP)

    def test_nobody_removes_their_own(self, verified, olga):
        answer = verified.post(self.page(olga), follow=True)
        assert "Nobody removes their own second factor" in words(answer)
        assert second_factor.has_one(olga)

    def test_not_without_the_permission_nor_a_superusers(self, omar, olga, enrolled):
        key, _ = enrol(ada := person("ada", "administrator", password=PASSWORD))
        ada_in, omar_in = signed_in("ada"), signed_in("omar")
        ada_in.post(CODE, {"code": code_of(key)})
        omars = TOTPDevice.objects.get(user=omar).key
        omar_in.post(CODE, {"code": code_of(omars)})

        assert ada_in.post(self.page(olga)).status_code == 403
        assert omar_in.post(self.page(ada)).status_code == 403
        assert second_factor.has_one(olga)
        assert second_factor.has_one(ada)
        assert ada_in.post(self.page(omar)).status_code == 302
        assert not second_factor.has_one(omar)

    def test_the_pages_that_show_secrets_do_not_exist(self, verified):
        for url in ("otp_totp/totpdevice/", "otp_totp/totpdevice/add/", "otp_static/staticdevice/"):
            assert verified.get(INDEX + url).status_code == 404

    def test_whoever_has_the_machine_removes_it_by_a_command(self, olga, enrolled, capsys):
        call_command("memops", "second-factor", "olga")
        assert "10 recovery codes are left" in capsys.readouterr().out

        call_command("memops", "second-factor", "olga", "--reset")

        assert not second_factor.has_one(olga)
        assert "second_factor.removed" in actions()
        for verb in (["olga", "--reset"], ["nobody"]):
            with pytest.raises(SystemExit):
                call_command("memops", "second-factor", *verb)


class TestOnTheCommandLine:
    def sign_in(self, monkeypatch, *lines: str) -> User:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return person_command.signed_in(argparse.Namespace(person="olga", password_stdin=True))

    def test_password_and_code_are_two_lines(self, olga, enrolled, monkeypatch):
        assert self.sign_in(monkeypatch, PASSWORD, code_of(enrolled[0])) == olga

    def test_the_password_alone_is_not_enough(self, enrolled, monkeypatch):
        with pytest.raises(CodeUnreadable):
            self.sign_in(monkeypatch, PASSWORD)
        with pytest.raises(CodeWrong):
            self.sign_in(monkeypatch, PASSWORD, wrong(enrolled[0]))

    def test_who_has_to_have_one_and_has_none_is_told(self, olga, monkeypatch):
        with pytest.raises(NoSecondFactor, match="next sign-in"):
            self.sign_in(monkeypatch, PASSWORD)

    def test_where_it_is_off_the_password_is_enough(self, olga, settings, monkeypatch):
        settings.MEMOPS_SECOND_FACTOR = "off"
        assert self.sign_in(monkeypatch, PASSWORD) == olga
