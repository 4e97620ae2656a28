"""What is kept of a memory: AES-256-GCM, bound to its tenant.

A sealed blob is ``nonce(12) || ciphertext || tag(16)``; the additional data is the tenant's ``user_hash``, so a blob
that is moved to another tenant's row does not open. The nonce is random: one key is good for 2**32 blobs (NIST SP
800-38D).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from memops.errors import KeyUnusable, SealBroken, SealUnbound

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


class Keyring:
    """The keys of one installation: the first seals, every one of them opens."""

    __slots__ = ("_ciphers",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError("a keyring takes one or more keys of 32 bytes")
        self._ciphers = tuple(AESGCM(key) for key in keys)

    @classmethod
    def from_settings(cls) -> Keyring:
        """The keyring of ``MEMORY_ENCRYPTION_KEY`` and, during a rotation, ``MEMORY_ENCRYPTION_KEY_OLD``.

        Raises KeyUnusable: without a key nothing is sealed or opened.
        """
        return _keyring(
            getattr(settings, "MEMORY_ENCRYPTION_KEY", None), getattr(settings, "MEMORY_ENCRYPTION_KEY_OLD", None)
        )

    @sensitive_variables("plaintext")
    def seal(self, plaintext: bytes, aad: bytes | str) -> bytes:
        bound_to = _bound_to(aad)
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, plaintext, bound_to)

    def open(self, blob: bytes, aad: bytes | str) -> bytes:
        bound_to = _bound_to(aad)
        if len(blob) < NONCE_BYTES + TAG_BYTES:
            raise SealBroken(length_bytes=len(blob), reason="it is shorter than nonce and tag, so it was cut off")
        nonce, ciphertext = blob[:NONCE_BYTES], blob[NONCE_BYTES:]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, ciphertext, bound_to)
            except InvalidTag:
                continue
        raise SealBroken(
            length_bytes=len(blob),
            reason="it was changed, or sealed for another tenant, or with a key that is not configured"
            f" (tried: {len(self._ciphers)})",
        )

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._ciphers)}>"


@sensitive_variables("plaintext")
def seal(plaintext: bytes, aad: bytes | str) -> bytes:
    """Encrypt ``plaintext`` with the current key, bound to ``aad``: the tenant's ``user_hash``."""
    return Keyring.from_settings().seal(plaintext, aad)


def open_sealed(blob: bytes, aad: bytes | str) -> bytes:
    """Decrypt what ``seal`` made for the same ``aad``, with the current key or the one before it.

    Raises SealBroken if a bit of it was changed, if it belongs to another tenant, or if its key is not configured.
    """
    return Keyring.from_settings().open(blob, aad)


# Keyed by the keys themselves: changed settings make another ring, and the key schedule is computed once.
@lru_cache(maxsize=8)
@sensitive_variables()
def _keyring(key: bytes | None, old_key: bytes | None) -> Keyring:
    if not key:
        raise KeyUnusable(setting="MEMORY_ENCRYPTION_KEY", problem="is not set")
    if len(key) != KEY_BYTES:
        raise KeyUnusable(setting="MEMORY_ENCRYPTION_KEY", problem="is not a key of 32 bytes")
    if not old_key:
        return Keyring([key])
    if len(old_key) != KEY_BYTES:
        raise KeyUnusable(setting="MEMORY_ENCRYPTION_KEY_OLD", problem="is not a key of 32 bytes")
    return Keyring([key, old_key])


def _bound_to(aad: bytes | str) -> bytes:
    if not aad:
        raise SealUnbound()
    return aad.encode() if isinstance(aad, str) else aad
