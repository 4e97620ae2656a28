"""Who asks, from where, in which request: for the audit trail and the log. And that somebody was refused."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

from memops.console.admin.sign_in import client_address
from memops.console.audit import record_or_log
from memops.console.audit.acting import Acting, acting

REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
ANONYMOUS = "anonymous"


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
                record_or_log("permission.refused", object_type="page", object_id=request.path, method=request.method)
        response.headers["X-Request-ID"] = request_id
        return response
