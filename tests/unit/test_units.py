"""Sizes and durations as people read them."""

from datetime import timedelta

import pytest

from memops.console import units


@pytest.mark.parametrize(
    ("took", "shown"),
    [
        (timedelta(milliseconds=45), "45 ms"),
        (timedelta(seconds=3.21), "3.2 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(seconds=125), "2 min 5 s"),
        (timedelta(hours=3, minutes=20), "3 h 20 min"),
        (timedelta(days=4, hours=2), "4 d 2 h"),
        (None, ""),
    ],
)
def test_a_duration_has_the_units_that_matter(took: timedelta | None, shown: str) -> None:
    assert units.duration(took) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, "not known"),
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 kB"),
        (67_300_000, "64.2 MB"),
        (3 * 2**40, "3.0 TB"),
    ],
)
def test_a_size_has_the_unit_that_matters(number: int | None, shown: str) -> None:
    assert units.size(number) == shown
