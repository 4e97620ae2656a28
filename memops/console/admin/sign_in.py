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

from memops.console import audit
from memops.console.audit.listeners import UNKNOWN

PROVED_AT = "memops_proved_at"


@receiver(user_logged_in, dispatch_uid="memops notes when a person has proved who they are")
def _note(sender: object, request: HttpRequest, user: User, **more: Any) -> None:
    request.session[PROVED_AT] = time.time()


def is_recent(request: HttpRequest) -> bool:
    """Has this person typed the password within ``MEMOPS_PROVE_AGAIN_AFTER``? An unlocked screen is nobody's proof."""
    since = time.time() - float(request.session.get(PROVED_AT, 0))
    return 0 <= since < settings.MEMOPS_PROVE_AGAIN_AFTER.total_seconds()


def prove(request: HttpRequest, password: str) -> bool:
    """Is this the password of whoever is signed in? Wrong ones count as guesses, as they do at the sign-in."""
    found = authenticate(request, username=request.user.get_username(), password=password)
    if found is None or found.pk != request.user.pk:
        return False
    request.session[PROVED_AT] = time.time()
    return True


class SignInForm(AdminAuthenticationForm):
    """Django's own says how long a name may be, and does not hold anybody to it."""

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username") or ""
        if len(name) > audit.LONGEST_NAME:
            audit.record_or_log("sign_in.failed", actor=UNKNOWN)
            raise self.get_invalid_login_error()
        return super().clean()


def client_address(request: HttpRequest) -> str:
    """The address of whoever asks: the one that a trusted proxy has added last, else the connection's own."""
    if settings.MEMOPS_TRUST_PROXY:
        with suppress(ValueError):
            return str(ip_address(request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()))
    return str(request.META.get("REMOTE_ADDR", ""))
