"""hmac_user: the one name that a user has in the database, and the errors of the data plane."""

import hashlib
import hmac
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memops.errors import KeyUnusable, TenantRefused
from memops.tenancy import hmac_user

KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def _key(settings):
    settings.MEMORY_TENANT_HMAC_KEY = KEY


def test_a_user_hash_is_the_hmac_sha256_that_the_sister_systems_compute():
    assert hmac_user("ann@example.com") == "7fd723e36b1c9108cdb7920372eed4450ff2050f2cda0bd65d71e5d09de0079c"


@pytest.mark.parametrize("user_id", ["ann", " ann", "Ann", "Änn", "ann\n", "安", "🙂"])
def test_a_user_hash_is_computed_over_the_id_as_it_is(user_id):
    assert hmac_user(user_id) == hmac.new(KEY, user_id.encode("utf-8"), hashlib.sha256).hexdigest()


@given(st.text().filter(str.strip).filter(lambda text: text.isprintable()))
def test_a_user_hash_is_64_lower_case_hex_digits(user_id):
    assert len(hmac_user(user_id)) == 64
    assert set(hmac_user(user_id)) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("user_id", "found"),
    [
        ("", "blank"),
        (" \t\n", "blank"),
        (None, "of type NoneType"),
        (7, "of type int"),
        (b"ann", "of type bytes"),
        ("\ud800", "a string that UTF-8 cannot express"),
    ],
)
def test_what_is_no_user_id_is_refused(user_id, found):
    with pytest.raises(TenantRefused, match=f"this was {found}"):
        hmac_user(user_id)


@pytest.mark.parametrize("key", [None, b"", b"short", "k" * 32])
def test_without_a_proper_key_no_user_has_a_hash(settings, key):
    settings.MEMORY_TENANT_HMAC_KEY = key

    with pytest.raises(KeyUnusable, match=r"^MEMORY_TENANT_HMAC_KEY is not "):
        hmac_user("ann")


def test_an_error_survives_the_way_through_a_queue():
    error = KeyUnusable(setting="SOME_KEY", problem="is not set")

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is KeyUnusable
    assert str(again) == str(error)
    assert again.facts == {"setting": "SOME_KEY", "problem": "is not set"}
    assert "\n" not in str(error)
