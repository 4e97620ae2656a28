"""Entries that somebody who may write the queue's table, and maybe knows the key, puts there."""

import base64
from pathlib import Path
from typing import Any

from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from memops.console.runs.queue import TASK

LONG_AGO = "2001-01-01T00:00Z"
OTHER_KEY = "another key that is at least as long as a key of Django has to be, which is fifty"


def put(payload: str) -> None:
    OrmQ.objects.create(key=Conf.CLUSTER_NAME, payload=payload, lock=LONG_AGO)


def bell(*arguments: Any, **changes: Any) -> str:
    """As the console makes them, but for what the test changes."""
    package = {
        "id": "0123456789abcdef0123456789abcdef",
        "name": "run",
        "func": TASK,
        "args": arguments,
        "kwargs": {},
        "group": "memops",
        "ack_failure": True,
        "started": timezone.now(),
    }
    return str(SignedPackage.dumps(package | changes))


def unreadable() -> list[str]:
    signed = bell(1)
    return [
        "",
        "no signature",
        ":::",
        "\N{RIGHT-TO-LEFT OVERRIDE}:\N{PILE OF POO}:x",
        f"x{signed}",
        f"{signed[:-1]}{'a' if signed[-1] != 'a' else 'b'}",
        base64.b64encode(b"cos\nsystem\n(S'false'\ntR.").decode(),
        "x" * 1_000_000,
    ]


def for_other_functions(trace: Path) -> list[str]:
    """Signed with the right key. Each would leave a trace if it were executed."""
    touch = {"func": "os.mkdir", "args": (str(trace),)}
    return [
        bell(**touch),
        bell(1, hook="os.mkdir"),
        bell(1, chain=[("os.mkdir", (str(trace),), {})]),
        bell(1, cached=True),
        bell(1, func=None),
        bell(1, func="memops.console.tasks.nothing"),
        bell(1, func=["os.mkdir"]),
        str(SignedPackage.dumps(["no", "package"])),
        str(SignedPackage.dumps(None)),
        str(SignedPackage.dumps({})),
    ]


def with_wrong_arguments() -> list[str]:
    wrong = [
        "1",
        None,
        [1],
        {"run": 1},
        1.0,
        True,
        -1,
        0,
        2**63,
        10**400,
        b"1",
        "1; drop table memory_chunks",
        "x" * 10**6,
    ]
    return [*(bell(argument) for argument in wrong), bell(), bell(1, 1), bell(1, kwargs={"run_id": 1}), bell(args=None)]
