"""`python -m tests.faults.executor`: processes that execute runs, to be killed.

For each line of JSON on standard input a process is forked, which is much faster than starting one; the lines that come
back are "began PID", the names of steps, where it paused, and "ended PID".
"""

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

django.setup()

from django.conf import settings  # noqa: E402  Django has to be set up first
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402

from memops.console.runs import reconcile  # noqa: E402
from memops.console.runs.advance import advance  # noqa: E402
from tests.faults import ground, pauses  # noqa: E402


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def work(task: dict[str, Any]) -> None:
    connections.databases["default"]["NAME"] = task["database"]
    settings.MEMOPS_BACKUP_DIR = Path(task["backups"])
    settings.MEMOPS_ANCHORS = Path(task["anchors"])
    settings.MEMOPS_PATIENCE = timedelta(seconds=task["patience_seconds"])
    for alias, changes in task["aliases"].items():
        connections.databases.setdefault(alias, {**connections.databases["default"]}).update(changes)
        settings.MEMOPS_TARGETS = list(dict.fromkeys([*settings.MEMOPS_TARGETS, alias]))
    pauses.install(task["pause_at"], say, go_on=Path(task["go_on"]))
    if task["run"] == "migrate memops zero":
        call_command("migrate", "memops", "zero", verbosity=0)
        return
    if task["run"] == "reconcile":
        reconcile.reconcile(requester=ground.ME)
        return
    advance(int(task["run"]))


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            code = 1
            try:
                say(f"began {os.getpid()}")
                work(json.loads(line))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        say(f"ended {signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)}")


if __name__ == "__main__":
    say("ready")
    main()
