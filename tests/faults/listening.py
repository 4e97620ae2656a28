"""Hears which fields of a form, and which parameters of an address, a page reads: what it reads can be hostile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict

heard: dict[str, set[str]] = {"GET": set(), "POST": set()}


class Heard(QueryDict):
    """As Django's own, but for what is asked of it."""

    method = "GET"

    def _hear(self, name: object) -> None:
        if isinstance(name, str):
            heard[self.method].add(name)

    def __getitem__(self, name: str) -> Any:
        self._hear(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._hear(name)
        return super().__contains__(name)

    def getlist(self, name: str, default: Any = None) -> Any:
        self._hear(name)
        return super().getlist(name, default)


class HeardForm(Heard):
    method = "POST"


class ListeningMiddleware:
    """The innermost: what the page itself reads."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.GET = Heard(request.GET.urlencode())
        request.POST = HeardForm(request.POST.urlencode())
        return self.get_response(request)


@contextmanager
def listening() -> Iterator[dict[str, set[str]]]:
    """What is read of GET and POST within the block."""
    for names in heard.values():
        names.clear()
    yield heard


class Forms(HTMLParser):
    """The forms of a page: where each is sent, and its fields; ``several_lines`` are those that take more than one."""

    def __init__(self, page: str, *, url: str) -> None:
        super().__init__()
        self.url = url
        self.fields: dict[str, set[str]] = {}
        self.several_lines: set[str] = set()
        self._to: set[str] = set()
        self._names: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "form":
            self._to, self._names = {given.get("action") or self.url}, set()
        if to := given.get("formaction"):
            self._to.add(to)
        if tag in ("input", "select", "textarea", "button") and (name := given.get("name")):
            self._names.add(name)
            if tag == "textarea":
                self.several_lines.add(name)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            for to in self._to:
                self.fields.setdefault(to, set()).update(self._names)
