"""The console's pages without a browser."""

import http.client
import http.cookiejar
import re
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

TIMEOUT_SECONDS = 60
PASSWORD = "correct horse battery"
GONE = (OSError, http.client.HTTPException)
"""What is raised where the server goes away before it has answered."""

FIELD = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


def shown_on(name: str, *arguments: object) -> str:
    """A page, as somebody sees it who may do everything, without a web server."""
    client = Client()
    client.force_login(User.objects.filter(username="olga").first() or User.objects.create_superuser("olga"))
    response = client.get(reverse(f"admin:{name}", args=arguments))
    assert response.status_code in (200, 286)
    return response.content.decode()


@dataclass(frozen=True, kw_only=True)
class Form:
    """A page's form as it was given out, to be sent as often as one likes."""

    path: str
    fields: dict[str, str]


@dataclass(kw_only=True)
class Operator:
    """Somebody with a browser that does nothing but ask: cookies, forms, redirects."""

    address: str
    cookies: http.cookiejar.CookieJar = field(default_factory=http.cookiejar.CookieJar)

    def sign_in(self, name: str, password: str) -> None:
        form = self.form("/admin/login/")
        where, _ = self.send(form, username=name, password=password, next="/admin/")
        assert where == "/admin/", "signed in"

    def sign_in_as_superuser(self, name: str) -> None:
        User.objects.filter(username=name).exists() or User.objects.create_superuser(name, password=PASSWORD)
        self.sign_in(name, PASSWORD)

    def form(self, path: str) -> Form:
        _, page = self.get(path)
        return Form(path=path, fields=dict(FIELD.findall(page)))

    def send(self, form: Form, **typed: str) -> tuple[str, str]:
        """Where it led to, and what is shown there. Raises one of GONE."""
        data = urllib.parse.urlencode(form.fields | typed).encode()
        return self._ask(urllib.request.Request(self.address + form.path, data=data))

    def get(self, path: str) -> tuple[str, str]:
        return self._ask(urllib.request.Request(self.address + path))

    def _ask(self, request: urllib.request.Request) -> tuple[str, str]:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            return urllib.parse.urlsplit(response.url).path, response.read().decode()
