"""Whatever is typed into a field, an address or a header of the console is kept exactly as it is, or refused; never an
error of the server, never a change that was not asked for.

Fields and parameters are those that a page reads while it does what it should, and those of its forms; addresses are
those of the URL conf. What is added is covered, or a test fails with its name.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.contrib.admin import site
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from memops.console.admin.sign_in import PROVED_AT
from memops.console.models import AuditEvent
from memops.console.runs import approvals
from tests.faults import hostile
from tests.faults.hostile import KIND, Hostile
from tests.faults.hostile_console import signed_in
from tests.faults.listening import Forms, listening
from tests.faults.tables import kept
from tests.postgres.people import PASSWORD
from tests.postgres.test_mutating_urls import MUTATING, Act, Scene, code_of, confirmed, page

FORM = "application/x-www-form-urlencoded"
LONGEST_ADDRESS = 4000
"""Characters: about as much as a web server takes."""

IN_FIELDS = (
    hostile.EVERYTHING, hostile.LINES, *hostile.HIDDEN, hostile.NUL, hostile.EMPTY, hostile.BLANK, hostile.LONG,
)  # fmt: skip
IN_SWITCHES = (hostile.EVERYTHING, hostile.NOT_UTF8, hostile.NUL, hostile.EMPTY, hostile.LONG)
IN_ADDRESSES = (
    hostile.PATH, hostile.WILDCARD, hostile.SQL, hostile.HTML, hostile.EMOJI, *hostile.NUMBERS, *hostile.HIDDEN,
    hostile.LINES, hostile.NUL, hostile.LONG,
)  # fmt: skip

SWITCHES = frozenset(
    (
        *("csrfmiddlewaretoken", "_save", "_addanother", "_continue", "_saveasnew", "_popup", "_to_field"),
        *("break_glass", "is_active", "is_staff", "is_superuser", "usable_password", "set-password", "unset-password"),
        *("post", "index", "select_across", "next"),
    )
)
"""Fields of which it counts only that they are there, and which are not kept."""

IGNORED = frozenset(
    (
        *((f"memops_console_target_{kind}_confirm", "typed_name") for kind in ("backup", "verify")),
        *(("auth_user_change", f"initial-date_joined_{part}") for part in (0, 1)),
        ("auth_user_change", "password"),
    )
)
"""What a form is sent with, and does not take: no name is asked for, a date is compared with itself, a hash shown."""

TOGETHER = {"incident": {"break_glass": "on"}}
"""What else has to be sent for a field to count."""


@contextmanager
def taken_back() -> Iterator[None]:
    """Whatever the block does to the console's own tables is not done afterwards."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def has_written() -> bool:
    """Has anything been written since the block began? It may have been what every request may write."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_catalog.pg_current_xact_id_if_assigned() is not null")
        return bool(cursor.fetchone()[0])


def encoded(data: dict[str, Any]) -> str:
    """As a browser sends a form, or an address; bytes that are no text are sent as they are."""
    pairs = [(name, text) for name, texts in data.items() for text in (texts if isinstance(texts, list) else [texts])]
    return "&".join(f"{quote(name)}={percent(str(text))}" for name, text in pairs)


def percent(text: str, safe: str = "") -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe=safe)


@dataclass
class Sent:
    """An act, the browser that sends it, and what it reads of it; ``fields`` are also those of its form."""

    act: Act
    browser: Client
    read: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    several_lines: set[str] = field(default_factory=set)
    cookies: SimpleCookie = field(default_factory=SimpleCookie)

    def __post_init__(self) -> None:
        self.cookies = deepcopy(self.browser.cookies)

    def post(self, body: str | bytes, content_type: str = FORM, **more: Any) -> HttpResponse:
        self.browser.cookies = deepcopy(self.cookies)
        answer: HttpResponse = self.browser.generic("POST", self.act.url, body, content_type, **more)
        return answer


# Where the password is asked for, and the code.


def _long_after(scene: Scene, act: Act) -> Sent:
    signed_in(scene, at=0)
    act.data |= {"password": PASSWORD, "code": code_of(scene.device.key)}
    return Sent(act, scene.browser)


def _confirmed_long_after(scene: Scene) -> Sent:
    return _long_after(scene, confirmed("/admin/memops_console/target/default/rollback/confirm/")(scene))


def _started_long_after(scene: Scene) -> Sent:
    run = scene.awaiting()
    approvals.approve(run, by=scene.ann)
    return _long_after(scene, Act(page("memops_console_run_start", run.pk)))


def _proved_again(scene: Scene) -> Sent:
    return _long_after(scene, Act(reverse("admin:memops_console_second_factor_code")))


def _let_in(scene: Scene) -> Sent:
    return Sent(Act(reverse("admin:login"), {"username": "olga", "password": PASSWORD}), Client())


def _coded(scene: Scene) -> Sent:
    act = Act(reverse("admin:memops_console_second_factor_code"), {"code": code_of(scene.device.key)})
    return Sent(act, scene.signed_in(scene.olga))


PROOFS: dict[str, Callable[[Scene], Sent]] = {
    "login": _let_in,
    "memops_console_second_factor_code": _coded,
    "memops_console_second_factor_code, again": _proved_again,
    "memops_console_target_rollback_confirm, long after the sign-in": _confirmed_long_after,
    "memops_console_run_start, long after the sign-in": _started_long_after,
}


def _prepared(name: str, scene: Scene) -> Sent:
    sent = PROOFS[name](scene) if name in PROOFS else Sent(MUTATING[name](scene), scene.browser)
    with taken_back(), listening() as heard:
        before = state(scene, sent)
        assert sent.post(encoded(sent.act.data)).status_code < 400
        assert state(scene, sent) != before, "it should have done something: the rest of this test proves nothing"
        sent.read = set(heard["POST"])
    # The act's form is on its own page, or on that of the run, the table or the backup which it is about.
    record = re.match(r"/admin/memops_console/(run|quarantinedtable|backup)/[0-9]+/", sent.act.url)
    sent.browser.cookies = deepcopy(sent.cookies)
    shown = sent.browser.get(url := f"{record[0]}change/" if record else sent.act.url)
    forms = Forms(shown.content.decode() if shown.status_code == 200 else "", url=url)
    sent.fields = sent.read | forms.fields.get(sent.act.url, set())
    sent.several_lines = forms.several_lines
    return sent


def state(scene: Scene, sent: Sent) -> dict[str, Any]:
    """Every table, and who is signed in. A wrong code is counted on its device, which changes nothing else."""
    seen = scene.snapshot(sent.act.event)
    if "code" in sent.act.data:
        del seen["public.otp_totp_totpdevice"], seen["public.otp_static_staticdevice"]
    session = sent.browser.session
    # Elsewhere a proof counts for what comes after a mistake, too.
    proofs = ("_auth_user_id", "otp_device_id", *([PROVED_AT] if "second-factor" in sent.act.url else []))
    return seen | {"session": {key: session.get(key) for key in proofs}}


def assert_well_answered(answer: HttpResponse, why: str) -> None:
    """Not an error of the server, which the client raises; never to another host."""
    assert answer.status_code < 500, why
    to = urlsplit(answer.get("Location", "/"))
    assert (to.scheme, to.netloc) == ("", ""), why


@pytest.mark.parametrize("name", [*MUTATING, *PROOFS])
def test_a_field_keeps_what_shows_exactly_as_it_is_and_refuses_the_rest(name: str, hostile_scene: Scene, fault) -> None:
    sent = _prepared(name, hostile_scene)
    before = state(hostile_scene, sent)

    for one in sorted(sent.fields):
        counts = one in sent.read and one not in SWITCHES and (name, one) not in IGNORED
        numbers = hostile.NUMBERS if str(sent.act.data.get(one, "")).strip("[]'").isdecimal() else ()
        for value in (*IN_FIELDS, *numbers) if counts else IN_SWITCHES:
            why = f"{name}: {value} as {one}"
            data = sent.act.data | TOGETHER.get(one, {}) | {one: value.text}
            with fault(KIND), taken_back():
                answer = sent.post(encoded(data))

                assert_well_answered(answer, why)
                assert answer.content.count(hostile.LONG.text.encode()) <= 2, f"{why} is shown again beside its field"
                if counts and (has_written() or answer.status_code == 302):
                    _assert_kept_or_refused(value, why, one in sent.several_lines, before, state(hostile_scene, sent))


def _assert_kept_or_refused(
    value: Hostile, why: str, may_have_lines: bool, before: dict[str, Any], after: dict[str, Any]
) -> None:
    if after == before:
        return
    texts = kept(before, after)
    if value in (hostile.EMPTY, hostile.BLANK):
        assert not any(hostile.BLANK.text in text for text in texts), why
        return
    assert value.is_shown or (value is hostile.LINES and may_have_lines), f"{why} was accepted"
    expected = {value.text, str(int(value.text))} if value is hostile.OTHER_DIGITS else {value.text}
    assert any(one in text for text in texts for one in expected), f"{why} is not kept as it is"


# Bodies


def _multipart(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n%s\r\n\r\n%s\r\n" % (head.encode(), text) for head, text in parts) + end


MULTIPART = "multipart/form-data; boundary=b"
BIG = b"x" * hostile.TEN_MEGABYTES


def bodies(data: dict[str, Any]) -> Iterator[tuple[str, str | bytes, str]]:
    """What is no form, with the fields of one in it: a name, the body, its content type."""
    texts = {name: str(text) for name, text in data.items()}
    fields = [(f'Content-Disposition: form-data; name="{name}"', text.encode()) for name, text in texts.items()]
    form = encoded(data)
    yield "ten megabytes more", form.encode() + b"&more=" + BIG, FORM
    yield (
        "ten megabytes in a part",
        _multipart(*fields, ('Content-Disposition: form-data; name="more"', BIG)),
        MULTIPART,
    )
    file = 'Content-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\nContent-Type: text/plain'
    yield "a file", _multipart(*fields, (file, b"x")), MULTIPART
    yield "ten megabytes as a file", _multipart(*fields, (file, BIG)), MULTIPART
    yield "ten thousand fields", form + "".join(f"&f{number}=" for number in range(10_000)), FORM
    yield "parts without a boundary", _multipart(*fields), "multipart/form-data"
    yield "parts that are cut off", _multipart(*fields, end=b""), MULTIPART
    yield "parts of another boundary", _multipart(*fields), MULTIPART.replace("=b", "=c")
    yield "a part with a NUL", _multipart(*fields, ('Content-Disposition: form-data; name="more"', b"a\0b")), MULTIPART
    yield (
        "a part that is not UTF-8",
        _multipart(*fields, ('Content-Disposition: form-data; name="\xff"', b"\xff")),
        (MULTIPART),
    )
    in_base64 = 'Content-Disposition: form-data; name="more"\r\nContent-Transfer-Encoding: base64'
    yield "a NUL in base64", _multipart(*fields, (in_base64, base64.b64encode(b"a\0b"))), MULTIPART
    for charset in ("latin-1", "utf-16", "utf-7", "base64", "rot13", "idna", "unicode_escape"):
        yield f"a form in {charset}", form + "&more=%e9", f"{FORM}; charset={charset}"
        yield f"parts in {charset}", _multipart(*fields), f"{MULTIPART}; charset={charset}"
    for kind in ("application/json", "text/plain", "application/octet-stream", "none", "\x01", "a" * 5000):
        yield f"JSON as {kind[:30]!r}", json.dumps(texts), kind
    yield "ten megabytes of JSON", b'{"more": "' + BIG + b'"}', "application/json"


@pytest.mark.parametrize("name", ["memops_console_run_reject", "memops_console_contact_add", "login"])
def test_what_is_no_form_does_nothing(name: str, hostile_scene: Scene, fault) -> None:
    """What reads a request is the same for every page: one of ours, one of Django's, one that is open to all."""
    sent = _prepared(name, hostile_scene)
    before = state(hostile_scene, sent)

    for what, body, content_type in bodies(sent.act.data):
        with fault(KIND), taken_back():
            answer = sent.post(body, content_type)

            assert_well_answered(answer, what)
            assert len(answer.content) < 100_000, what
            assert state(hostile_scene, sent) == before, what


