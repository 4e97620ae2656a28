"""Acts on the page of a run, a quarantined table or a backup: each is one form, sent once.

What came of it is said, and the page is shown again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from memops.console.admin import sign_in
from memops.console.errors import ConsoleError
from memops.console.models import Backup, QuarantinedTable, Run

ActedOn = TypeVar("ActedOn", bound=Run | QuarantinedTable | Backup)
Act = Callable[[HttpRequest, Run], str]
"""Does it, and gives the sentence that says so."""


def carried_out(
    request: HttpRequest, what: ActedOn, act: Callable[[HttpRequest, ActedOn], str], place: str = ""
) -> HttpResponse:
    """``place``: where on the page to go on from."""
    try:
        messages.success(request, act(request, what))
    except ConsoleError as error:
        messages.error(request, str(error))
    except sign_in.NotProved as wrong:
        messages.error(request, f"Nothing was started. {wrong}")
    return redirect(f"{what.get_absolute_url()}{place}")


def person(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied("Sign in first.")
    return request.user


def typed(request: HttpRequest, name: str) -> str:
    return str(request.POST.get(name, "")).strip()
