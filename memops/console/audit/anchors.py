"""Signed heads of the chain, kept outside the database: who rewrites the trail cannot rewrite them with it.

One line of JSON each, at every closing of a run, and in every backup's manifest. docs/audit.md defines what is signed.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from memops.console import webhook
from memops.console.audit import record, record_or_log
from memops.console.audit.verify_export import Anchor, Unreadable, anchors_of, signed_form
from memops.console.errors import AnchorsGone, AnchorUnwritable, AuditUnwritable, ChainBroken, TargetUnreachable
from memops.console.pg import trail
from project.private import make_folder

BEGUN = "audit.anchors_begun"
ACCEPTED = "audit.accepted"
LONGEST_LINE_BYTES = 8192

journal = structlog.get_logger("memops.audit")


def signed_head() -> dict[str, Any] | None:
    """The chain's head as it is written to anchors, manifests and exports; None where no event is. Raises
    TargetUnreachable, psycopg.Error."""
    found = trail.head()
    return signed(*found) if found else None


def signed(sequence: int, hash_: str) -> dict[str, Any]:
    """One head, dated and signed."""
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    signature = _key().sign(signed_form(sequence, hash_, at))
    return {
        "head": {"sequence": sequence, "hash": hash_},
        "at": at,
        "key": public_key(),
        "signature": base64.b64encode(signature).decode(),
    }


def public_key() -> str:
    """What signatures are checked with, in base64: it is no secret."""
    return base64.b64encode(_key().public_key().public_bytes_raw()).decode()


def anchor(*, anew: bool = False) -> dict[str, Any] | None:
    """Add the head of now to the file of anchors; None where no event is. Raises AnchorUnwritable, AuditUnwritable,
    and AnchorsGone: a file that was begun is begun again only where that is asked for (``anew``)."""
    file: Path = settings.MEMOPS_ANCHORS
    try:
        is_there, was_begun = bool(_last_line(file)), bool(trail.last_of(BEGUN))
        if was_begun and not is_there and not anew:
            raise AnchorsGone(file=file)
        if not is_there and (first := signed_head()) is not None:
            # Before it is said that there is one: where it cannot be written, nobody will miss it.
            _append(file, json.dumps(first))
        if not is_there or not was_begun:
            record(BEGUN, key=public_key())
        head = signed_head()
        if head is not None:
            _append(file, json.dumps(head))
    except (TargetUnreachable, psycopg.Error) as error:
        raise AuditUnwritable(problem=type(error).__name__) from error
    except OSError as error:
        raise AnchorUnwritable(file=file, problem=os.strerror(error.errno or 0)) from error
    return head


def anchor_or_log() -> None:
    """At a closing, which cannot be held back: the next run is measured against an older anchor then."""
    try:
        anchor()
    except (AnchorsGone, AnchorUnwritable, AuditUnwritable) as error:
        journal.error("no anchor written", error=str(error))
        record_or_log("audit.anchor_failed", problem=type(error).__name__)


def post() -> dict[str, Any] | None:
    """Anchor the head of now, and send it to the webhook. Raises WebhookMissing, WebhookFailed, and as ``anchor``."""
    url = webhook.anchor_url()
    head = anchor()
    if head is not None:
        webhook.send(url, head)
        record("audit.anchor_sent", sequence=head["head"]["sequence"])
    return head


def demand_unbroken() -> None:
    """Raises ChainBroken unless the chain has the last anchor's event, and its guards are on; AuditUnwritable if
    nobody can tell."""
    if problem := problem_now():
        raise ChainBroken(problem=problem)


def problem_now() -> str:
    """What is wrong with the chain, as far as the last anchor tells; it takes milliseconds at any length. Raises
    AuditUnwritable."""
    try:
        if off := trail.guards_off():
            return f"the {', the '.join(off)}"
        last = last_anchor()
        if last is None:
            begun = trail.last_of(BEGUN)
            return f"its file of anchors {settings.MEMOPS_ANCHORS} is empty or gone" if begun else ""
        found = trail.hash_of(last.sequence)
    except Unreadable as error:
        return f"the last line of {settings.MEMOPS_ANCHORS} cannot be used: {error}"
    except (TargetUnreachable, psycopg.Error) as error:
        raise AuditUnwritable(problem=type(error).__name__) from error
    except OSError as error:
        return f"{settings.MEMOPS_ANCHORS} cannot be read ({os.strerror(error.errno or 0)})"
    if not is_ours(last):
        return f"the last line of {settings.MEMOPS_ANCHORS} was not signed with the key of this console"
    if found is None:
        return f"event {last.sequence}, which an anchor has seen, is not there: the end was cut off"
    if found != last.hash:
        return f"event {last.sequence} is not the one that an anchor has seen: it was rewritten"
    return ""


def accept(*, reason: str, actor: str) -> str:
    """Go on with the chain as it is, and begin a new file of anchors beside the old one; returns what was wrong.

    The event says it for ever. Raises AuditUnwritable, AnchorUnwritable.
    """
    problem = problem_now()
    if problem.startswith("the trigger"):
        raise ChainBroken(problem=problem)
    record(ACCEPTED, actor=actor, reason=reason, problem=problem or "nothing")
    file: Path = settings.MEMOPS_ANCHORS
    try:
        if problem and file.exists():
            file.rename(file.with_name(f"{file.name}.until-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"))
    except OSError as error:
        raise AnchorUnwritable(file=file, problem=os.strerror(error.errno or 0)) from error
    anchor(anew=True)
    return problem


def kept() -> list[Anchor]:
    """Every anchor of the console's own file. Raises Unreadable."""
    file: Path = settings.MEMOPS_ANCHORS
    return anchors_of(str(file)) if file.exists() and file.stat().st_size else []


def last_anchor() -> Anchor | None:
    """Raises Unreadable, OSError."""
    line = _last_line(settings.MEMOPS_ANCHORS)
    return Anchor.from_json(line) if line else None


def is_ours(found: Anchor) -> bool:
    """Was it signed with this console's key?"""
    try:
        _key().public_key().verify(base64.b64decode(found.signature), signed_form(found.sequence, found.hash, found.at))
    except (InvalidSignature, ValueError):
        return False
    return True


def _key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(settings.MEMOPS_AUDIT_KEY)


def _append(file: Path, line: str) -> None:
    """One line, on the disk when this returns, or nothing. What a crash has left half-written is taken away first."""
    make_folder(file.parent)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "rb+", buffering=0) as kept_file:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        found = os.fstat(descriptor)
        if found.st_uid == os.geteuid() and found.st_mode & 0o600 != 0o600:
            os.fchmod(descriptor, 0o600)  # Some umasks take the owner's own rights away.
        size = found.st_size
        begin = max(0, size - LONGEST_LINE_BYTES)
        torn = len(os.pread(descriptor, LONGEST_LINE_BYTES, begin).rpartition(b"\n")[2])
        if torn:
            kept_file.truncate(size - torn)
        data = f"{line}\n".encode()
        try:
            if kept_file.write(data) != len(data):
                raise OSError(errno.ENOSPC, "short write")
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                kept_file.truncate(size - torn)
            raise


def _last_line(file: Path) -> str:
    """The last whole line; "" where there is none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor, "rb") as kept_file:
        size = os.fstat(descriptor).st_size
        kept_file.seek(max(0, size - LONGEST_LINE_BYTES))
        whole = kept_file.read().rpartition(b"\n")[0]
    lines = [line for line in whole.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
