"""Are the console's tables those of this release? Another one's could be executed half, and fail in the middle."""

from __future__ import annotations

from functools import cache

from django.db import DEFAULT_DB_ALIAS

import memops
from memops.console.errors import OtherRelease, RecordsMissing
from memops.console.pg import migrations

LABEL = "memops_console"


def demand_own_tables() -> None:
    """Raises OtherRelease, RecordsMissing, DatabaseError."""
    applied, ours = set(migrations.applied(DEFAULT_DB_ALIAS, app=LABEL)), _ours()
    if not applied:
        raise RecordsMissing()
    if missing := sorted(ours - applied):
        raise OtherRelease(
            version=memops.__version__,
            difference=f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not applied",
            remedy="Apply what is missing: manage.py migrate memops_console (manage.py memops up does so by itself).",
        )
    if newer := sorted(applied - ours):
        raise OtherRelease(
            version=memops.__version__,
            difference=f"they have {', '.join(newer)}, which it does not know",
            remedy="End this process, and start the release that applied it.",
        )


@cache
def _ours() -> frozenset[str]:
    """They are read once: a process keeps the code that it began with, whatever is installed meanwhile."""
    return frozenset(migrations.known(app=LABEL))
