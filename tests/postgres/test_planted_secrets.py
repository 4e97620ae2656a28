"""Recognisable secrets are planted everywhere, everything is used in real processes, and none of them is found again.

Not in a log, an answer, an error page, the records, the audit trail and its export, or a backup's manifest.
"""

import base64
import http.client
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from memops import demo
from memops.console import second_factor
from memops.console.models import Run
from memops.console.runs import history
from project import embedded
from tests import console_process
from tests.environment import CLONE
from tests.postgres.people import person

PLANTED = "planted7"
"""Part of every secret that is a text: whatever shows a piece of one is found, too."""

PASSWORD = f"{PLANTED}-olgas-password"
TENANT_TEXT = f"{PLANTED} what a tenant has told nobody else"
KEYS = {
    name: bytes([number, *range(200, 231)])
    for number, name in enumerate(("MEMORY_TENANT_HMAC_KEY", "MEMORY_ENCRYPTION_KEY", "MEMOPS_AUDIT_KEY"), start=1)
}
NOT_SEARCHED = ("django_session", "otp_static_%", "otp_totp_%", "memory_chunks%")
"""Where a secret belongs: sessions, the devices' own tables, and the tenants' rows."""


def forms_of(key: bytes) -> set[str]:
    return {base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode(), key.hex(), repr(key)[2:-1]}


@dataclass
class Haystack:
    """All that was said, and by whom."""

    said: dict[str, str] = field(default_factory=dict)
    needles: set[str] = field(default_factory=lambda: {PLANTED})

    def add(self, where: str, text: str) -> None:
        self.said[where] = self.said.get(where, "") + text

    def found(self) -> list[str]:
        return [
            f"{where}: …{text[max(0, text.find(needle) - 60) : text.find(needle) + 60]}…"
            for where, text in self.said.items()
            for needle in self.needles
            if needle in text
        ]


@dataclass
class Browser:
    """Someone at the console, as behind a proxy that speaks HTTPS."""

    address: str
    haystack: Haystack
    cookies: dict[str, str] = field(default_factory=dict)
    page: str = ""

    def ask(self, method: str, url: str, data: dict[str, str] | None = None) -> int:
        body = urlencode(data) if data is not None else None
        sent = {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "X-Forwarded-Proto": "https",
            "Referer": f"https://{urlsplit(self.address).netloc}/",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        link = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=60)
        link.request(method, url, body, sent)
        answer = link.getresponse()
        self.page = answer.read().decode()
        for header in answer.headers.get_all("Set-Cookie", []):
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(header).items()}
        self.haystack.needles |= {value for value in self.cookies.values() if len(value) > 20}
        said = "".join(f"{name}: {value}\n" for name, value in answer.headers.items() if name != "Set-Cookie")
        # Whoever types a password where names go sees it there, and in the same place of the answer.
        shown = self.page.replace(f'name="username" value="{(data or {}).get("username")}"', "")
        self.haystack.add(f"{method} {url} ({answer.status})", said + shown)
        link.close()
        return answer.status

    def send(self, url: str, data: dict[str, str]) -> int:
        """Open a page, and send its form."""
        self.ask("GET", url)
        hidden = dict(re.findall(r'<input type="hidden" name="(csrfmiddlewaretoken|seen)" value="([^"]*)"', self.page))
        return self.ask("POST", url, hidden | data)


@pytest.fixture
def key(console_db) -> str:
    """The secret of olga's device, and her recovery codes; she may do everything. And rows with a tenant's text."""
    demo.load("default", rows=20, tenants=3)
    with connection.cursor() as cursor:
        cursor.execute("update public.memory_chunks set text_plain = %s, source = 'notes'", [TENANT_TEXT])
    history.notice("default")
    olga = User.objects.create_superuser("olga", password=PASSWORD)
    olga.groups.set(person("ann", "approver", "requester").groups.all())
    key = second_factor.new_key()
    _, codes = second_factor.set_up(olga, key=key, typed=code_of(key, step=-1), may_replace=True)
    return f"{key} {' '.join(codes)}"


def code_of(key: str, *, step: int = 0) -> str:
    totp = TOTP(bytes.fromhex(key))
    totp.time = time.time() + 30 * step
    return f"{totp.token():06}"


