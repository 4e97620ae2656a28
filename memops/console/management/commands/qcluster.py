"""``manage.py qcluster``: django-q2's own worker, which does not begin where it could execute half of a run, and goes
on when one of its processes is killed."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from django.db import DatabaseError, connections
from django_q import cluster
from django_q.management.commands import qcluster

from memops.console.commands import Exit
from memops.console.errors import Refused
from memops.console.handover import Handover
from memops.console.runs import release


class Command(qcluster.Command):  # type: ignore[misc]  # django-q2 has no types
    def handle(self, *args: Any, **options: Any) -> None:
        # A database that is away is waited for: before a worker takes anything it looks again.
        with suppress(DatabaseError):
            try:
                release.demand_own_tables()
            except Refused as refusal:
                self.stderr.write(str(refusal))
                sys.exit(Exit.REFUSED)
        cluster.Queue = Handover
        connections.close_all()  # What is forked now must not share a session.
        super().handle(*args, **options)
