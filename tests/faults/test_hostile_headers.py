"""Whatever a header says, and however a request is written: never an error of the server, never a change that was not
asked for; and who asks is not somebody else for it."""

import re
import socket
from contextlib import suppress
from ipaddress import ip_address
from itertools import product

from django.test import Client
from django.urls import reverse

from memops.console.models import AuditEvent, Run
from tests.faults import hostile, processes
from tests.faults.browserless import Operator
from tests.faults.hostile import KIND
from tests.faults.test_hostile_pages import FORM, assert_well_answered, encoded, has_written, taken_back
from tests.postgres.test_mutating_urls import MUTATING, Scene

HEADERS = (
    *("HTTP_HOST", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"),
    *("HTTP_X_REQUEST_ID", "HTTP_REFERER", "HTTP_ORIGIN", "HTTP_USER_AGENT", "HTTP_ACCEPT", "HTTP_ACCEPT_LANGUAGE"),
    *("HTTP_ACCEPT_ENCODING", "HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH"),
    *("HTTP_RANGE", "HTTP_X_CSRFTOKEN", "HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_REQUESTED_WITH", "HTTP_SEC_FETCH_SITE"),
    *("HTTP_HX_REQUEST", "HTTP_HX_CURRENT_URL", "HTTP_HX_TARGET", "HTTP_HX_PROMPT", "CONTENT_TYPE"),
    *("REQUEST_METHOD", "HTTP_REMOTE_USER", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT"),
)
TEXTS = (
    *(hostile.EVERYTHING, hostile.HTML, hostile.NOT_UTF8, hostile.EMPTY, hostile.LONG, hostile.MANY_DIGITS),
    *(one for one in hostile.HIDDEN if one.name in ("a terminal escape", "a direction override")),
    *(one for one in hostile.NUMBERS if one.name == "minus one"),
)
"""What a web server lets through: no line break, and no NUL."""

REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def sent_with(browser: Client, header: str, text: str, method: str, url: str, body: str = "") -> None:
    """As a web server hands it on: bytes, each as a character."""
    value = text.encode("utf-8", "surrogateescape").decode("latin-1")
    cookies = browser.cookies.copy()
    try:
        answer = browser.generic(method, url, body, FORM, **{header: value})
    finally:
        browser.cookies = cookies
    assert_well_answered(answer, header)
    assert answer.status_code == 400 or REQUEST_ID.fullmatch(answer["X-Request-ID"])
    if not answer.streaming:
        assert b"<script>alert" not in answer.content


def test_a_hostile_header_is_no_error_and_changes_nothing(hostile_scene: Scene, settings, fault) -> None:
    settings.MEMOPS_TRUST_PROXY = True
    pages = [reverse("admin:index"), reverse("admin:memops_console_run_live", args=[hostile_scene.ended().pk])]
    for url in pages:
        hostile_scene.browser.get(url)
    before = hostile_scene.snapshot()
    for header, text, url in product(HEADERS, TEXTS, pages):
        with fault(KIND), taken_back():
            sent_with(hostile_scene.browser, header, text.text, "GET", url)

            assert not has_written() or hostile_scene.snapshot() == before, f"{text} as {header}"


def test_a_form_with_a_hostile_header_does_what_it_should_or_nothing(hostile_scene: Scene, settings, fault) -> None:
    """And the trail has an address that is one, and nothing that does not show."""
    settings.MEMOPS_TRUST_PROXY = True
    act = MUTATING["memops_console_run_withdraw"](hostile_scene)
    before = hostile_scene.snapshot(act.event)
    with taken_back():
        hostile_scene.browser.generic("POST", act.url, encoded(act.data), FORM)
        rightly = hostile_scene.snapshot(act.event)
    assert rightly != before
    for header, text in product(HEADERS, TEXTS):
        with fault(KIND), taken_back():
            told = AuditEvent.objects.latest("sequence").sequence

            sent_with(hostile_scene.browser, header, text.text, "POST", act.url, encoded(act.data))

            after = hostile_scene.snapshot(act.event)
            changed = {table for table in after if after[table] != before.get(table)}
            assert changed <= {table for table in rightly if rightly[table] != before.get(table)}, f"{text} as {header}"
            for event in AuditEvent.objects.filter(sequence__gt=told):
                assert event.address == str(ip_address(event.address)), f"{text} as {header}"
                assert REQUEST_ID.fullmatch(event.request_id), f"{text} as {header}"
                assert hostile.unseen_in(event.details + event.object_id) == [], f"{text} as {header}"


GET, POST = (method + b" HTTP/1.1\r\nHost: localhost\r\n" for method in (b"GET /admin/", b"POST /admin/login/"))
SMUGGLED = b"GET /admin/logout/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
RAW = {
    "no request at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "nothing": b"",
    "half a request": b"GET /admin/ HTTP/1.1\r\nHost: local",
    "NUL in a header": GET + b"Referer: a\0b\r\n\r\n",
    "NUL in the address": b"GET /admin/\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header that goes on": GET + b"Referer: a\r\n b\r\n\r\n",
    "a header without a name": GET + b": b\r\n\r\n",
    "two hosts": GET + b"Host: elsewhere\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length that is none": POST + b"Content-Length: 1e3\r\n\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nabcde",
    "a length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk that is none": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "an unknown method": b"STEAL /admin/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another version": b"GET /admin/ HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "an address of another server": b"GET http://elsewhere/admin/ HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
    "ten megabytes in a header": GET + b"Referer: " + b"x" * hostile.TEN_MEGABYTES + b"\r\n\r\n",
    "ten thousand headers": GET + b"X-A: b\r\n" * 10_000 + b"\r\n",
    "ten megabytes in the address": b"GET /?" + b"x" * hostile.TEN_MEGABYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
"""Requests as no browser writes them, by what is wrong with them."""

BY_A_PROXY = {
    "who has signed in": b"Remote-User: rita\r\n",
    "where it comes from": b"X-Forwarded-For: 203.0.113.7\r\n",
    "another method": b"X-HTTP-Method-Override: DELETE\r\n",
}
"""What a proxy may say and a stranger may not."""


def answered(address: str, request: bytes) -> bytes:
    host, _, port = address.removeprefix("http://").rpartition(":")
    said = b""
    with socket.create_connection((host, int(port)), timeout=10) as connection, suppress(OSError):
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65536):
            said += part
    return said


def test_a_request_that_no_browser_writes_is_refused_and_the_next_one_answered(console, fault, tmp_path) -> None:
    with console() as _, processes.web(tmp_path) as web:
        operator = Operator(address=web.address)
        operator.sign_in_as_superuser("rita")
        events = AuditEvent.objects.count()
        for name, request in RAW.items():
            with fault(KIND):
                said = answered(web.address, request)

                first = said.partition(b"\r\n")[0]
                assert first == b"" or re.fullmatch(rb"HTTP/1\.1 (302|4\d\d|501|505) .*", first), (name, first)
                assert b"Traceback" not in said, name
                assert operator.get("/admin/")[0] == "/admin/", name
        for name, header in BY_A_PROXY.items():
            with fault(KIND):
                said = answered(web.address, b"GET /admin/ HTTP/1.0\r\nHost: localhost\r\n" + header + b"\r\n")

                assert said.startswith(b"HTTP/1.0 302 "), name
                assert b"Location: /admin/login/" in said, name
        assert AuditEvent.objects.count() == events
        assert not Run.objects.filter(origin="console").exists()
        assert "Traceback" not in web.log
