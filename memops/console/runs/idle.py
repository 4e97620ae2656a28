"""From when on a plan may have idle transactions ended: what can be asked for, and the words for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings

from memops.console.errors import EndIdleInvalid
from memops.console.units import duration

MOST = timedelta(days=1)

LEFT_ALONE = "Left alone: nobody's session is ended. Whoever holds the table is waited for, within the lock budget."


def read(text: str | None) -> timedelta | None:
    """Seconds as they are typed; nothing typed means that nobody is ended. Raises EndIdleInvalid."""
    given = (text or "").strip()
    if not given:
        return None
    if not given.isascii() or not given.isdecimal() or len(given) > len(str(MOST.total_seconds())):
        raise _invalid()
    limit = timedelta(seconds=int(given))
    check(limit)
    return limit


def read_argument(text: str | None) -> timedelta | None:
    """The same of an argument, where an empty text is a mistake, such as a variable without a value. Raises
    EndIdleInvalid."""
    if text is not None and not text.strip():
        raise _invalid()
    return read(text)


def check(limit: timedelta | None) -> None:
    """Raises EndIdleInvalid. The setting of now holds, also for a plan that was made under another one."""
    if limit is not None and not settings.MEMOPS_END_IDLE_LEAST <= limit <= MOST:
        raise _invalid()


def words(limit: timedelta | None) -> str:
    """What a plan with this limit does, as approvers read it."""
    if limit is None:
        return LEFT_ALONE
    return (
        "Ended, if they hold the table when the change needs it and have been idle for more than"
        f" {limit.total_seconds():.0f} s: what they have not committed is rolled back, what they have committed stays."
        " Each one is written into the audit trail first. A session that works is never ended."
    )


def named(session: dict[str, Any]) -> str:
    """A session that was ended, as a run's step has recorded it."""
    application = f" ({session['application']})" if session["application"] else ""
    idle_for = duration(timedelta(seconds=session["idle_seconds"]))
    return f"pid {session['pid']} of {session['role']}{application}, idle for {idle_for}"


def _invalid() -> EndIdleInvalid:
    return EndIdleInvalid(least=int(settings.MEMOPS_END_IDLE_LEAST.total_seconds()), most=int(MOST.total_seconds()))
