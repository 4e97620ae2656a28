"""What is hashed of an event, and what the stand-alone verifier says of a chain."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from memops.console.audit import verify_export
from memops.console.audit.verify_export import FIELDS, START, Anchor, canonical, digest, is_signature, verify

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
EVENTS = st.fixed_dictionaries(dict.fromkeys((*FIELDS, "sequence", "previous", "at"), TEXTS))


def chain(length: int) -> list[dict[str, str]]:
    events, previous = [], START
    for number in range(1, length + 1):
        event = dict.fromkeys(FIELDS, "x") | {"sequence": str(number), "previous": previous, "at": f"at {number}"}
        event["hash"] = previous = digest(event)
        events.append(event)
    return events


@given(EVENTS, EVENTS)
def test_two_different_events_never_have_the_same_bytes(one, other):
    assert (canonical(one) == canonical(other)) == (one == other)


@given(st.integers(min_value=2, max_value=12), st.data())
def test_any_prefix_of_a_chain_is_told_from_the_whole_by_its_anchor(length, data):
    events = chain(length)
    cut = data.draw(st.integers(min_value=0, max_value=length - 1))
    anchor = Anchor(length, events[-1]["hash"])

    assert not verify(events, [anchor]).wrong
    found = verify(events[:cut], [anchor])
    assert (found.sequence, found.kind) == (cut + 1, "tail cut")


@given(st.integers(min_value=2, max_value=12), st.data())
def test_an_edit_of_any_field_of_any_event_is_found_where_it_is(length, data):
    events = chain(length)
    place = data.draw(st.integers(min_value=0, max_value=length - 1))
    events[place][data.draw(st.sampled_from([*FIELDS, "at"]))] += "!"

    found = verify_export.verify(events)
    assert (found.sequence, found.kind) == (place + 1, "edited")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.data())
def test_a_signature_is_accepted_for_its_key_and_message_and_for_nothing_else(seed, message, data):
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = private.public_key().public_bytes_raw(), private.sign(message)

    assert is_signature(public, signature, message)
    flipped = bytearray(signature)
    flipped[data.draw(st.integers(0, 63))] ^= 1 << data.draw(st.integers(0, 7))
    assert not is_signature(public, bytes(flipped), message)
    assert not is_signature(public, signature, message + b"!")
    assert not is_signature(Ed25519PrivateKey.generate().public_key().public_bytes_raw(), signature, message)
    assert not is_signature(public, signature[:63], message)
