"""The second factor: who has to have one, which code is right, and what is kept of it.

django-otp keeps the devices, slows down who guesses, and takes no code twice. Recovery codes are its static tokens, but
what it keeps of them here is a hash: they are 80 random bits, which a hash without a salt of its own protects as well.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import segno
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice, default_key

from memops.console import units
from memops.console.audit import record, record_or_log
from memops.console.errors import (
    CodesThrottled,
    CodeUnreadable,
    CodeWrong,
    DeviceNotConfirmed,
    NoSecondFactor,
    SecondFactorExists,
)

READS = frozenset(("memops_console.verify_auditevent", "memops_console.export_auditevent"))
"""Permissions that change nothing, beside those to view."""

RECOVERY_CODES = 10
LONGEST_CODE = 40
"""Characters that are worth reading: a recovery code has sixteen, and people put spaces between them."""

TIME_CODE = re.compile(r"[0-9]{6}")
RECOVERY_CODE = re.compile(r"[a-z2-7]{16}")
TOLERANCE = 1
"""Steps of half a minute by which a clock may be wrong."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What somebody has. Neither the secret nor a code is in it."""

    since: datetime
    last_used: datetime | None
    recovery_codes_left: int


def is_required() -> bool:
    return bool(settings.MEMOPS_SECOND_FACTOR == "required")


def is_asked_of(user: User | AnonymousUser) -> bool:
    """Of whoever may do more than read, and of whoever has set one up."""
    return is_required() and isinstance(user, User) and (may_act(user) or has_one(user))


def may_act(user: User) -> bool:
    return any(
        not permission.partition(".")[2].startswith("view_") and permission not in READS
        for permission in user.get_all_permissions()
    )


def has_one(user: User | AnonymousUser) -> bool:
    return isinstance(user, User) and TOTPDevice.objects.filter(user=user, confirmed=True).exists()


def standing(user: User) -> Standing | None:
    device = TOTPDevice.objects.filter(user=user, confirmed=True).first()
    if device is None:
        return None
    codes = StaticDevice.objects.filter(user=user).first()
    used = [one.last_used_at for one in (device, codes) if one is not None and one.last_used_at]
    return Standing(
        since=device.created_at,
        last_used=max(used, default=None),
        recovery_codes_left=codes.token_set.count() if codes is not None else 0,
    )


def verify(user: User, typed: str) -> Any:
    """The device that a code belongs to; the code is used up by it.

    Raises NoSecondFactor, CodeUnreadable, CodeWrong, CodesThrottled, AuditUnwritable.
    """
    name, code = user.get_username(), _plain(typed)
    if not has_one(user):
        raise NoSecondFactor(name=name)
    if TIME_CODE.fullmatch(code):
        model, token, action = TOTPDevice, code, "second_factor.passed"
    elif RECOVERY_CODE.fullmatch(code):
        model, token, action = StaticDevice, _hashed(user, code), "second_factor.recovery_code_used"
    else:
        raise CodeUnreadable()
    with transaction.atomic():
        device = model.objects.select_for_update().filter(user=user, confirmed=True).first()
        if device is None:
            raise CodeWrong()
        allowed, why = device.verify_is_allowed()
        if not allowed:
            wait = max(timedelta(seconds=1), why["locked_until"] - timezone.now())
            raise CodesThrottled(failures=why["failure_count"], wait=units.duration(wait))
        is_right = device.verify_token(token)
    if not is_right:
        record_or_log("second_factor.wrong", actor=name, failures=device.throttling_failure_count, **_whose(user))
        raise CodeWrong()
    record(action, actor=name, **_whose(user))
    return device


def new_key() -> str:
    """The secret of a device that is to be set up, in hexadecimal."""
    return str(default_key())


def picture(user: User, key: str) -> str:
    """The QR code that an authenticator scans, as SVG; without styles, which the content security policy forbids."""
    address = TOTPDevice(user=user, key=key).config_url
    return str(
        segno.make(address, error="m", micro=False).svg_inline(scale=5, light="#fff", svgclass="qr", lineclass=None)
    )


def typeable(key: str) -> str:
    """The same secret for whoever cannot scan, in groups of four."""
    text = base64.b32encode(bytes.fromhex(key)).decode().rstrip("=")
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def set_up(user: User, *, key: str, typed: str, may_replace: bool) -> tuple[Any, list[str]]:
    """Keep a device, once it has shown a right code, in place of any other; gives it, and new recovery codes.

    Raises DeviceNotConfirmed, SecondFactorExists, AuditUnwritable.
    """
    code = _plain(typed)
    totp = TOTP(bytes.fromhex(key))
    totp.time = time.time()
    if not TIME_CODE.fullmatch(code) or not totp.verify(int(code), tolerance=TOLERANCE):
        raise DeviceNotConfirmed()
    with transaction.atomic():
        # Of two that know the password and nothing else, one is first.
        User.objects.select_for_update().get(pk=user.pk)
        if not may_replace and has_one(user):
            raise SecondFactorExists(name=user.get_username())
        _forget(user)
        device = TOTPDevice.objects.create(
            user=user, name="authenticator", key=key, tolerance=TOLERANCE, drift=totp.drift, last_t=totp.t()
        )
        codes = _new_codes(user)
        record("second_factor.set_up", actor=user.get_username(), **_whose(user))
    return device, codes


def new_recovery_codes(user: User) -> list[str]:
    """Ten codes, shown once; the ones before are void. Raises NoSecondFactor, AuditUnwritable."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        if not has_one(user):
            raise NoSecondFactor(name=user.get_username())
        codes = _new_codes(user)
        record("second_factor.recovery_codes_made", actor=user.get_username(), **_whose(user))
    return codes


def remove(user: User, *, by: str) -> None:
    """Forget somebody's device and recovery codes; whoever was let in by them is asked again.

    Raises NoSecondFactor, AuditUnwritable.
    """
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        if not has_one(user):
            raise NoSecondFactor(name=user.get_username())
        _forget(user)
        record("second_factor.removed", actor=by, **_whose(user))


def _forget(user: User) -> None:
    TOTPDevice.objects.filter(user=user).delete()
    StaticDevice.objects.filter(user=user).delete()


def _new_codes(user: User) -> list[str]:
    codes = [base64.b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(RECOVERY_CODES)]
    device, _ = StaticDevice.objects.get_or_create(user=user, defaults={"name": "recovery codes"})
    device.token_set.all().delete()
    for code in codes:
        device.token_set.create(token=_hashed(user, code))
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]


def _hashed(user: User, code: str) -> str:
    """What is kept of a recovery code: as many bits as it has."""
    return base64.b32encode(sha256(f"memops recovery code {user.pk} {code}".encode()).digest()[:10]).decode()


def _plain(typed: str) -> str:
    return re.sub(r"[\s-]", "", typed).lower()


def _whose(user: User) -> dict[str, Any]:
    return {"object_type": "user", "object_id": user.pk, "name": user.get_username()}
