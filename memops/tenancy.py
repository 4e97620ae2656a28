"""Who a query works for: the tenant's hash, and the scope in which row-level security lets its rows through."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction

from memops.errors import KeyUnusable, ScopeInCoroutine, TenantRefused

KEY_BYTES = 32

# Sets the tenant until the transaction ends and answers which one was set before. The common table expression makes
# the order certain: the old value is read before set_config runs.
ENTER = """
with before as materialized (select pg_catalog.current_setting('app.user_hash', true) as user_hash)
select before.user_hash, pg_catalog.set_config('app.user_hash', %s, true) from before
"""

# Puts the outer scope's tenant back; '' is no tenant.
LEAVE = "select pg_catalog.set_config('app.user_hash', %s, true)"


def hmac_user(user_id: str) -> str:
    """Return what stands for a user in the database: HMAC-SHA256 with ``MEMORY_TENANT_HMAC_KEY``, in lower-case hex.

    The id is taken as it is, byte for byte in UTF-8: ``"Ann"`` and ``"ann "`` are two tenants.
    """
    tenant = _tenant_bytes(user_id)
    key = getattr(settings, "MEMORY_TENANT_HMAC_KEY", None)
    if not key:
        raise KeyUnusable(setting="MEMORY_TENANT_HMAC_KEY", problem="is not set")
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise KeyUnusable(setting="MEMORY_TENANT_HMAC_KEY", problem="is not a key of 32 bytes")
    return hmac.digest(key, tenant, "sha256").hex()


@contextmanager
def tenant_scope(user_id: str, using: str = DEFAULT_DB_ALIAS) -> Iterator[str]:
    """Work as one tenant: only its rows are seen and only for it can be written. Gives the tenant's ``user_hash``.

        with tenant_scope("ann") as user_hash:
            MemoryChunk.objects.filter(doc_id="diary").count()

    is, in a transaction of its own or in a savepoint of the open one::

        select set_config('app.user_hash', '<user_hash>', true);
        select count(*) from memory_chunks where doc_id = 'diary';

    However the block ends, the tenant of an outer scope, or none, is in force again, also for later queries of the same
    outer transaction. An exception rolls back what the block did, as ``transaction.atomic`` does.

    The scope belongs to one connection: other database aliases and other threads have no tenant. A queryset that is
    evaluated after the block finds nothing; a generator that yields within the block lends the tenant to whoever
    iterates it, so don't. It also works as a decorator.

    Raises TenantRefused for anything but a string that is not blank, ScopeInCoroutine in a coroutine.
    """
    user_hash = hmac_user(user_id)
    if _in_coroutine():
        raise ScopeInCoroutine()
    connection = connections[using]
    joined = connection.in_atomic_block or not connection.get_autocommit()
    failure: BaseException | None = None
    try:
        with transaction.atomic(using=using):
            with connection.cursor() as cursor:
                cursor.execute(ENTER, [user_hash])
                before = cursor.fetchone()[0]
            try:
                yield user_hash
            except BaseException as error:
                # Rolling back to the savepoint takes the tenant back too, even after an error of the server.
                failure = error
                raise
            # A transaction of its own takes the tenant with it; so does a rollback to the savepoint.
            if joined and not connection.needs_rollback:
                with connection.cursor() as cursor:
                    cursor.execute(LEAVE, [before or ""])
    except Error as ending:
        if failure is None or ending is failure:
            raise
        # Django reconnects when it ends a transaction whose connection was lost: that may fail as well, and must not
        # hide what happened in the block, which is raised below with its own cause and context.
        failure.add_note(f"The transaction could not be ended either: {ending}")
    try:
        if failure is not None:
            raise failure
    finally:
        del failure


def _tenant_bytes(user_id: object) -> bytes:
    if not isinstance(user_id, str):
        raise TenantRefused(found=f"of type {type(user_id).__name__}")
    if not user_id.strip():
        raise TenantRefused(found="blank")
    try:
        return user_id.encode()
    except UnicodeEncodeError:
        raise TenantRefused(found="a string that UTF-8 cannot express") from None


def _in_coroutine() -> bool:
    """Django itself refuses a thread with a running loop, unless DJANGO_ALLOW_ASYNC_UNSAFE is set; a task never may."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False
