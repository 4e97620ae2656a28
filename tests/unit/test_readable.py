"""What steps record, as people read it."""

import pytest

from memops.console import units
from memops.console.admin import readable


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("size_bytes", 2048, "2.0 kB (2,048 bytes)"),
        ("rows", 10_000, "10,000"),
        ("table_oid", 10_000, "10000"),
        ("transaction_ms", 12.34, "12.3 ms"),
        ("waited_seconds", 0.2, "200 ms"),
        ("took", "P0DT00H00M01.200000S", "1.2 s"),
        ("started_at", "2026-07-28T10:00:00Z", "2026-07-28 10:00:00 UTC"),
        ("forced", True, "yes"),
        ("comment", None, units.NOTHING),
        ("names", [], "none"),
        ("note", "P-not-a-duration-T", "P-not-a-duration-T"),
    ],
)
def test_a_value_has_the_unit_that_its_name_tells(name: str, value: object, shown: str) -> None:
    assert readable.text(name, value) == shown


def test_a_list_of_records_becomes_a_table_with_every_column() -> None:
    (line,) = readable.lines({"indexes": [{"name": "a", "size_bytes": 1}, {"name": "b", "valid": False}]})
    assert line.heads == ["Name", "Size", "Valid"]
    assert line.rows == [["a", "1 bytes", units.NOTHING], ["b", units.NOTHING, "no"]]


def test_checks_are_shown_as_checks_and_not_as_data() -> None:
    saw = {"checks": [{"name": "table_gone", "ok": True, "detail": "no public.memory_chunks"}], "rows": 3}
    assert readable.checks(saw) == [readable.Check(name="Table gone", ok=True, detail="no public.memory_chunks")]
    assert [line.label for line in readable.lines(saw)] == ["Rows"]


def test_what_machines_compare_is_shown_as_they_see_it() -> None:
    (line,) = readable.lines({"catalogue": {"indexes": {"idx_memory_chunks_doc_id": ["btree"]}}})
    assert line.is_long
    assert "idx_memory_chunks_doc_id" in line.text


def test_names_that_somebody_gave_stay_as_they_are() -> None:
    (line,) = readable.lines({"other_tables": {"public.auth_user": 16400}})
    assert line.items == ["public.auth_user: 16400"]
