"""What a confirmation page gives out once: proof of who saw which plan, and when."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.core import signing

from memops.console.models.plans import Plan, digest

VALID_FOR = timedelta(hours=1)
SALT = "memops.console.confirm"


class NotAsShown(Exception):
    """The form is too old, not ours, of another person or of another page. What to tell them is in ``args``."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The plan that a person was shown. ``nonce`` makes the form good for one run: two clicks are not two runs."""

    user: str
    intent: str
    binding: dict[str, Any]
    nonce: str

    @property
    def digest(self) -> str:
        return digest(self.binding)


def seal(plan: Plan, *, user: str, intent: str) -> str:
    """A form field that nobody can alter, though everybody can read it: it holds what the page shows anyway."""
    seen = Seen(user=user, intent=intent, binding=plan.binding, nonce=secrets.token_hex(16))
    return signing.dumps(asdict(seen), salt=SALT, compress=True)


def unseal(sealed: str, *, user: str, intent: str) -> Seen:
    """Raises NotAsShown."""
    try:
        seen = Seen(**signing.loads(sealed, salt=SALT, max_age=VALID_FOR))
    except signing.SignatureExpired as expired:
        raise NotAsShown(
            "This page was opened more than an hour ago. Nothing was started. Read the plan below, which is new, and "
            "confirm it."
        ) from expired
    except (signing.BadSignature, TypeError, ValueError) as broken:
        raise NotAsShown(
            "This form is not one that the console gave out. Nothing was started. Read the plan below and confirm it."
        ) from broken
    if (seen.user, seen.intent) != (user, intent):
        raise NotAsShown(
            "This form was made for another person or another page. Nothing was started. Read the plan below and "
            "confirm it."
        )
    return seen
