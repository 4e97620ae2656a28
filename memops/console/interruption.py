"""What has to be done before anything can be recorded about an interruption (Ctrl-C, the end of the worker, or of the
session on the console's database)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections

Result = TypeVar("Result")


def forget_connection() -> None:
    """An interruption may have come in the middle of a statement, and nothing more can be asked of a connection then.

    The next statement of this thread opens another one.
    """
    connections[DEFAULT_DB_ALIAS].close()


def once_more(write: Callable[[], Result]) -> Result:
    """Write a record; if the session has ended, as after hours of work beside it, again on a new one.

    Only for what may be done twice, outside of a transaction: a commit whose answer was lost is repeated.
    """
    try:
        return write()
    except (OperationalError, InterfaceError):
        forget_connection()
        return write()
