"""A checklist is signed and a run closed in a real browser, from the page on which the run was followed."""

from playwright.sync_api import expect

from memops.console.models import Run
from memops.console.runs import checklists
from tests.browser.test_rollback_in_browser import LONGEST_RUN_MS, roll_back


def test_the_checklist_can_be_signed_and_the_run_closed_without_a_reload(console, signed_in, complaints):
    page = signed_in
    run = roll_back(page, mode="emergency")
    expect(page.locator("#checklist")).to_contain_text("When the run has ended")
    expect(page.locator("#checklist-standing")).to_contain_text("5 items open", timeout=LONGEST_RUN_MS)

    for number in (16, 17, 18, 20, 21):
        item = page.locator(f"#item-{number}")
        item.get_by_text("Sign, or not applicable…").click()
        item.get_by_label("Note").fill("looked")
        item.get_by_role("button", name="Sign").click()
        expect(item).to_contain_text("Signed by operator")
    page.locator("#run-close").click()
    expect(page.locator("#checklist-standing")).to_contain_text("Closed by operator")

    page.locator("#item-17").get_by_text("Reopen…").click()
    page.locator("#item-17").get_by_label("Why is it open again?").fill("they fail again")
    page.locator("#item-17").get_by_role("button", name="Reopen").click()
    expect(page.locator("#checklist-standing")).to_contain_text("Not closed: 1 item open")
    assert checklists.words(Run.objects.get(pk=run.pk)) == "not closed: 1 item open"
    assert complaints == []
