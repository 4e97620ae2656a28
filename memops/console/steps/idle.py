"""The ending of idle sessions that hold the table, as the approved plan says: the trail has each before it happens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from memops.console.audit import SYSTEM, record, record_or_log, shown
from memops.console.models import Run
from memops.console.pg.ending import Ended, Ending, IdleSession
from memops.console.steps import StepLog


@dataclass(frozen=True, kw_only=True)
class EndedSession:
    """A session that was ended, or was to be. Never what it has executed."""

    pid: int
    role: str
    application: str
    state: str
    idle_seconds: float
    ended: bool
    result: str


class IdleSessions:
    """Those that a run's plan lets it end. What became of each is in the step's log and record at once, and in the
    audit trail: what it is going to do before it does it."""

    def __init__(self, run: Run, log: StepLog) -> None:
        self.run, self.log = run, log
        self.seen: list[EndedSession] = []

    @property
    def ending(self) -> Ending | None:
        """None where the plan lets nobody be ended."""
        limit = self.run.planned().end_idle
        return Ending(limit=limit, announce=self._announce, tell=self._tell) if limit is not None else None

    def _announce(self, one: IdleSession) -> None:
        """Raises AuditUnwritable: it is not ended then."""
        record("session.end_begun", **self._event(one))

    def _tell(self, one: IdleSession, what: Ended) -> None:
        done = what == Ended.GONE
        record_or_log("session.ended" if done else "session.not_ended", result=what, **self._event(one))
        self.seen.append(
            EndedSession(
                pid=one.pid,
                role=shown(one.role or ""),
                application=shown(one.application or ""),
                state=one.state,
                idle_seconds=round(one.idle.total_seconds(), 3),
                ended=done,
                result=what,
            )
        )
        self.log.keep(idle_sessions=[asdict(seen) for seen in self.seen])
        self.log.line(f"{'Ended, as the plan says: ' if done else ''}{one}{'' if done else f': {what}'}.")

    def _event(self, one: IdleSession) -> dict[str, Any]:
        return {
            "actor": SYSTEM,
            "run": self.run,
            "object_type": "session",
            "object_id": one.pid,
            "pid": one.pid,
            "role": shown(one.role or ""),
            "application": shown(one.application or ""),
            "state": one.state,
            "idle_seconds": round(one.idle.total_seconds(), 3),
            "limit_seconds": self.run.planned().binding["end_idle_seconds"],
        }
