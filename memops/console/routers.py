"""Which tables live where."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS


class TargetRouter:
    """The console's records live in ``default``; a target beside it holds memory_chunks and nothing else of Django."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return None if db == DEFAULT_DB_ALIAS else app_label == "memops"