@pytest.mark.parametrize("name", [*MUTATING, *PROOFS])
def test_a_field_that_is_missing_or_sent_twice_is_no_error(name: str, hostile_scene: Scene, fault) -> None:
    sent = _prepared(name, hostile_scene)

    for one in sorted(sent.fields):
        given = sent.act.data.get(one, "")
        twice = [*(given if isinstance(given, list) else [given]), hostile.EVERYTHING.text]
        for data in ({}, {one: twice}, {one: twice[::-1]}):
            with fault(KIND), taken_back():
                rest = {name: text for name, text in sent.act.data.items() if name != one}
                assert_well_answered(sent.post(encoded(rest | data)), f"{name}: {one}")


# Addresses


def routes(resolver: URLResolver | None = None, before: str = "/") -> Iterator[str]:
    """Every address of the project that has arguments, with their names in it."""
    for pattern in (resolver or get_resolver()).url_patterns:
        route = before + re.sub(r"^\^|\$$", "", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, route)
        elif isinstance(pattern, URLPattern) and ARGUMENT.search(route):
            yield route


ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>.*?\)(?=/|$)")

LEGAL = {
    "alias": "default", "number": "1", "position": "1", "subject": "1", "object_id": "1", "id": "1",
    "content_type_id": "1", "kind": "rollback", "app_label": "auth", "url": "nowhere",
}  # fmt: skip
"""What the other arguments of an address are, while one of them is hostile."""


