"""One file a verb of ``manage.py memops``: doors, which ask the runs to do the work and show what comes of it.

A verb's module has ``HELP``, ``configure(parser)`` and ``run(options, out)``, which returns the exit code.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a script can go by; documented in docs/json.md."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNKNOWN = 4
    INTERRUPTED = 130
    """By Ctrl-C, where no run was at work; as shells have it."""
