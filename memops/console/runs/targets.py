"""Which targets there are: the aliases of the settings, each with the row that runs and rights hang on."""

from __future__ import annotations

from django.conf import settings

from memops.console.characters import quoted
from memops.console.errors import UnknownTarget
from memops.console.models import Target


def configured() -> list[str]:
    """The aliases memops works on, ``default`` first."""
    return list(settings.MEMOPS_TARGETS)


def sync() -> list[Target]:
    """Keep a row for every configured alias; rows of aliases that are gone stay, for the history's sake."""
    aliases = configured()
    Target.objects.bulk_create([Target(alias=alias) for alias in aliases], ignore_conflicts=True)
    Target.objects.filter(alias__in=aliases, configured=False).update(configured=True)
    Target.objects.exclude(alias__in=aliases).filter(configured=True).update(configured=False)
    rows = Target.objects.in_bulk(aliases)
    return [rows[alias] for alias in aliases]


def get(alias: str) -> Target:
    """The row of a configured alias. Raises UnknownTarget."""
    if alias not in configured():
        raise UnknownTarget(target=quoted(alias), targets=", ".join(configured()))
    return next(target for target in sync() if target.alias == alias)
