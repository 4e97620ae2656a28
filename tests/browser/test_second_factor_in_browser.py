"""A person sets up a second factor, is asked for its code the next time, and uses a recovery code when it is lost."""

import base64
import re
import time

import pytest
from django.contrib.auth.models import User
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from playwright.sync_api import Page, expect

from tests import console_process
from tests.browser.conftest import PASSWORD

INDEX = re.compile(r"/admin/$")


@pytest.fixture
def web(default, environment, tmp_path):
    """The address of a console that wants a second factor."""
    with console_process.web(environment | {"MEMOPS_SECOND_FACTOR": "required"}, tmp_path / "web.log") as address:
        yield address


@pytest.fixture
def operator(default) -> User:
    return User.objects.create_superuser("operator", password=PASSWORD)


def sign_in(page: Page, web: str) -> None:
    page.goto(f"{web}/admin/login/")
    page.get_by_label("Username").fill("operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")


def code_of(key: bytes) -> str:
    totp = TOTP(key)
    totp.time = time.time()
    return f"{totp.token():06}"


@pytest.mark.parametrize("width", [1200, 390])
def test_set_up_then_the_code_then_a_recovery_code_all_by_keyboard(web, operator, page, complaints, width):
    page.set_viewport_size({"width": width, "height": 844})
    sign_in(page, web)
    expect(page.locator("h1")).to_have_text("Set up your second factor")
    expect(page.locator("#qr svg")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    key = base64.b32decode(page.locator("#secret").inner_text().replace(" ", ""))

    page.get_by_label("Code", exact=True).focus()
    page.keyboard.type(code_of(key))
    page.keyboard.press("Enter")
    expect(page.locator("#recovery-codes li")).to_have_count(10)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    recovery = page.locator("#recovery-codes li").first.inner_text()
    page.locator("#codes-kept").click()
    page.wait_for_url(INDEX)

    page.get_by_role("button", name=re.compile("log out", re.IGNORECASE)).click()
    TOTPDevice.objects.update(last_t=0)
    sign_in(page, web)
    expect(page.locator("h1")).to_have_text("Type your code")
    page.keyboard.type(code_of(key))  # The field has the focus.
    page.keyboard.press("Enter")
    page.wait_for_url(INDEX)

    page.get_by_role("button", name=re.compile("log out", re.IGNORECASE)).click()
    sign_in(page, web)
    expect(page.locator("h1")).to_have_text("Type your code")
    page.keyboard.type(recovery)
    page.keyboard.press("Enter")
    page.wait_for_url(INDEX)
    page.get_by_role("link", name="Second factor").click()
    expect(page.locator("#content")).to_contain_text("9 recovery codes left")
    assert complaints == []
