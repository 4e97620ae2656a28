"""What every error is: its docstring is its message."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any


class ConsoleError(Exception):
    """memops stopped; what it had not yet done was not done.

    The first paragraph of a subclass's docstring is its message; names in braces are filled from the keyword arguments
    and kept in ``facts``. A message never holds the content of a memory, a password, a DSN or another session's query.
    """

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        # python -OO strips docstrings: the class name is then all there is to say.
        sentence = inspect.cleandoc(type(self).__doc__ or type(self).__name__).split("\n\n")[0]
        super().__init__(" ".join(sentence.split()).format(**facts))

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return partial(type(self), **self.facts), ()


class Refused(ConsoleError):
    """A rule forbids it. Nothing was changed."""


class Failed(ConsoleError):
    """A step ended with an error."""


class OutcomeUnknown(ConsoleError):
    """The connection to the target "{target}" was lost, and whether the change happened could not be read from it.
    The run is kept as unknown, and the target takes no other. When it answers again: manage.py memops reconcile."""


class UsageError(Refused):
    """What was asked for does not exist, or not like this. Nothing was changed."""


class UnknownTarget(UsageError):
    """There is no target "{target}". Targets are: {targets}. Nothing was changed."""


class TargetUnreachable(Failed):
    """The target "{target}" does not answer: {reason}. Nothing was changed on it. Check that the server runs and
    that the alias's URL is right, then try again."""


class TableLocked(Failed):
    """Another session keeps {table} for itself, and memops could not look at it within {waited}. Nothing was changed.
    Try again when that session has ended."""
