"""The clock of the console's database. Web, workers and command lines run on machines whose clocks differ, and are set
while they run: what they compare with each other is told by this one."""

from __future__ import annotations

from datetime import datetime

from django.db import DEFAULT_DB_ALIAS, connections

from memops.console.pg.sql import query


def now() -> datetime:
    """On Django's own connection. Raises DatabaseError."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(query("clock", "now"))
        [(told,)] = cursor.fetchall()
    at: datetime = told
    return at