@pytest.mark.parametrize("route", sorted(routes()))
def test_a_hostile_argument_of_an_address_leads_nowhere(route: str, hostile_scene: Scene, fault) -> None:
    before = hostile_scene.snapshot()
    names = [first or second for first, second in ARGUMENT.findall(route)]
    assert set(names) <= LEGAL.keys(), "say in this file what is legal for it"

    for place, name in enumerate(names):
        for value in IN_ADDRESSES:
            texts = [
                percent(value.text[:LONGEST_ADDRESS]) if at == place else LEGAL[one] for at, one in enumerate(names)
            ]
            parts = iter(texts)
            url = ARGUMENT.sub(lambda found, parts=parts: next(parts), route)
            for method in ("GET", "POST"):
                with fault(KIND), taken_back():
                    answer = hostile_scene.browser.generic(method, url, "post=yes" if method == "POST" else "", FORM)

                    why = f"{method}: {value} as {name}"
                    assert answer.status_code in (301, 302, 400, 403, 404, 405), why
                    assert_well_answered(answer, why)
                    assert not has_written() or hostile_scene.snapshot() == before, why


def pages(scene: Scene) -> dict[str, str]:
    """Addresses of pages that are looked at, by their route; of each that takes arguments, one that is there."""
    ended = scene.ended()
    there = {
        "object_id": {
            "target": "default", "run": ended.pk, "backup": scene.backup.pk, "quarantinedtable": scene.table.pk,
            "contact": scene.contact.pk, "review": scene.review.pk, "user": scene.zoe.pk, "group": scene.group.pk,
            "auditevent": AuditEvent.objects.earliest("pk").pk, "checklisttemplate": ended.checklist_id,
        },
        "subject": {"undo": ended.pk, "verify": scene.backup.pk, "purge": scene.table.pk, "restore": scene.backup.pk},
        "number": {
            "run": ended.pk, "user": scene.zoe.pk, "quarantinedtable": scene.table.pk, "backup": scene.backup.pk,
        },
    }  # fmt: skip
    found = {}
    for route in named_routes():
        words = route.split("/")
        url = ARGUMENT.sub(
            lambda argument, words=words: str(
                next(
                    (value for word, value in there.get(argument[1], {}).items() if word in words),
                    LEGAL[argument[1] or argument[2]],
                )
            ),
            route,
        )
        found[route] = url
    return found


