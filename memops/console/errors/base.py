"""What every error is: its docstring is its message."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from memops.console.characters import printable, quoted

LONGEST_FACT = 8000
"""Characters: a message can list what is in the way, and never repeats what somebody has typed without end."""

SEVERAL_LINES = frozenset(("said",))
"""Facts that keep their lines: what a program said at its end."""


class ConsoleError(Exception):
    """memops stopped; what it had not yet done was not done.

    The first paragraph of a subclass's docstring is its message; names in braces are filled from the keyword arguments
    and kept in ``facts``. A message never holds the content of a memory, a password, a DSN or another session's query,
    and nothing that does not show: names in it may be anybody's.
    """

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        # python -OO strips docstrings: the class name is then all there is to say.
        sentence = inspect.cleandoc(type(self).__doc__ or type(self).__name__).split("\n\n")[0]
        super().__init__(" ".join(sentence.split()).format(**{name: _told(name, facts[name]) for name in facts}))

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return partial(type(self), **self.facts), ()


def _told(name: str, fact: object) -> object:
    if not isinstance(fact, str):
        return fact
    return printable(fact) if name in SEVERAL_LINES else quoted(fact, longest=LONGEST_FACT)


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
    """The target "{target}" does not answer: {reason}. This changed nothing on it. Check that the server runs and
    that the alias's URL is right, then try again."""


class TargetLost(TargetUnreachable):
    """The connection to the target "{target}" was lost: {reason}. It was only read, and this changed nothing on it.
    Check that the server runs and what lies between it and memops, then try again."""


class PoolerBetween(TargetUnreachable, Refused):
    """The target "{target}" is reached through a pooler in transaction mode: locks and settings do not hold there.
    Nothing was changed. Use the server's own address and port."""


class TableLocked(Failed):
    """Another session keeps {table} for itself, and memops could not look at it within {waited}. Nothing was changed.
    Try again when that session has ended."""
