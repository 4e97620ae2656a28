"""The pages of the second factor: type its code, set it up, make recovery codes. Everybody's own alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django_otp
from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_http_methods, require_safe

from memops.console import second_factor
from memops.console.admin import sign_in
from memops.console.admin.middleware import is_verified
from memops.console.errors import ConsoleError

PENDING = "memops_second_factor_pending"
"""In the session: the secret of a device that has not shown a code yet."""

CODE_PAGE = "admin:memops_console_second_factor_code"
SET_UP_PAGE = "admin:memops_console_second_factor_set_up"
OWN_PAGE = "admin:memops_console_second_factor"

Page = Callable[[HttpRequest, User, AdminSite], HttpResponse]


class CodeForm(forms.Form):
    """What was typed is never shown again."""

    password = forms.CharField(required=False, strip=False)
    code = forms.CharField(required=False, max_length=second_factor.LONGEST_CODE)

    def __init__(self, *data: Any, asks_for_password: bool = False) -> None:
        super().__init__(*data)
        if not asks_for_password:
            del self.fields["password"]

    @property
    def typed(self) -> str:
        return str(self.cleaned_data.get("code", ""))


def urls(site: AdminSite) -> list[URLPattern]:
    either = require_http_methods(["GET", "HEAD", "POST"])
    pages: tuple[tuple[str, Page, Callable[..., Any], str], ...] = (
        ("", own_page, require_safe, ""),
        ("code/", code_page, either, "_code"),
        ("set-up/", set_up_page, either, "_set_up"),
        ("recovery-codes/", recovery_codes_page, either, "_recovery_codes"),
    )
    return [
        path(
            f"memops_console/second-factor/{route}",
            _view(page, methods, site),
            name=f"memops_console_second_factor{name}",
        )
        for route, page, methods, name in pages
    ]


def _view(page: Page, methods: Callable[..., Any], site: AdminSite) -> Callable[..., HttpResponse]:
    def view(request: HttpRequest) -> HttpResponse:
        return page(request, asked(request), site)

    limited: Callable[..., HttpResponse] = methods(view)
    return site.admin_view(limited)


def asked(request: HttpRequest) -> User:
    """Whoever is signed in, where the console asks for a second factor at all."""
    if not second_factor.is_required():
        raise Http404("This console asks for no second factor.")
    if not isinstance(request.user, User):
        raise PermissionDenied("Sign in first.")
    return request.user


def own_page(request: HttpRequest, user: User, site: AdminSite) -> HttpResponse:
    """Who comes here without having typed a code needs none; they may set one up all the same."""
    return _show(request, site, "own", "Your second factor", standing=second_factor.standing(user))


def code_page(request: HttpRequest, user: User, site: AdminSite) -> HttpResponse:
    """After the password; or, from a page that wants a fresh proof, password and code together."""
    onwards = _next(request)
    if not second_factor.has_one(user):
        return redirect(f"{reverse(SET_UP_PAGE)}?{urlencode({'next': onwards})}")
    again = is_verified(user)
    form = CodeForm(*([request.POST] if request.method == "POST" else []), asks_for_password=again)
    if form.is_bound and form.is_valid():
        try:
            if again:
                sign_in.prove(request, password=form.cleaned_data["password"], code=form.typed)
            else:
                let_in(request, second_factor.verify(user, form.typed))
            return redirect(onwards)
        except ConsoleError as error:
            form.add_error("code", str(error))
        except sign_in.NotProved as wrong:
            form.add_error(wrong.field, str(wrong))
    title = "Make sure that it is you" if again else "Type your code"
    return _show(request, site, "code", title, form=form, again=again, onwards=onwards)


def set_up_page(request: HttpRequest, user: User, site: AdminSite) -> HttpResponse:
    """The first one needs the password of the sign-in alone; there is nothing else yet. Every other one the code."""
    onwards = _next(request)
    replaces = second_factor.has_one(user)
    if replaces and not (is_verified(user) and sign_in.is_recent(request)):
        return prove_first(request)
    form = CodeForm(*([request.POST] if request.method == "POST" else []))
    key = str(request.session.get(PENDING, ""))
    if form.is_bound and key and form.is_valid():
        try:
            device, codes = second_factor.set_up(user, key=key, typed=form.typed, may_replace=replaces)
        except ConsoleError as error:
            form.add_error("code", str(error))
        else:
            del request.session[PENDING]
            let_in(request, device)
            return _show(request, site, "codes", "Your recovery codes", codes=codes, onwards=onwards)
    elif form.is_bound and not key:
        messages.warning(request, "This page was open for too long, or sent twice. Nothing was set up by it.")
        return redirect(request.get_full_path())
    if not key:
        key = request.session[PENDING] = second_factor.new_key()
    return _show(
        request,
        site,
        "set_up",
        "Set up your second factor",
        form=form,
        replaces=replaces,
        onwards=onwards,
        picture=mark_safe(second_factor.picture(user, key)),
        typeable=second_factor.typeable(key),
    )


def recovery_codes_page(request: HttpRequest, user: User, site: AdminSite) -> HttpResponse:
    if not second_factor.has_one(user):
        return redirect(OWN_PAGE)
    if not sign_in.is_recent(request):
        return prove_first(request)
    if request.method != "POST":
        return _show(request, site, "recovery_codes", "Make new recovery codes", standing=second_factor.standing(user))
    try:
        codes = second_factor.new_recovery_codes(user)
    except ConsoleError as error:
        messages.error(request, str(error))
        return redirect(OWN_PAGE)
    return _show(request, site, "codes", "Your new recovery codes", codes=codes, onwards=reverse(OWN_PAGE))


def let_in(request: HttpRequest, device: Any) -> None:
    """From now on this session is one in which a code was typed; the session's old key is good for nothing more."""
    request.session.cycle_key()
    django_otp.login(request, device)


def prove_first(request: HttpRequest) -> HttpResponse:
    """To the page that asks for the password and the code, and back."""
    return redirect(f"{reverse(CODE_PAGE)}?{urlencode({'next': request.get_full_path()})}")


def _next(request: HttpRequest) -> str:
    """Where somebody wanted to go; never another site."""
    wanted = request.GET.get("next", "")
    own = {request.get_host()}
    if url_has_allowed_host_and_scheme(wanted, allowed_hosts=own, require_https=request.is_secure()):
        return wanted
    return reverse("admin:index")


def _show(request: HttpRequest, site: AdminSite, page: str, title: str, **more: Any) -> TemplateResponse:
    context = site.each_context(request) | {"title": title} | more
    return TemplateResponse(request, f"memops_console/second_factor/{page}.html", context)
