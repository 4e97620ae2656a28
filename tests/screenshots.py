"""Take the screenshots of the README: ``make screenshots``.

A console of its own, with the demo's data and a real worker, is rolled back and undone in a real browser; what the
pages show is what happened.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.environment import CLONE, begin_at

HOME = CLONE / ".memops" / "screenshots"
BACKUPS = Path(tempfile.gettempdir()) / "memops" / "backups"
"""Pages show this path, and it should be nobody's in particular."""
PICTURES = CLONE / "docs" / "screenshots"
ROWS = 10_000
PASSWORD = "not kept anywhere"
LONGEST_RUN_MS = 300_000
SIGNED = {
    16: "api-1 to api-6, one after the other",
    17: "all six",
    18: "none in the last ten minutes",
    20: "INC-4711",
    21: "status page and #incidents",
}
"""What people sign of a rollback, and what they note."""


@contextmanager
def prepared() -> Iterator[str]:
    """The address of a console with demo data, on an embedded server of its own."""
    from project import embedded

    # A second time begins like the first: no run, no backup, no quarantined table.
    embedded.stop(HOME)
    shutil.rmtree(HOME, ignore_errors=True)
    begin_at(HOME)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DJANGO_ALLOW_ASYNC_UNSAFE": "true",  # Playwright's event loop runs in this thread.
        "MEMOPS_BACKUP_DIR": str(BACKUPS),
    }
    embedded.start(HOME)

    import django

    django.setup()

    from django.contrib.auth.models import Group, User
    from django.core.management import call_command

    from memops import demo
    from tests import console_process

    call_command("migrate", verbosity=0)
    demo.load("default", rows=ROWS)
    User.objects.create_superuser("operator", password=PASSWORD)
    approver = User.objects.create_user("approver", password=PASSWORD, is_staff=True)
    approver.groups.add(Group.objects.get(name="approver"))
    environment = dict(os.environ)
    try:
        with (
            console_process.web(environment, HOME / "web.log") as address,
            console_process.worker(environment, HOME / "worker.log"),
        ):
            yield address
    finally:
        shutil.rmtree(BACKUPS.parent, ignore_errors=True)


def take() -> None:
    from playwright.sync_api import Locator, Page, expect, sync_playwright

    from tests import console_process

    path = console_process.chromium()
    if path is None:
        sys.exit("Screenshots need Chromium: apt-get install chromium.")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with prepared() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(console_process.CHROMIUM_ARGUMENTS))
        page = browser.new_page(viewport={"width": 1200, "height": 800}, color_scheme="light")

        def picture(name: str, of: Page | Locator = page, *, whole: bool = False) -> None:
            of.screenshot(path=PICTURES / f"{name}.png", **({"full_page": True} if whole else {}))
            print(f"docs/screenshots/{name}.png")

        def confirm(reason: str) -> None:
            page.get_by_role("link", name=re.compile("confirm|Go on|Continue", re.IGNORECASE)).first.click()
            page.get_by_label("Type the target's name").fill("default")
            page.get_by_label("Reason").fill(reason)

        def sign_in(as_whom: Page, name: str) -> None:
            as_whom.goto(address)
            as_whom.get_by_label("Username").fill(name)
            as_whom.get_by_label("Password").fill(PASSWORD)
            as_whom.get_by_role("button", name=re.compile("Sign in|Log in")).click()
            as_whom.wait_for_url("**/admin/")

        def approved(comment: str, *, shown: bool = False) -> None:
            """Somebody else agrees to what is on the page, which offers to run it then."""
            expect(page.locator("#approvals")).to_be_visible()
            other.goto(page.url)
            other.get_by_label("Comment").fill(comment)
            if shown:
                picture("approve", other)
            other.locator("#run-approve").click()
            expect(page.locator("#run-start")).to_be_visible()
            if shown:
                picture("approved")
            page.locator("#run-start").click()

        other = browser.new_context(color_scheme="light", viewport={"width": 1200, "height": 800}).new_page()
        sign_in(other, "approver")
        sign_in(page, "operator")
        picture("start")
        page.locator("#default-rollback").click()
        picture("plan")
        confirm("INC-4711: recall is broken since the last deploy")
        picture("confirm", whole=True)
        page.locator("#confirm-submit").click()
        approved("I have read the plan and the SQL.", shown=True)
        expect(page.locator("#run-steps")).to_contain_text("Prove the backup")
        expect(page.locator("#run-steps [role=progressbar], #run-steps progress").first).to_be_visible(timeout=60_000)
        picture("running")
        expect(page.locator("#proof")).to_be_visible(timeout=LONGEST_RUN_MS)
        page.evaluate("scrollTo(0, 0)")
        picture("proof", whole=False)
        rollback = page.url

        dark = browser.new_context(
            storage_state=page.context.storage_state(), color_scheme="dark", viewport={"width": 1200, "height": 800}
        ).new_page()
        dark.goto(f"{address}/admin/")
        picture("start-dark", dark)
        phone = browser.new_context(
            storage_state=page.context.storage_state(), color_scheme="light", viewport={"width": 390, "height": 844}
        ).new_page()
        phone.goto(rollback)
        picture("proof-phone", phone)

        for item, note in SIGNED.items():
            page.locator(f"#item-{item}-settle > summary").click()
            page.locator(f"#item-{item}-note").fill(note)
            page.locator(f"#item-{item}-settle").get_by_role("button", name="Sign", exact=True).click()
            expect(page.locator(f"#item-{item}")).to_have_attribute("data-state", "signed")
        page.evaluate("document.querySelectorAll('#checklist h3')[3].scrollIntoView()")
        picture("checklist")
        page.locator("#close-note").fill("Recall answers again.")
        page.locator("#run-close").click()
        expect(page.locator("#checklist-standing")).to_contain_text("Closed")
        page.evaluate("scrollTo(0, 0)")

        page.locator("#run-undo").click()
        confirm("INC-4711: it was the application; the table is good")
        page.locator("#confirm-submit").click()
        approved("The table is good.")
        expect(page.locator("#run-outcome")).to_have_text("Table moved back", timeout=LONGEST_RUN_MS)
        picture("undone")

        page.goto(f"{address}/admin/memops_console/backup/")
        page.locator("#result_list tbody a").first.click()
        page.get_by_role("link", name="Restore…").click()
        page.get_by_label("Merge by id").check()
        page.locator("#restore-choice-plan").click()
        page.locator("#end-idle summary").click()
        page.get_by_label("End those that have been idle for more than").fill("30")
        page.locator("#end-idle-plan").click()
        picture("restore")
        picture("idle-transactions", page.locator("#end-idle"))
        confirm("INC-4712: a customer's import has overwritten memories")
        page.locator("#confirm-submit").click()
        approved("Merge is what we want: nothing that was written since is lost.")
        expect(page.locator("#run-outcome")).to_have_text("Table restored from a backup", timeout=LONGEST_RUN_MS)
        picture("restored")
        page.goto(f"{address}/admin/memops_console/quarantinedtable/")
        page.locator("#result_list tbody a").first.click()
        picture("quarantined")

        page.goto(f"{address}/admin/memops_console/run/")
        picture("history")
        page.goto(f"{address}/admin/memops_console/auditevent/")
        picture("audit")
        browser.close()


if __name__ == "__main__":
    take()
