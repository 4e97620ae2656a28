"""Every error the data plane raises. The console's own errors are in ``memops.console.errors``."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any


class DataPlaneError(Exception):
    """The memory store refused; nothing was changed.

    The first paragraph of a subclass's docstring is its message; names in braces are filled from the keyword arguments
    and kept in ``facts``. A message never holds the content of a memory, nor a key.
    """

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        # python -OO strips docstrings: the class name is then all there is to say.
        sentence = inspect.cleandoc(type(self).__doc__ or type(self).__name__).split("\n\n")[0]
        super().__init__(" ".join(sentence.split()).format(**facts))

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return partial(type(self), **self.facts), ()


class KeyUnusable(DataPlaneError):
    """{setting} {problem}. It has to be 32 random bytes, in base64 in the environment; without it nothing is sealed,
    opened or looked up. Nothing was changed."""


class TenantRefused(DataPlaneError):
    """A tenant has to be a user id, a string that is not blank; this was {found}. No query was sent."""


class ScopeInCoroutine(DataPlaneError):
    """tenant_scope cannot be opened in a coroutine: another coroutine on the same thread would share its connection and
    see this tenant. Put the block into a function and call it by asgiref.sync.sync_to_async. No query was sent."""


class SealUnbound(DataPlaneError):
    """Nothing is sealed or opened without additional data: pass the tenant's user_hash as aad, so that the blob opens
    for that tenant only."""


class SealBroken(DataPlaneError):
    """A sealed value of {length_bytes} bytes did not open: {reason}. Nothing of it was returned."""


class TableMissing(DataPlaneError):
    """There is no table public.memory_chunks in the database "{alias}". Apply the migration first:
    manage.py migrate memops --database={alias}."""


class LoadUnderRowSecurity(DataPlaneError):
    """Row-level security holds for role {role} in the database "{alias}": it would see only a part of memory_chunks,
    and the server refuses COPY. Connect as the owner role (BYPASSRLS). Nothing was changed."""
