"""What may be chosen for a restore, as it is typed: what becomes of rows that stand in the table."""

from __future__ import annotations

from memops.console.errors import RestoreChoiceInvalid
from memops.console.pg.standing import Choice

WORDS = {choice.value: choice.words for choice in Choice}
"""Value and words of each, for doors to offer."""


def read(text: str) -> Choice | None:
    """None where nothing was chosen: then no row may stand there. Raises RestoreChoiceInvalid."""
    if not text:
        return None
    try:
        return Choice(text)
    except ValueError:
        raise RestoreChoiceInvalid(choices=", ".join(Choice)) from None
