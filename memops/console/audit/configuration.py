"""What this process goes by, and that it changed: settings are an event when they differ from those last seen."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections

from memops.console.audit import record
from memops.console.errors import AuditUnwritable, TargetUnreachable
from memops.console.pg import trail

SEEN = "settings.seen"
CHANGED = "settings.changed"
SECRET = ("SECRET_KEY", "MEMORY_TENANT_HMAC_KEY", "MEMORY_ENCRYPTION_KEY", "MEMORY_ENCRYPTION_KEY_OLD",
          "MEMOPS_AUDIT_KEY", "MEMOPS_ANCHOR_WEBHOOK", "MEMOPS_NOTIFY_WEBHOOK", "MEMOPS_SCRATCH_URL",
          "MEMOPS_STOP_COMMAND", "MEMOPS_START_COMMAND")  # fmt: skip
ALSO = ("DEBUG", "ALLOWED_HOSTS", "SESSION_COOKIE_AGE", "AXES_FAILURE_LIMIT", "AXES_COOLOFF_TIME", "Q_CLUSTER")

OF_ONE_PROCESS = frozenset(("MEMOPS_BIND",))

_noticed: set[str] = set()
"""Databases in whose trail this process has said what it goes by."""


def notice() -> None:
    """Record the settings of this process, once, if they are not those that the trail knows. Raises AuditUnwritable."""
    database = str(connections["default"].settings_dict["NAME"])
    if database in _noticed:
        return
    now = snapshot()
    try:
        last = trail.last_of(SEEN, CHANGED)
    except (TargetUnreachable, psycopg.Error) as error:
        raise AuditUnwritable(problem=type(error).__name__) from error
    if last is None:
        record(SEEN, settings=now)
    else:
        before: dict[str, str] = json.loads(last["details"])["settings"]
        if changed := sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)):
            record(CHANGED, changed=changed, settings=now)
    _noticed.add(database)


def snapshot() -> dict[str, str]:
    """Every setting that matters. Of secrets only a keyed fingerprint, which shows that one changed."""
    found: dict[str, str] = {}
    ours = {name for name in dir(settings) if name.startswith(("MEMOPS_", "MEMORY_"))} - OF_ONE_PROCESS
    for name in sorted({*ours, *ALSO, *SECRET}):
        value = getattr(settings, name, None)
        found[name] = _fingerprint(value) if name in SECRET else _plain(value)
    for alias, database in settings.DATABASES.items():
        place = {key: database.get(key.upper()) or "" for key in ("host", "port", "name", "user")}
        found[f"DATABASES {alias}"] = _plain(place)
        found[f"DATABASES {alias} password"] = _fingerprint(database.get("PASSWORD"))
    return found


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _fingerprint(value: Any) -> str:
    if not value:
        return "not set"
    data = value if isinstance(value, bytes) else str(value).encode()
    return f"set, fingerprint {hmac.new(settings.MEMOPS_AUDIT_KEY, data, sha256).hexdigest()[:12]}"
