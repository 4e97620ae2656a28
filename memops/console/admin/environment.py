"""Where am I? Every page about a target says which environment it belongs to."""

from __future__ import annotations

from django.conf import settings


def environment(alias: str) -> str:
    """The environment of a target as the settings name it; an alias that they do not name speaks for itself."""
    return str(settings.MEMOPS_ENVIRONMENTS.get(alias, alias))
