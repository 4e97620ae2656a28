"""What an argument of a verb may be. An error says what it has to be, and quotes no more than a glimpse of what it was.

Texts have no kind of their own: ``demand_texts`` looks at all of them, also at those of a verb that is added.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import CommandParser

from memops.console.characters import is_text, quoted
from memops.console.errors import ArgumentUnreadable

NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
LONGEST_ERROR = 300


def tells_briefly(parser: CommandParser) -> None:
    """Let it tell what is wrong in a sentence, and not in a hundred kilobytes of what was typed."""
    tell: Callable[[str], NoReturn] = parser.error

    def briefly(message: str) -> NoReturn:
        tell(quoted(message, longest=LONGEST_ERROR))

    # Django makes the parser: its class is not ours to choose.
    parser.error = briefly  # type: ignore[method-assign]


def number(text: str) -> int:
    """The number of a run, a backup, an item."""
    if not NUMBER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"has to be a whole number, such as 17, and not {quoted(text, longest=30)!r}")
    return int(text)


def between(least: int, most: int) -> Callable[[str], int]:
    def bounded(text: str) -> int:
        found = number(text)
        if not least <= found <= most:
            raise argparse.ArgumentTypeError(f"has to be between {least:,} and {most:,}")
        return found

    return bounded


def file(text: str) -> Path:
    """A path may have any bytes but NUL, and some name a file."""
    if "\0" in text or not text.strip():
        raise argparse.ArgumentTypeError("has to be the path of a file")
    return Path(text)


def demand_texts(parser: argparse.ArgumentParser, options: dict[str, Any]) -> None:
    """Raises ArgumentUnreadable where one of the texts cannot be kept, or looked for, in the database."""
    for argument in parser._actions:
        value = options.get(argument.dest)
        if isinstance(value, str) and not is_text(value):
            raise ArgumentUnreadable(
                argument=argument.option_strings[-1] if argument.option_strings else argument.metavar
            )