def named_routes(resolver: URLResolver | None = None, before: str = "/") -> Iterator[str]:
    for pattern in (resolver or get_resolver()).url_patterns:
        route = before + re.sub(r"^\^|\$$", "", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from named_routes(pattern, route)
        elif isinstance(pattern, URLPattern) and not route.endswith("(?P<url>.*)"):
            yield route


def parameters_of(url: str, shown: str, read: set[str]) -> set[str]:
    """What a page reads, what its links ask for, and what a list can be filtered by."""
    found = read | {name for query in re.findall(r'href="\?([^"]+)"', shown) for name in parse_qs(unescape(query))}
    for model, model_admin in site._registry.items():
        is_own = "changelist_view" in vars(type(model_admin))
        if url == reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") and not is_own:
            filters = [one if isinstance(one, str) else one[0] for one in model_admin.list_filter]
            found |= {"p", "q", "o", "all", "pk__regex", *(f"{name}__regex" for name in filters[:1])}
            if day := model_admin.date_hierarchy:
                found |= {f"{day}__{part}" for part in ("year", "month", "day")}
    return found


IN_PARAMETERS = (
    *(hostile.SQL, hostile.HTML, hostile.OTHER_DIGITS, hostile.NOT_UTF8, hostile.NUL, hostile.LONG, hostile.EMPTY),
    *(one for one in hostile.NUMBERS if one.name in ("minus one", "2**63", "a fraction")),
    *(one for one in hostile.HIDDEN if one.name in ("a terminal escape", "a direction override")),
    *(
        hostile.MANY_DIGITS,
        Hostile(name="a broken pattern", text="(["),
        Hostile(name="the last day", text="9999-12-31"),
    ),
)


def test_a_hostile_parameter_of_an_address_changes_nothing(hostile_scene: Scene, fault) -> None:
    reads = {}
    for route, url in pages(hostile_scene).items():
        with listening() as heard:
            answer = hostile_scene.browser.get(url)
            shown = "" if answer.streaming else answer.content.decode()
            reads[route] = (url, parameters_of(url, shown, set(heard["GET"])))
    before = hostile_scene.snapshot()

    for route, (url, read) in reads.items():
        for one in sorted(read):
            for value in IN_PARAMETERS:
                with fault(KIND), taken_back():
                    query = encoded({one: value.text[:LONGEST_ADDRESS]})
                    answer = hostile_scene.browser.get(f"{url}?{query}")

                    why = f"{route}: {value} as {one}"
                    assert_well_answered(answer, why)
                    assert b"<script>alert" not in getattr(answer, "content", b""), why
                    assert not has_written() or hostile_scene.snapshot() == before, why
