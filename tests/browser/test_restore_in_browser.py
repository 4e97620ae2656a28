"""A restore from the backup's page: the choice of what becomes of the rows, the confirmation, the run and its proof."""

from playwright.sync_api import expect

from memops.console.runs import targets
from tests.postgres.people import person, verified_backup


def test_a_restore_is_chosen_confirmed_followed_and_proved(console, signed_in, complaints, settings):
    settings.MEMOPS_APPROVALS = []
    targets.sync()
    backup = verified_backup(person("rita", "requester"))
    page = signed_in

    page.goto(f"{console}{backup.get_absolute_url()}")
    page.locator(f"#backup-restore-{backup.pk}").click()
    expect(page.locator("#refusals")).to_contain_text("Say what becomes of them")
    page.get_by_label("Merge by id").check()
    page.locator("#restore-choice-plan").click()
    expect(page.locator("#warnings")).to_contain_text("The table that stands goes to quarantine")
    expect(page.locator("#plan-standing")).to_contain_text("0 written since the backup was taken")
    page.locator("#end-idle summary").click()
    page.get_by_label("End those that have been idle for more than").fill("30")
    page.locator("#end-idle-plan").click()
    expect(page.get_by_label("Merge by id")).to_be_checked()

    page.locator("#continue").click()
    page.get_by_label("Type the target's name").fill("default")
    page.get_by_label("Reason").fill("INC-4712")
    page.locator("#confirm-submit").click()
    page.wait_for_url("**/run/*/change/")
    expect(page.locator("#run-outcome")).to_have_text("Table restored from a backup", timeout=60_000)
    expect(page.locator("#content-main")).to_contain_text("It keeps tenants apart")
    expect(page.locator("#content-main")).to_contain_text("The way back")
    assert complaints == []
