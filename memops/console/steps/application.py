"""The application around a change: stopped before it and started after it, by the commands of the settings.

What they are is nobody's to read (they may hold a token): logs say how they ended, and what they printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from memops.console import children
from memops.console.audit import SYSTEM, record, record_or_log
from memops.console.characters import printable
from memops.console.errors import ApplicationNotStopped
from memops.console.models import Run
from memops.console.steps import StepLog
from memops.console.units import duration

INHERITED = ("PATH", "HOME", "LANG", "USER", "XDG_RUNTIME_DIR")
LAST_BYTES = 4 * 1024
STOPPED, STARTED, NOT_STARTED = "stopped", "started", "not started"


@dataclass(frozen=True, kw_only=True)
class _Ended:
    well: bool
    words: str
    said: str


def words() -> str:
    """What a plan says of it."""
    if not settings.MEMOPS_STOP_COMMAND:
        start = " It is started by MEMOPS_START_COMMAND afterwards." if settings.MEMOPS_START_COMMAND else ""
        return f"memops does not stop it: MEMOPS_STOP_COMMAND is not set. Stop it yourself if it must not write.{start}"
    return (
        "It is stopped by MEMOPS_STOP_COMMAND right before the swap, and started by MEMOPS_START_COMMAND right after"
        f" it, also if the swap fails. Each has {duration(settings.MEMOPS_COMMAND_DEADLINE)}."
    )


def digest() -> str:
    """Stands for the commands where a plan is bound to them."""
    both = json.dumps([settings.MEMOPS_STOP_COMMAND, settings.MEMOPS_START_COMMAND])
    return hashlib.sha256(both.encode()).hexdigest()


@contextmanager
def stopped(run: Run, log: StepLog) -> Iterator[None]:
    """The application stands still within the block, if the settings say how; it is started again whatever happens.

    Raises ApplicationNotStopped, AuditUnwritable: the block is not entered.
    """
    if settings.MEMOPS_STOP_COMMAND:
        record("application.stop_begun", actor=SYSTEM, run=run)
        # Kept before it happens: who is killed in between leaves an application that reconcile has to start.
        log.keep(application=STOPPED)
        ended = _execute(settings.MEMOPS_STOP_COMMAND)
        log.line(f"MEMOPS_STOP_COMMAND {ended.words}.{ended.said}")
        record_or_log("application.stopped" if ended.well else "application.not_stopped", actor=SYSTEM, run=run)
        if not ended.well:
            _start(run, log)  # It may have stopped a part of it.
            raise ApplicationNotStopped(ended=ended.words)
    try:
        yield
    finally:
        _start(run, log)


def start_again(run: Run) -> str:
    """For a run that was lost while the application stood still. Says what was done; nothing to do is an empty text."""
    step = run.steps.filter(name="swap").first()
    if step is None or step.saw.get("application") != STOPPED or not settings.MEMOPS_START_COMMAND:
        return ""
    ended = _execute(settings.MEMOPS_START_COMMAND)
    step.saw["application"] = STARTED if ended.well else NOT_STARTED
    step.save(update_fields=["saw"])
    record_or_log("application.started" if ended.well else "application.not_started", actor=SYSTEM, run=run)
    return "the application was started again" if ended.well else f"the application was NOT started: it {ended.words}"


def _start(run: Run, log: StepLog) -> None:
    if not settings.MEMOPS_START_COMMAND:
        return
    ended = _execute(settings.MEMOPS_START_COMMAND)
    log.keep(application=STARTED if ended.well else NOT_STARTED)
    log.line(f"MEMOPS_START_COMMAND {ended.words}.{ended.said}")
    record_or_log("application.started" if ended.well else "application.not_started", actor=SYSTEM, run=run)


def _execute(command: list[str]) -> _Ended:
    deadline: timedelta = settings.MEMOPS_COMMAND_DEADLINE
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    with tempfile.TemporaryFile() as output:
        try:
            with children.start(command, env=environment, stdout=output) as child:
                end = child.wait(deadline)
        except TimeoutError:
            return _failed(f"was ended, for it took longer than {duration(deadline)}")
        except OSError as error:
            return _failed(f"cannot be executed ({os.strerror(error.errno or 0).lower()})")
        output.seek(max(0, output.seek(0, os.SEEK_END) - LAST_BYTES))
        printed = output.read().decode(errors="replace")
    said = "\n".join(part for part in (printed.strip(), end.stderr) if part)
    told = f" It said:\n{printable(said)}" if said else ""
    return _Ended(well=end.well, words="ended well" if end.well else f"ended with {end}", said=told)


def _failed(words: str) -> _Ended:
    return _Ended(well=False, words=words, said="")