def next_code(key: str) -> str:
    """As if half a minute had gone by since the last one."""
    TOTPDevice.objects.update(last_t=0, throttling_failure_count=0, throttling_failure_timestamp=None)
    return code_of(key)


@pytest.fixture(params=["development", "deployment"])
def planted(request, environment, tmp_path) -> dict[str, str]:
    """The environment of the processes. The embedded server lets its socket's users in whatever their password is."""
    nowhere = f"/memories?host={tmp_path}/nowhere"
    more = {
        "MEMOPS_MODE": request.param,
        "MEMOPS_SECOND_FACTOR": "required",
        "MEMOPS_APPROVALS": "*/rollback=1,*/undo=0",
        "MEMOPS_TRUST_PROXY": "1",
        "ALLOWED_HOSTS": "127.0.0.1",
        "SECRET_KEY": f"{PLANTED}-secret-key-".ljust(60, "k"),
        "DATABASE_URL": environment["DATABASE_URL"].replace(
            embedded.OWNER_ROLE, f"{embedded.OWNER_ROLE}:{PLANTED}-database", 1
        ),
        "STAGING_DATABASE_URL": f"postgresql://owner:{PLANTED}-staging@{nowhere}",
        "PRODUCTION_DATABASE_URL": f"postgresql://owner:{PLANTED}-production@127.0.0.1:1/memories",
        "MEMOPS_NOTIFY_WEBHOOK": f"http://127.0.0.1:1/{PLANTED}-notify",
        "MEMOPS_ANCHOR_WEBHOOK": f"http://127.0.0.1:1/{PLANTED}-anchor",
        **{name: base64.b64encode(secret).decode() for name, secret in KEYS.items()},
    }
    return environment | more


@pytest.fixture
def haystack(key) -> Haystack:
    secret, *codes = key.split()
    typeable = second_factor.typeable(secret)
    found = Haystack()
    found.needles |= {secret, typeable, typeable.replace(" ", ""), *codes, *(code.replace("-", "") for code in codes)}
    for one in KEYS.values():
        found.needles |= forms_of(one)
    return found


def commands(manage: list[str], planted: dict[str, str], haystack: Haystack, key: str) -> None:
    def manage_py(*arguments: str, stdin: str = "", code: int = 0) -> str:
        done = subprocess.run(
            [*manage, *arguments], cwd=CLONE, env=planted, input=stdin, capture_output=True, text=True, check=False
        )
        haystack.add(" ".join(arguments), done.stdout + done.stderr)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout

    manage_py("memops", "-v", "3", "status", code=1)
    manage_py("memops", "status", "--json", code=1)
    manage_py("memops", "backup", "--reason", "INC-1", "--json")
    reason = ("--reason", "INC-1", "--confirm", "default")
    manage_py("memops", "-v", "3", "rollback", "--break-glass", "INC-1", *reason)
    run = str(Run.objects.get(kind="rollback").pk)
    review = ("memops", "review", run, "--as", "olga", "--password-stdin", "--note", "it was right")
    manage_py(*review, stdin=f"{PASSWORD}-wrong\n", code=3)
    manage_py(*review, stdin=f"{PASSWORD}\n000000\n", code=3)
    code = next_code(key)
    manage_py(*review, stdin=f"{PASSWORD}\n{code}\n")
    manage_py("memops", "undo", run, *reason, "--json")
    manage_py("memops", "rollback", "--target", "staging", "--reason", "x", "--confirm", "staging", code=1)
    manage_py("memops", "plan", "rollback", "--target", "production", "--json", code=1)
    manage_py("memops", "audit", "anchor", "--post", code=1)
    manage_py("memops", "audit", "verify")
    manage_py("memops", "second-factor", "olga", "--json")
    manage_py("memops", "sql", "rollback")
    manage_py("check", "--database", "default")
    manage_py("memops", "audit", "export")


