"""Who guesses a password is shut out, and who moves a table has proved lately who they are."""

import time
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.db.models import F
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse

from memops import demo
from memops.console.admin import sign_in
from memops.console.models import Run
from memops.console.runs import targets

RIGHT, WRONG = "correct horse battery", "incorrect horse"
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
ROLLBACK = "/admin/memops_console/target/default/rollback/confirm/?mode=emergency"
BACKUP = "/admin/memops_console/target/default/backup/confirm/"


@pytest.fixture
def olga(console_db: str) -> User:
    demo.load("default", rows=20, tenants=3)
    targets.sync()
    return User.objects.create_superuser("olga", password=RIGHT)


def try_password(password: str, *, name: str = "olga", address: str = HERE) -> HttpResponse:
    return Client(REMOTE_ADDR=address).post(reverse("admin:login"), {"username": name, "password": password})


def is_let_in(response: HttpResponse) -> bool:
    return response.status_code == 302


@pytest.fixture
def shut_out(olga: User) -> HttpResponse:
    """Five wrong passwords for olga, from one address. Gives the last answer."""
    return [try_password(WRONG) for _ in range(5)][-1]


@pytest.fixture
def browser(olga: User) -> Client:
    client = Client(REMOTE_ADDR=HERE)
    assert is_let_in(client.post(reverse("admin:login"), {"username": "olga", "password": RIGHT}))
    return client


def let_time_pass(browser: Client, **passed: float) -> None:
    session = browser.session
    session[sign_in.PROVED_AT] = time.time() - timedelta(**passed).total_seconds()
    session.save()


def confirm(browser: Client, url: str = ROLLBACK, **typed: str) -> HttpResponse:
    opened = browser.get(url)
    filled = {"seen": opened.context["sealed"], "typed_name": "default", "reason": "incident 7"}
    return browser.post(url, filled | typed)


class TestGuessing:
    def test_the_right_password_lets_in(self, olga):
        assert is_let_in(try_password(RIGHT))

    def test_after_five_wrong_ones_not_even_the_right_one_is_accepted(self, shut_out):
        assert shut_out.status_code == 429
        assert "Too many wrong passwords" in shut_out.content.decode()
        assert not is_let_in(try_password(RIGHT))

    def test_nobody_can_shut_out_the_person_on_call_from_elsewhere(self, shut_out):
        assert is_let_in(try_password(RIGHT, address=ELSEWHERE))

    def test_others_at_the_same_address_are_let_in(self, shut_out):
        User.objects.create_superuser("omar", password=RIGHT)

        assert is_let_in(try_password(RIGHT, name="omar"))

    def test_after_ten_minutes_it_is_over(self, shut_out):
        AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=10, seconds=1))

        assert is_let_in(try_password(RIGHT))

    def test_a_right_password_ends_the_count(self, olga):
        for _ in range(3):
            for _ in range(4):
                try_password(WRONG)
            assert is_let_in(try_password(RIGHT))

    def test_a_password_that_is_typed_as_a_name_is_counted_but_not_kept(self, olga):
        answers = [try_password("x", name=RIGHT) for _ in range(5)]

        assert answers[-1].status_code == 429
        assert RIGHT not in str(list(AccessAttempt.objects.values()))

    def test_nothing_keeps_the_passwords_that_were_tried(self, shut_out, caplog):
        kept = str(list(AccessAttempt.objects.values()))

        assert WRONG not in kept + caplog.text


class TestProvingAgain:
    def test_whoever_has_just_signed_in_is_not_asked(self, browser):
        assert "confirm-password" not in browser.get(ROLLBACK).content.decode()
        assert confirm(browser).status_code == 302

    @pytest.mark.parametrize("typed", [{}, {"password": ""}, {"password": WRONG}, {"password": RIGHT + " "}])
    def test_after_ten_minutes_nothing_starts_without_the_password(self, browser, typed):
        let_time_pass(browser, minutes=10, seconds=1)

        answer = confirm(browser, **typed)

        assert 'id="confirm-password"' in answer.content.decode()
        assert "Nothing was started." in answer.content.decode()
        assert WRONG not in answer.content.decode()
        assert not Run.objects.filter(kind="rollback").exists()

    def test_the_password_starts_it_and_is_not_asked_for_again(self, browser):
        let_time_pass(browser, hours=1)

        assert confirm(browser, password=RIGHT).status_code == 302
        assert Run.objects.filter(kind="rollback", requester__username="olga").count() == 1
        assert sign_in.PROVED_AT in browser.session
        assert browser.session[sign_in.PROVED_AT] > time.time() - 60

    def test_a_form_that_was_opened_in_time_and_sent_too_late_asks(self, browser):
        opened = browser.get(ROLLBACK)
        let_time_pass(browser, minutes=11)

        answer = browser.post(
            ROLLBACK, {"seen": opened.context["sealed"], "typed_name": "default", "reason": "incident 7"}
        )

        assert 'id="confirm-password"' in answer.content.decode()
        assert not Run.objects.filter(kind="rollback").exists()

    def test_the_password_of_somebody_else_is_not_enough(self, browser):
        User.objects.create_superuser("omar", password="another " + RIGHT)
        let_time_pass(browser, minutes=11)

        confirm(browser, password="another " + RIGHT)

        assert not Run.objects.filter(kind="rollback").exists()

    def test_guessing_here_counts_as_it_does_at_the_sign_in(self, browser):
        let_time_pass(browser, minutes=11)

        answers = [confirm(browser, password=WRONG) for _ in range(5)]

        assert answers[-1].status_code == 429
        assert not is_let_in(try_password(RIGHT))

    def test_a_clock_that_went_back_proves_nothing(self, browser):
        let_time_pass(browser, minutes=-5)

        confirm(browser)

        assert not Run.objects.filter(kind="rollback").exists()

    def test_what_changes_no_table_asks_for_no_password(self, browser):
        let_time_pass(browser, hours=1)

        assert confirm(browser, BACKUP).status_code == 302


@pytest.mark.parametrize(
    ("trusted", "forwarded", "address"),
    [
        (False, "198.51.100.7", HERE),
        (True, "198.51.100.7", "198.51.100.7"),
        (True, "10.0.0.1, 198.51.100.7", "198.51.100.7"),
        (True, "", HERE),
        (True, "198.51.100.7, <script>", HERE),
        (True, "2001:db8::1", "2001:db8::1"),
    ],
)
def test_an_address_is_believed_from_a_trusted_proxy_alone(settings, trusted, forwarded, address):
    settings.MEMOPS_TRUST_PROXY = trusted
    request = RequestFactory().get("/", headers={"x-forwarded-for": forwarded}, REMOTE_ADDR=HERE)

    assert sign_in.client_address(request) == address
