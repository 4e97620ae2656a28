"""The trail as lines of JSON, with the signed head at its end."""

from __future__ import annotations

import json
from collections.abc import Iterator

from memops.console.audit import anchors, record, verify_export
from memops.console.pg import trail


def lines(*, to: str) -> Iterator[str]:
    """An export, line by line; that it was made is an event in it. Raises AuditUnwritable; TargetUnreachable while it
    is read."""
    record("audit.exported", to=to)
    return _lines()


def _lines() -> Iterator[str]:
    sequence, head = 0, verify_export.START
    for event in trail.events():
        yield json.dumps(event) + "\n"
        sequence, head = int(event["sequence"]), event["hash"]
    yield json.dumps(anchors.signed(sequence, head)) + "\n"