def pages(web: str, haystack: Haystack, key: str) -> None:
    browser = Browser(web, haystack)
    login, code_page = "/admin/login/", "/admin/memops_console/second-factor/code/"
    rollback = "/admin/memops_console/target/default/rollback/confirm/?mode=emergency"
    backup = "/admin/memops_console/target/default/backup/confirm/"

    assert browser.send(login, {"username": "olga", "password": f"{PASSWORD}-wrong"}) == 200
    assert browser.send(login, {"username": PASSWORD, "password": "olga"}) == 200
    assert browser.ask("POST", login, {"username": "olga", "password": PASSWORD}) == 403
    assert browser.send(login, {"username": "olga", "password": PASSWORD}) == 302
    assert browser.ask("POST", rollback, {"password": PASSWORD, "code": code_of(key)}) == 403
    assert browser.send(code_page, {"code": "000000"}) == 200
    assert browser.send(code_page, {"code": next_code(key)}) == 302
    for url in (
        "", "auth/user/", f"auth/user/{User.objects.get(username='olga').pk}/change/", "memops_console/queue/",
        "memops_console/run/", "memops_console/auditevent/", "memops_console/backup/", "memops_console/second-factor/",
        *(f"memops_console/target/{alias}/change/" for alias in ("default", "staging", "production")),
        "memops_console/target/staging/rollback/?mode=guided",
        *(f"memops_console/run/{run.pk}/change/" for run in Run.objects.all()),
    ):  # fmt: skip
        assert browser.ask("GET", f"/admin/{url}") == 200, url
    assert browser.send(rollback, {"typed_name": "production", "reason": "x"}) == 200
    assert browser.send(rollback, {"typed_name": "default", "reason": "x"}) == 302
    assert browser.send(backup, {"reason": "x"}) == 302
    assert browser.ask("GET", f"/admin/{PLANTED[:-1]}/") == 404


def error_pages(web: str, haystack: Haystack, key: str) -> None:
    """A table of the console is gone while somebody types a password, and while a page is read."""
    browser = Browser(web, haystack)
    assert browser.send("/admin/login/", {"username": "olga", "password": PASSWORD}) == 302
    code = next_code(key)
    assert browser.send("/admin/memops_console/second-factor/code/", {"code": code}) == 302
    with connection.cursor() as cursor:
        cursor.execute("alter table memops_console_contact rename to gone")
        cursor.execute("alter table axes_accessattempt rename to gone_too")
    assert browser.ask("GET", "/admin/memops_console/contact/") == 500
    stranger = Browser(web, haystack)
    assert stranger.send("/admin/login/", {"username": "olga", "password": f"{PASSWORD}-wrong"}) == 500
    with connection.cursor() as cursor:
        cursor.execute("alter table gone rename to memops_console_contact")
        cursor.execute("alter table gone_too rename to axes_accessattempt")


def kept(haystack: Haystack, planted: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Every row of every other table, and every readable file that was written."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select c.relname from pg_catalog.pg_class c where c.relkind = 'r'"
            " and c.relnamespace = 'public'::pg_catalog.regnamespace and not c.relname like any(%s)",
            [list(NOT_SEARCHED)],
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"select coalesce(string_agg(t::text, E'\\n'), '') from public.{table} t")
            yield f"table {table}", cursor.fetchone()[0]
    for manifest in Path(planted["MEMOPS_BACKUP_DIR"]).rglob("*.json"):
        yield f"manifest {manifest.name}", manifest.read_text()
    yield "anchors", Path(planted["MEMOPS_ANCHORS"]).read_text()


def test_no_planted_secret_is_found_again(key, haystack, planted, manage, tmp_path):
    secret = key.split()[0]
    commands(manage, planted, haystack, secret)
    log = tmp_path / "web.log"
    with console_process.web(planted, log) as web:
        pages(web, haystack, secret)
        error_pages(web, haystack, secret)
    haystack.add("the log of the web process", log.read_text())
    for where, text in kept(haystack, planted):
        haystack.add(where, text)

    assert "Traceback" in haystack.said["the log of the web process"], "nothing went wrong: this proves too little"
    assert len(haystack.said) > 40
    assert json.loads(haystack.said["memops audit export"].splitlines()[0])
    assert haystack.found() == []


def test_a_secret_would_have_been_found(haystack):
    haystack.add("an answer", f"password={PASSWORD}")
    haystack.add("a log", base64.b64encode(KEYS["MEMOPS_AUDIT_KEY"]).decode())

    assert len(haystack.found()) == 2
