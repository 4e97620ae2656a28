"""Sealing: what comes out is what went in, for its tenant only, or a clear error that says nothing of the content."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from memops.errors import KeyUnusable, SealBroken, SealUnbound
from memops.sealing import NONCE_BYTES, TAG_BYTES, Keyring, open_sealed, seal

ANN = "a" * 64
BEN = "b" * 64
RING = Keyring([bytes(range(32))])


@pytest.fixture
def keys(settings):
    """Keys as an installation has them; a test may change them."""
    settings.MEMORY_ENCRYPTION_KEY = os.urandom(32)
    settings.MEMORY_ENCRYPTION_KEY_OLD = None
    return settings


@given(plaintext=st.binary(max_size=4096), aad=st.text(min_size=1) | st.binary(min_size=1))
def test_what_is_sealed_opens_again(plaintext, aad):
    assert RING.open(RING.seal(plaintext, aad), aad) == plaintext


@given(plaintext=st.binary(max_size=200), data=st.data())
def test_a_blob_with_any_bit_flipped_does_not_open(plaintext, data):
    blob = bytearray(RING.seal(plaintext, ANN))
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[bit // 8] ^= 1 << bit % 8

    with pytest.raises(SealBroken):
        RING.open(bytes(blob), ANN)


@given(plaintext=st.binary(max_size=200), data=st.data())
def test_a_blob_that_was_cut_off_or_lengthened_does_not_open(plaintext, data):
    blob = RING.seal(plaintext, ANN)
    kept = data.draw(st.integers(0, len(blob) - 1))

    for damaged in (blob[:kept], blob + b"\0"):
        with pytest.raises(SealBroken):
            RING.open(damaged, ANN)


def test_a_blob_of_another_tenant_does_not_open_and_the_error_is_silent_about_its_content(keys):
    blob = seal(b"the diary of Ann", ANN)

    with pytest.raises(SealBroken) as refusal:
        open_sealed(blob, BEN)

    assert "44 bytes did not open" in str(refusal.value)
    assert "diary" not in str(refusal.value)
    assert blob.hex() not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_the_format_is_nonce_then_ciphertext_then_tag(keys):
    blob = seal(b"hello", ANN)

    assert len(blob) == NONCE_BYTES + 5 + TAG_BYTES
    assert AESGCM(keys.MEMORY_ENCRYPTION_KEY).decrypt(blob[:12], blob[12:], ANN.encode()) == b"hello"


def test_a_blob_made_by_the_system_before_memops_opens(keys):
    nonce = os.urandom(12)
    blob = nonce + AESGCM(keys.MEMORY_ENCRYPTION_KEY).encrypt(nonce, b"from before", ANN.encode())

    assert open_sealed(blob, ANN) == b"from before"


def test_the_same_text_sealed_twice_is_two_blobs():
    blobs = {RING.seal(b"again", ANN) for _ in range(1000)}

    assert len({blob[:NONCE_BYTES] for blob in blobs}) == 1000
    assert len({blob[NONCE_BYTES:] for blob in blobs}) == 1000


def test_text_and_bytes_of_a_user_hash_bind_alike():
    assert RING.open(RING.seal(b"hello", ANN), ANN.encode()) == b"hello"


def test_during_a_rotation_the_old_key_opens_and_the_new_one_seals(keys):
    old, new = keys.MEMORY_ENCRYPTION_KEY, os.urandom(32)
    before = seal(b"before", ANN)

    keys.MEMORY_ENCRYPTION_KEY, keys.MEMORY_ENCRYPTION_KEY_OLD = new, old
    during = seal(b"during", ANN)

    assert open_sealed(before, ANN) == b"before"
    assert Keyring([new]).open(during, ANN) == b"during"
    with pytest.raises(SealBroken, match="key that is not configured"):
        Keyring([old]).open(during, ANN)


def test_a_retired_key_opens_no_more(keys):
    blob = seal(b"before", ANN)

    keys.MEMORY_ENCRYPTION_KEY = os.urandom(32)

    with pytest.raises(SealBroken):
        open_sealed(blob, ANN)


@pytest.mark.parametrize("nothing", ["", b""])
def test_nothing_is_sealed_or_opened_without_a_tenant(keys, nothing):
    blob = seal(b"hello", ANN)

    with pytest.raises(SealUnbound):
        seal(b"hello", nothing)
    with pytest.raises(SealUnbound):
        open_sealed(blob, nothing)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("MEMORY_ENCRYPTION_KEY", None),
        ("MEMORY_ENCRYPTION_KEY", b""),
        ("MEMORY_ENCRYPTION_KEY", b"k" * 31),
        ("MEMORY_ENCRYPTION_KEY_OLD", b"k" * 16),
    ],
)
def test_without_a_proper_key_nothing_is_sealed_or_opened(keys, name, key):
    blob = seal(b"hello", ANN)
    setattr(keys, name, key)

    for refused in (lambda: seal(b"hello", ANN), lambda: open_sealed(blob, ANN)):
        with pytest.raises(KeyUnusable, match=f"^{name} is not "):
            refused()


def test_without_the_setting_nothing_is_sealed(keys):
    del keys.MEMORY_ENCRYPTION_KEY

    with pytest.raises(KeyUnusable, match="MEMORY_ENCRYPTION_KEY is not set"):
        seal(b"hello", ANN)


def test_a_keyring_takes_only_whole_keys_and_does_not_show_them():
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring([])
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring([b"k" * 32, b"short"])

    assert repr(Keyring([b"k" * 32])) == "<Keyring of 1>"
