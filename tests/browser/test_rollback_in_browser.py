"""The way of an on-call engineer through the console: from the start page to a proved rollback, and back."""

import re

import pytest
from playwright.sync_api import Page, expect

from memops.console.models import Run
from tests.prints import print_of

LONGEST_RUN_MS = 60_000


def confirm(page: Page, *, target: str = "default", reason: str = "INC-1: the vector index is broken") -> None:
    page.get_by_label("Type the target's name").fill(target)
    page.get_by_label("Reason").fill(reason)
    page.locator("#confirm-submit").click()


def roll_back(page: Page, mode: str = "guided") -> Run:
    """From any page to a run that is queued."""
    page.goto(page.url.split("/admin/")[0] + "/admin/memops_console/target/default/rollback/?mode=" + mode)
    page.get_by_role("link", name=re.compile("confirm|Go on|Continue", re.IGNORECASE)).first.click()
    confirm(page)
    page.wait_for_url(re.compile(r"/run/\d+/"))
    return Run.objects.latest("pk")


def test_plan_confirm_follow_prove_and_undo(console, signed_in, complaints):
    page, before = signed_in, print_of()

    page.locator("#default-rollback").click()
    expect(page.locator("h1")).to_contain_text("Plan")
    expect(page.locator("body")).to_contain_text("This page only reads")
    expect(page.locator("body")).to_contain_text("300 rows")
    page.get_by_role("link", name=re.compile("confirm|Go on|Continue", re.IGNORECASE)).first.click()
    confirm(page)
    page.wait_for_url(re.compile(r"/run/\d+/"))
    steps = page.locator("#run-steps > li")
    expect(steps).to_have_count(7)
    expect(page.locator("#proof")).to_be_visible(timeout=LONGEST_RUN_MS)
    expect(page.locator("#run-outcome")).to_have_text("Table moved to quarantine")
    expect(page).to_have_title(re.compile("Done"))

    rollback = Run.objects.latest("pk")
    table = rollback.quarantined_table
    assert print_of(table.relation) == before == table.backup.fingerprint
    expect(page.locator("#proof")).to_contain_text(before)

    page.locator("#run-undo").click()
    page.get_by_role("link", name=re.compile("confirm|Go on|Continue", re.IGNORECASE)).first.click()
    confirm(page, reason="INC-1: it was the application")
    expect(page.locator("#run-outcome")).to_have_text("Table moved back", timeout=LONGEST_RUN_MS)
    assert print_of() == before
    assert complaints == []


def test_a_name_that_is_typed_wrong_starts_nothing(web, signed_in):
    page = signed_in
    page.goto(f"{web}/admin/memops_console/target/default/rollback/confirm/?mode=guided")

    confirm(page, target="production")

    expect(page.locator("body")).to_contain_text("Nothing was started")
    assert not Run.objects.filter(kind="rollback").exists()


def test_without_a_worker_the_page_says_so_and_the_run_can_be_cancelled(web, signed_in):
    page = signed_in
    run = roll_back(page, "emergency")

    expect(page.locator("body")).to_contain_text(re.compile("no worker", re.IGNORECASE), timeout=10_000)
    page.locator("#run-cancel").click()

    expect(page.locator("#run-state")).to_contain_text("Cancelled")
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_the_run_page_works_without_scripts(console, signed_in, browser):
    context = browser.new_context(java_script_enabled=False, storage_state=signed_in.context.storage_state())
    page = context.new_page()
    page.goto(f"{console}/admin/")

    run = roll_back(page, "emergency")
    for _ in range(60):
        run.refresh_from_db()
        if not run.is_active:
            break
        page.wait_for_timeout(500)
    page.goto(f"{console}{run.get_absolute_url()}")

    expect(page.locator("#proof")).to_be_visible()
    context.close()


def test_everything_can_be_done_by_keyboard(console, signed_in):
    page = signed_in
    page.goto(f"{console}/admin/memops_console/target/default/rollback/confirm/?mode=emergency")
    page.get_by_label("Type the target's name").focus()

    page.keyboard.type("default")
    page.keyboard.press("Tab")
    page.keyboard.type("INC-2: by keyboard")
    page.keyboard.press("Tab")
    expect(page.locator("#window summary")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    page.wait_for_url(re.compile(r"/run/\d+/"))
    expect(page.locator("#proof")).to_be_visible(timeout=LONGEST_RUN_MS)


@pytest.mark.parametrize(
    "path", ["", "target/default/change/", "target/default/rollback/?mode=guided", "run/", "queue/"]
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone(web, signed_in, complaints, path, scheme):
    page = signed_in
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})

    page.goto(f"{web}/admin/memops_console/{path}" if path else f"{web}/admin/")

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.querySelectorAll('.results')].every(one => one.scrollWidth <= one.clientWidth)")
    assert complaints == []


def test_the_pages_of_the_queue_that_execute_code_do_not_exist(web, signed_in):
    response = signed_in.goto(f"{web}/admin/django_q/schedule/add/")

    assert response.status == 404


@pytest.fixture
def one_approval(environment: dict[str, str]) -> None:
    environment["MEMOPS_APPROVALS"] = "*/*=1"


def test_one_asks_another_approves_and_the_first_one_runs_it(
    one_approval, console, signed_in, browser, sign_in, complaints
):
    asking = signed_in
    run = roll_back(asking, "emergency")
    expect(asking.locator("#approvals")).to_contain_text("0 of 1 approval")
    expect(asking.locator("#run-start")).to_have_count(0)

    approving = sign_in(browser.new_context().new_page(), "ann", "approver")
    approving.locator("#awaiting a").click()
    expect(approving.locator("#run-plan")).to_have_attribute("open", "")
    approving.get_by_label("Comment").fill("I read the SQL.")
    approving.locator("#run-approve").click()
    expect(approving.locator("#decisions")).to_contain_text("I read the SQL.")

    # Without a reload: the page notices.
    asking.locator("#run-start").click()
    expect(asking.locator("#run-outcome")).to_have_text("Table moved to quarantine", timeout=LONGEST_RUN_MS)
    expect(approving.locator("#run-outcome")).to_have_text("Table moved to quarantine", timeout=LONGEST_RUN_MS)
    run.refresh_from_db()
    assert run.starter_name == "operator"
    assert complaints == []
