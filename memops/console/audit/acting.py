"""Who acts at the moment, from where, and in which request: what an event says of it, whatever code writes it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

SYSTEM = "memops"
"""The actor where no person acts: a worker."""


@dataclass(frozen=True, kw_only=True)
class Acting:
    actor: str
    address: str = ""
    request_id: str = ""


_now: ContextVar[Acting | None] = ContextVar("memops_acting", default=None)


def current() -> Acting:
    """Outside of requests it is the account that the process runs under."""
    return _now.get() or Acting(actor=account())


@contextmanager
def acting(who: Acting) -> Iterator[None]:
    """Events of this block are ``who``'s, unless they name somebody else."""
    token = _now.set(who)
    try:
        yield
    finally:
        _now.reset(token)


def account() -> str:
    """The account of the operating system that this process runs under."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown account"
