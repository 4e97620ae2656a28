"""The choice to have idle transactions ended: made on the plan, read on the confirmation, kept on the run."""

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from memops.console.models import Run

WIDE, PHONE = {"width": 1200, "height": 800}, {"width": 390, "height": 844}


@pytest.mark.parametrize(("scripts", "viewport", "scheme"), [(True, WIDE, "light"), (False, PHONE, "dark")])
def test_the_choice_goes_from_the_plan_over_the_confirmation_to_the_run(
    web, signed_in, browser, scripts, viewport, scheme
):
    state = signed_in.context.storage_state()
    context = browser.new_context(
        java_script_enabled=scripts, storage_state=state, viewport=viewport, color_scheme=scheme
    )
    page = context.new_page()

    def fits() -> bool:
        return page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]

    page.goto(f"{web}/admin/memops_console/target/default/rollback/?mode=guided")
    expect(page.locator("#plan-idle")).to_contain_text("nobody's session is ended")
    page.locator("#end-idle summary").click()
    page.get_by_label("End those that have been idle for more than").fill("2")
    page.locator("#end-idle-plan").click()
    expect(page.locator("#refusals")).to_contain_text("a whole number of seconds from 5 to 86400")
    expect(page.locator("#end-idle-seconds")).to_have_attribute("aria-invalid", "true")
    assert fits()

    page.get_by_label("End those that have been idle for more than").fill("30")
    page.locator("#end-idle-plan").click()
    expect(page.locator("#plan-idle")).to_contain_text("idle for more than 30 s")
    expect(page.locator("#end-idle-off")).to_be_visible()
    assert fits()

    page.locator("#continue").click()
    expect(page.locator("#ends-sessions")).to_contain_text("This plan ends sessions")
    assert fits()
    page.get_by_label("Type the target's name").fill("default")
    page.get_by_label("Reason").fill("INC-1: somebody has left a transaction open")
    page.locator("#confirm-submit").click()
    expect(page.locator("#run-state")).to_be_visible()
    page.locator("#run-plan summary").click()
    expect(page.locator("#run-idle")).to_contain_text("idle for more than 30 s")
    assert Run.objects.latest("pk").planned().end_idle == timedelta(seconds=30)
    context.close()
