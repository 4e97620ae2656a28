"""One winner: a run is claimed by a conditional UPDATE, and held by advisory locks for as long as the process lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.db.models.functions import Now

from memops.console.audit import SYSTEM, anchors, record_or_log
from memops.console.errors import ClaimLost, TargetHeld, TargetUnreachable
from memops.console.models import RUN_ENDS, Run
from memops.console.pg import claims
from memops.console.runs import approvals, release


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A run that is this process's. The locks vanish with it, which is how everybody sees that a worker is lost."""

    run: Run
    own: claims.Held
    target: claims.Held | None

    def confirm(self) -> None:
        """Raises ClaimLost if a lock's session has ended: somebody else may have taken over since."""
        for held in (self.own, self.target):
            if held is not None and not held.is_held():
                raise ClaimLost(run=self.run.pk, target=self.run.target_id, where=held.alias)

    def is_still_ours(self) -> bool:
        """May this process say how the run ended? Not where nobody can tell."""
        try:
            return self.own.is_held()
        except TargetUnreachable:
            return False


@contextmanager
def claimed(run_id: int) -> Iterator[Claim | None]:
    """Claim a queued run; gives None if it is not queued any more, or another process has it.

    Raises OtherRelease, RecordsMissing: nothing is claimed then.
    """
    release.demand_own_tables()
    with claims.hold_run(DEFAULT_DB_ALIAS, run_id) as own:
        if own is None:
            yield None
            return
        try:
            with transaction.atomic():
                won = Run.objects.filter(pk=run_id, state=Run.State.QUEUED).update(
                    state=Run.State.RUNNING, claimed_at=Now(), worker=f"{socket.gethostname()} process {os.getpid()}"
                )
        except IntegrityError as error:
            # An approval was revoked, or its approver has gone, since somebody started it.
            _refuse(Run.objects.get(pk=run_id), error)
            won = 0
        if not won:
            yield None
            return
        run = Run.objects.select_related("target").get(pk=run_id)
        yield Claim(run=run, own=own, target=None)


def _refuse(run: Run, error: IntegrityError) -> None:
    said = str(approvals.refusal_of(error, run))
    Run.objects.filter(pk=run.pk, state=Run.State.QUEUED).update(
        state=Run.State.REFUSED, ended_at=RUN_ENDS, outcome=Run.Outcome.NOTHING, error=said
    )
    record_or_log("run.ended", actor=SYSTEM, run=run, state=Run.State.REFUSED, outcome=Run.Outcome.NOTHING, error=said)
    anchors.anchor_or_log()


@contextmanager
def target_held(claim: Claim) -> Iterator[Claim]:
    """Hold the target as well: one run at a time on a database, whichever console asks for it."""
    run = claim.run
    with claims.hold_target(run.target_id) as target:
        if target is None:
            raise TargetHeld(target=run.target_id, run=run.pk)
        yield Claim(run=run, own=claim.own, target=target)


def is_held(run: Run) -> bool:
    """Does a living process hold this run?"""
    return claims.run_is_held(DEFAULT_DB_ALIAS, run.pk)
