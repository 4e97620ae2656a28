"""The one place that sends something over HTTP: JSON to an address from the settings, which may hold a secret."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from django.conf import settings

from memops.console.errors import WebhookFailed, WebhookMissing

TIMEOUT_SECONDS = 10


def anchor_url() -> str:
    """Raises WebhookMissing."""
    return _configured("MEMOPS_ANCHOR_WEBHOOK")


def send(url: str, payload: dict[str, Any]) -> None:
    """POST as JSON; anything but a 2xx is a failure, and redirections are not followed. Raises WebhookFailed."""
    request = urllib.request.Request(
        url,
        data=json.dumps(payload).encode(),
        headers={"Content-Type": "application/json", "User-Agent": f"memops/{settings.MEMOPS_VERSION}"},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirection).open(request, timeout=TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError as error:
        raise WebhookFailed(problem=f"it answered {error.code}") from None
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise WebhookFailed(problem=f"it cannot be reached ({type(reason).__name__})") from None


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **options: Any) -> None:
        return None


def _configured(setting: str) -> str:
    url: str = getattr(settings, setting)
    if not url:
        raise WebhookMissing(setting=setting)
    return url
