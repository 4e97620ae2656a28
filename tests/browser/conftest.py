"""A browser, and a console of the test's own with a real worker for it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Page

from memops import demo
from memops.console.runs import history
from tests import console_process

# Playwright's own event loop runs in the thread of the test, which Django would otherwise take for asynchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

PASSWORD = "correct horse battery staple"
ROWS = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = console_process.chromium() is None
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if missing:
                item.add_marker(pytest.mark.skip(reason="THERE IS NO CHROMIUM: the console is not tested in a browser"))


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    return {"executable_path": console_process.chromium(), "args": list(console_process.CHROMIUM_ARGUMENTS)}


@pytest.fixture
def default(console_db: str) -> str:
    """The alias of a target with a few hundred rows."""
    demo.load("default", rows=ROWS, tenants=5)
    history.notice("default")
    return "default"


@pytest.fixture
def web(default: str, environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of a console without a worker."""
    with console_process.web(environment, tmp_path / "web.log") as address:
        yield address


@pytest.fixture
def console(web: str, environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of a console with a real worker."""
    with console_process.worker(environment, tmp_path / "worker.log"):
        yield web


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser complains about: errors of scripts, and what the content security policy has blocked."""
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    return told


@pytest.fixture
def sign_in(web: str) -> Callable[..., Page]:
    """Signs a new person in, who is in these groups; without any, one who may do everything."""

    def signed_in(page: Page, name: str, *groups: str) -> Page:
        user = User.objects.create_user(name, password=PASSWORD, is_staff=True, is_superuser=not groups)
        user.groups.set(Group.objects.filter(name__in=groups))
        page.goto(web)
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").or_(page.get_by_role("button", name="Log in")).click()
        page.wait_for_url("**/admin/")
        return page

    return signed_in


@pytest.fixture
def signed_in(page: Page, sign_in: Callable[..., Page]) -> Page:
    """A page of somebody who may do everything."""
    return sign_in(page, "operator")
