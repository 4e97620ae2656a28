"""Who sits at the console, and when they last proved it."""

from __future__ import annotations

import time
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from memops.console import audit, second_factor
from memops.console.audit.listeners import UNKNOWN, known
from memops.console.errors import ConsoleError

PROVED_AT = "memops_proved_at"


@receiver(user_logged_in, dispatch_uid="memops notes when a person has proved who they are")
def _note(sender: object, request: HttpRequest, user: User, **more: Any) -> None:
    request.session[PROVED_AT] = time.time()


def is_recent(request: HttpRequest) -> bool:
    """Has this person typed the password within ``MEMOPS_PROVE_AGAIN_AFTER``? An unlocked screen is nobody's proof."""
    since = time.time() - float(request.session.get(PROVED_AT, 0))
    return 0 <= since < settings.MEMOPS_PROVE_AGAIN_AFTER.total_seconds()


def asks_for_code(request: HttpRequest) -> bool:
    """Does whoever is signed in have a second factor, and does this console want it?"""
    return second_factor.is_required() and second_factor.has_one(request.user)


class NotProved(Exception):
    """``field`` is what was wrong, and the message is for whoever typed it."""

    def __init__(self, field: str, sentence: str) -> None:
        self.field = field
        super().__init__(sentence)


def prove(request: HttpRequest, *, password: str, code: str = "") -> None:
    """Is this the password of whoever is signed in, and the code of their device where they have one? Wrong ones count
    as guesses, as they do at the sign-in; no code is looked at, and used up, before the password is right.

    Raises NotProved.
    """
    if not password:
        raise NotProved("password", "To go on, type your own password.")
    found = authenticate(request, username=request.user.get_username(), password=password)
    if not isinstance(found, User) or found.pk != request.user.pk:
        raise NotProved(
            "password", "That is not your password. Type it again; five wrong ones shut you out for a while."
        )
    if asks_for_code(request):
        try:
            second_factor.verify(found, code)
        except ConsoleError as error:
            raise NotProved("code", str(error)) from error
    request.session[PROVED_AT] = time.time()


class SignInForm(AdminAuthenticationForm):
    """Django's own says how long a name may be, and does not hold anybody to it."""

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username") or ""
        if len(name) > audit.LONGEST_NAME:
            audit.record_or_log("sign_in.failed", actor=UNKNOWN)
            raise self.get_invalid_login_error()
        return super().clean()


def counted_name(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """The name under which wrong passwords are counted. What is nobody's name may be a password, typed in the wrong
    field: it is counted as well, so that nobody learns which names there are, but as a hash.
    """
    name = str((credentials or request.POST).get("username") or "")
    return name if known(name) == name else salted_hmac("memops.counted", name, algorithm="sha256").hexdigest()


def client_address(request: HttpRequest) -> str:
    """The address of whoever asks: the one that a trusted proxy has added last, else the connection's own."""
    if settings.MEMOPS_TRUST_PROXY:
        with suppress(ValueError):
            return str(ip_address(request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()))
    return str(request.META.get("REMOTE_ADDR", ""))
