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
    """A row for every configured alias; rows of aliases that are gone stay, for the history's sake. Pages ask for them
    again and again: only what differs is written."""
    aliases = configured()
    rows = {target.alias: target for target in Target.objects.all()}
    if {alias for alias, target in rows.items() if target.configured} != {*aliases}:
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
