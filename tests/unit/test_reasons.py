"""A reason is asked for, and says on every page what it says in the record."""

import pytest

from memops.console.errors import ReasonMissing, ReasonUnreadable
from memops.console.runs.request import LONGEST_REASON, readable_reason


@pytest.mark.parametrize("reason", ["", "   ", "\n\t"])
def test_a_blank_reason_is_refused(reason):
    with pytest.raises(ReasonMissing):
        readable_reason(reason)


@pytest.mark.parametrize("reason", ["deploy \x00 broke", "abc\u202edef", "zero\u200bwidth", "\x1b[31mred"])
def test_characters_that_do_not_show_are_refused_by_name(reason):
    with pytest.raises(ReasonUnreadable, match="do not show"):
        readable_reason(reason)


def test_a_reason_that_is_too_long_is_refused_not_cut():
    with pytest.raises(ReasonUnreadable, match=str(LONGEST_REASON)):
        readable_reason("x" * (LONGEST_REASON + 1))


def test_lines_and_letters_of_any_language_are_kept():
    assert readable_reason("  Größe überschritten\n日本語; <b>'--") == "Größe überschritten\n日本語; <b>'--"
