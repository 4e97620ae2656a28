"""From when on idle transactions may be ended: a whole number of seconds within the limits, or nobody is."""

from datetime import timedelta

import pytest

from memops.console.errors import EndIdleInvalid
from memops.console.runs import idle


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_nothing_typed_ends_nobody(nothing):
    assert idle.read(nothing) is None


@pytest.mark.parametrize(("typed", "seconds"), [("5", 5), (" 30 ", 30), ("0090", 90), ("86400", 86400)])
def test_a_whole_number_of_seconds_is_the_limit(typed, seconds):
    assert idle.read(typed) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "typed",
    ["4", "0", "-30", "+30", "1.5", "1e3", "30 s", "soon", "86401", "9" * 10_000_000, "٣٠", "1_000", "3\0", "\u202e30"],
)
def test_anything_else_is_refused_with_what_is_possible(typed):
    with pytest.raises(EndIdleInvalid, match="a whole number of seconds from 5 to 86400") as refused:
        idle.read(typed)

    assert len(str(refused.value)) < 300


def test_the_least_is_that_of_the_settings(settings):
    settings.MEMOPS_END_IDLE_LEAST = timedelta(seconds=60)

    with pytest.raises(EndIdleInvalid, match="from 60 to 86400"):
        idle.read("59")
    assert idle.read("60") == timedelta(seconds=60)


def test_approvers_read_whose_sessions_are_ended_and_whose_are_not():
    assert "nobody's session is ended" in idle.words(None)
    assert "idle for more than 90 s" in idle.words(timedelta(seconds=90))
    assert "A session that works is never ended" in idle.words(timedelta(seconds=90))
