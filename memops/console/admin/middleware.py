"""What comes in is text, and what goes out shows as what it is. Who asks, from where, in which request: for the audit
trail and the log. And that somebody was refused."""

from __future__ import annotations

import codecs
import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from memops.console import second_factor
from memops.console.admin.sign_in import client_address
from memops.console.audit import record_or_log
from memops.console.audit.acting import Acting, acting
from memops.console.characters import TURNING, is_text, quoted

REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
ANONYMOUS = "anonymous"


class TextMiddleware:
    """Before everything that reads the request: PostgreSQL keeps no NUL, and what is not UTF-8 would be kept as
    something else than was sent. Whatever the page, the answer is 400; a page that is added is behind it as well.

    On the way out, names that others have given on a target, or a control character in them, turn nothing round.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        _demand_text(request)
        # A cookie may be another program's of the same host: it is left out, and asks to sign in at most.
        request.COOKIES = {name: value for name, value in request.COOKIES.items() if is_text(name + value)}
        response = self.get_response(request)
        if not response.streaming and response.headers.get("Content-Type", "").startswith("text/"):
            text = response.content.decode()
            if TURNING.search(text):
                response.content = TURNING.sub("\N{REPLACEMENT CHARACTER}", text)
                response.headers["Content-Length"] = str(len(response.content))
        return response


def _demand_text(request: HttpRequest) -> None:
    """Raises BadRequest."""
    # Django has looked at the charset that the request claims to have; pages are UTF-8, and so is what they send.
    if request.encoding and codecs.lookup(request.encoding).name != "utf-8":
        raise BadRequest("The request is not in UTF-8.")
    sent = [unquote_to_bytes(request.META.get("QUERY_STRING", "").encode("latin-1", "replace"))]
    if request.content_type == "application/x-www-form-urlencoded":
        sent.append(unquote_to_bytes(request.body))
    elif request.content_type == "multipart/form-data":
        # Django takes what was cut off for the whole; and a part of it may be in base64.
        end = f"--{(request.content_params or {}).get('boundary', '')}--".encode()
        if not request.body.rstrip(b"\r\n").endswith(end):
            raise BadRequest("The form has no end.")
        sent += [request.body, *(text.encode() for name, texts in request.POST.lists() for text in (name, *texts))]
    elif request.META.get("CONTENT_LENGTH") not in (None, "", "0"):
        raise BadRequest("No page takes anything but a form.")
    try:
        are_texts = all(is_text(part.decode()) for part in sent) and is_text(request.path_info)
    except UnicodeDecodeError:
        are_texts = False
    if not are_texts:
        raise BadRequest("The request holds something else than text.")


class AuditMiddleware:
    """After authentication: every event of the request is its user's. The request's id goes back with the answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        actor = request.user.get_username() or ANONYMOUS
        who = Acting(actor=actor, address=client_address(request), request_id=request_id)
        with structlog.contextvars.bound_contextvars(request_id=request_id), acting(who):
            response = self.get_response(request)
            # Whoever is not signed in could fill the trail with refusals of forged forms.
            if response.status_code == 403 and request.user.is_authenticated:
                method = quoted(str(request.method))
                record_or_log("permission.refused", object_type="page", object_id=request.path, method=method)
        response.headers["X-Request-ID"] = request_id
        return response


class SecondFactorMiddleware:
    """After AuditMiddleware: who has to have typed a code, and has not, is led to where it is typed, whatever the page.

    A page that is added later is behind it as well, unless it is named here.
    """

    BEFORE_THE_CODE = frozenset(
        f"admin:{name}"
        for name in ("login", "logout", "memops_console_second_factor_code", "memops_console_second_factor_set_up")
    )

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        user = request.user
        if not isinstance(user, User) or is_verified(user) or not second_factor.is_asked_of(user):
            return None
        if request.resolver_match is not None and request.resolver_match.view_name in self.BEFORE_THE_CODE:
            return None
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied("Type the code of your second factor first.")
        here = urlencode({"next": request.get_full_path()})
        return redirect(f"{reverse('admin:memops_console_second_factor_code')}?{here}")


def is_verified(user: User) -> bool:
    """Was a code typed in this session? django-otp's middleware says so, and forgets it when the device is gone."""
    return getattr(user, "otp_device", None) is not None
