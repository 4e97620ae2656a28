"""Demo data: cut where words end, sealed, and near each other when they speak of the same thing."""

import json
import math
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pydoc_data.topics import topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memops import demo
from memops.sealing import open_sealed
from memops.tenancy import hmac_user


@pytest.fixture(autouse=True)
def _keys(settings):
    settings.MEMORY_TENANT_HMAC_KEY = os.urandom(32)
    settings.MEMORY_ENCRYPTION_KEY = os.urandom(32)
    settings.MEMORY_ENCRYPTION_KEY_OLD = None


@pytest.fixture
def rows():
    """A thousand rows of ten tenants."""
    return list(demo.demo_rows(demo.tenant_sizes(1000, 10), dimensions=16))


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


@given(
    words=st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1), max_size=300),
    first_chars=st.integers(1, 900),
)
def test_chunks_cover_the_document_and_end_between_words(words, first_chars):
    document = " ".join(words)

    chunks = demo.cut(document, first_chars=first_chars)

    assert "".join(chunk.text for chunk in chunks) == document
    for chunk in chunks:
        assert chunk.text == document[chunk.start : chunk.end] != ""
        assert chunk.end == len(document) or document[chunk.end - 1] == " "


@given(text=st.text(), dimensions=st.integers(1, 40))
def test_every_text_has_an_embedding_of_length_one(text, dimensions):
    vector = demo.embed(text, dimensions)

    assert len(vector) == dimensions
    assert math.hypot(*vector) == pytest.approx(1)


def test_an_embedding_is_the_same_on_every_machine():
    assert demo.embed("memory", 3) == pytest.approx([0.54011874, 0.09618553, -0.83607421])


def test_texts_that_share_words_are_nearer():
    question = demo.embed("How is an anonymous function made by a lambda expression?", 1536)

    nearness = {topic: cosine(question, demo.embed(text, 1536)) for topic, text in topics.items()}

    assert max(nearness, key=nearness.get) == "lambda"


@given(rows=st.integers(1, 5000), tenants=st.integers(1, 300))
def test_tenants_share_all_rows_and_none_goes_empty(rows, tenants):
    sizes = demo.tenant_sizes(rows, tenants)

    assert sum(sizes) == rows
    assert len(sizes) == min(rows, tenants)
    assert min(sizes) >= 1
    assert sizes == sorted(sizes, reverse=True)


def test_the_largest_of_forty_tenants_has_about_half_of_the_rows():
    sizes = demo.tenant_sizes(10_000, 40)

    assert 4_500 < sizes[0] < 5_500
    assert sizes[-1] < 20


def test_each_tenant_gets_the_rows_it_should(rows):
    sizes = demo.tenant_sizes(1000, 10)

    assert Counter(row.user_hash for row in rows) == {
        hmac_user(demo.user_id(rank)): size for rank, size in enumerate(sizes, 1)
    }


def test_a_row_opens_for_its_tenant_to_the_text_at_its_place_in_the_document(rows):
    for row in rows:
        topic = row.doc_id.partition("/")[0]
        assert open_sealed(row.text_cipher, row.user_hash).decode() == topics[topic][row.char_start : row.char_end]
        assert json.loads(open_sealed(row.meta_cipher, row.user_hash))["title"] == topics[topic].partition("\n")[0]


def test_a_row_carries_the_embedding_of_its_text(rows):
    for row in rows[:50]:
        text = open_sealed(row.text_cipher, row.user_hash).decode()
        assert row.embedding.to_list() == pytest.approx(demo.embed(text, 16), abs=1e-6)


def test_the_chunks_of_a_tenants_document_are_numbered_from_zero(rows):
    documents = {}
    for row in rows:
        documents.setdefault((row.user_hash, row.doc_id), []).append(row.chunk_index)

    assert all(indexes == list(range(len(indexes))) for indexes in documents.values())


def test_rows_come_in_over_half_a_year_and_some_of_them_expire(rows):
    now = datetime.now(UTC)

    assert [row.created_at for row in rows] == sorted(row.created_at for row in rows)
    assert timedelta(days=170) < rows[-1].created_at - rows[0].created_at < timedelta(days=181)
    assert all(row.created_at <= row.updated_at <= now for row in rows)
    assert any(row.expires_at is None for row in rows)
    assert any(row.expires_at and row.expires_at < now for row in rows)
    assert any(row.expires_at and row.expires_at > now for row in rows)
