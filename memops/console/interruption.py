"""What has to be done before anything can be recorded about an interruption (Ctrl-C, the end of the worker)."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS, connections


def forget_connection() -> None:
    """An interruption may have come in the middle of a statement, and nothing more can be asked of a connection then.

    The next statement of this thread opens another one.
    """
    connections[DEFAULT_DB_ALIAS].close()
