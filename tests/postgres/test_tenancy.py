"""tenant_scope: however a block ends, afterwards the tenant of before is in force, or none."""

import asyncio
from threading import Thread

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from memops.errors import ScopeInCoroutine, TenantRefused
from memops.tenancy import hmac_user, tenant_scope


def tenant(alias):
    """The tenant that the server knows on this thread's connection; None is no tenant, as in the policy."""
    with connections[alias].cursor() as cursor:
        cursor.execute("select nullif(current_setting('app.user_hash', true), '')")
        return cursor.fetchone()[0]


def break_transaction(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("select 1 / 0")


def lose_connection(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pg_backend_pid())")


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


def test_a_scope_sets_the_tenant_and_takes_it_away(app_role):
    with tenant_scope("ann", using=app_role) as user_hash:
        assert user_hash == hmac_user("ann")
        assert tenant(app_role) == user_hash

    assert tenant(app_role) is None


def test_a_scope_is_a_transaction(app_role):
    with tenant_scope("ann", using=app_role):
        assert connections[app_role].in_atomic_block

    assert not connections[app_role].in_atomic_block


def test_later_queries_of_the_outer_transaction_have_no_tenant(app_role):
    with transaction.atomic(using=app_role):
        with tenant_scope("ann", using=app_role):
            assert tenant(app_role) == hmac_user("ann")
        assert tenant(app_role) is None


def test_an_inner_scope_gives_the_outer_tenant_back(app_role):
    with tenant_scope("ann", using=app_role):
        with tenant_scope("ben", using=app_role):
            assert tenant(app_role) == hmac_user("ben")
        assert tenant(app_role) == hmac_user("ann")


def test_a_scope_of_the_same_tenant_inside_changes_nothing(app_role):
    with tenant_scope("ann", using=app_role):
        with tenant_scope("ann", using=app_role):
            assert tenant(app_role) == hmac_user("ann")
        assert tenant(app_role) == hmac_user("ann")
    assert tenant(app_role) is None


@pytest.mark.parametrize("failure", [ValueError, DatabaseError, Interrupted, GeneratorExit])
def test_an_exception_passes_and_the_outer_tenant_is_back(app_role, failure):
    with tenant_scope("ann", using=app_role):
        with pytest.raises(failure), tenant_scope("ben", using=app_role):
            raise failure
        assert tenant(app_role) == hmac_user("ann")
    assert tenant(app_role) is None


def test_an_error_of_the_server_passes_and_the_outer_transaction_goes_on(app_role):
    with transaction.atomic(using=app_role):
        with pytest.raises(DatabaseError, match="division by zero"), tenant_scope("ann", using=app_role):
            break_transaction(app_role)
        assert tenant(app_role) is None


def test_a_swallowed_error_of_the_server_is_not_taken_for_success(app_role):
    with tenant_scope("ann", using=app_role):
        with (
            pytest.raises(DatabaseError, match="current transaction is aborted"),
            tenant_scope("ben", using=app_role),
            pytest.raises(DatabaseError, match="division by zero"),
        ):
            break_transaction(app_role)
        assert tenant(app_role) == hmac_user("ann")


def test_a_rollback_asked_for_in_the_block_gives_the_outer_tenant_back(app_role):
    with tenant_scope("ann", using=app_role):
        with tenant_scope("ben", using=app_role):
            transaction.set_rollback(True, using=app_role)
        assert tenant(app_role) == hmac_user("ann")


def test_rolling_back_to_a_savepoint_of_before_takes_the_tenant_back(app_role):
    with transaction.atomic(using=app_role):
        with pytest.raises(ValueError, match="outside"), transaction.atomic(using=app_role):
            with tenant_scope("ann", using=app_role):
                pass
            raise ValueError("outside")
        assert tenant(app_role) is None


def test_a_scope_is_not_opened_in_a_broken_transaction(app_role):
    with transaction.atomic(using=app_role):
        with pytest.raises(ValueError, match="inside"), transaction.atomic(using=app_role, savepoint=False):
            raise ValueError("inside")
        with pytest.raises(TransactionManagementError), tenant_scope("ann", using=app_role):
            pytest.fail("the block must not run")
        transaction.set_rollback(False, using=app_role)
        assert tenant(app_role) is None


def test_a_scope_changes_what_the_block_itself_left_set(app_role):
    with tenant_scope("ann", using=app_role):
        with tenant_scope("ben", using=app_role), connections[app_role].cursor() as cursor:
            cursor.execute("select set_config('app.user_hash', 'something else', true)")
        assert tenant(app_role) == hmac_user("ann")


def test_a_scope_joins_where_autocommit_is_off(app_role):
    transaction.set_autocommit(False, using=app_role)
    try:
        with tenant_scope("ann", using=app_role):
            assert tenant(app_role) == hmac_user("ann")
        assert tenant(app_role) is None
    finally:
        transaction.rollback(using=app_role)
        transaction.set_autocommit(True, using=app_role)


def test_a_tenant_of_the_session_is_given_back_too(app_role):
    with connections[app_role].cursor() as cursor:
        cursor.execute("select set_config('app.user_hash', %s, false)", [hmac_user("session")])

    with transaction.atomic(using=app_role):
        with tenant_scope("ann", using=app_role):
            pass
        assert tenant(app_role) == hmac_user("session")
    assert tenant(app_role) == hmac_user("session")


def test_what_is_done_after_the_commit_has_no_tenant(app_role):
    seen = []
    with tenant_scope("ann", using=app_role):
        transaction.on_commit(lambda: seen.append(tenant(app_role)), using=app_role)

    assert seen == [None]


@pytest.mark.parametrize("nobody", ["", "  ", None, 7, b"ann"])
def test_without_a_tenant_no_scope_is_opened(app_role, nobody):
    with pytest.raises(TenantRefused), tenant_scope(nobody, using=app_role):
        pytest.fail("the block must not run")

    assert not connections[app_role].in_atomic_block


def test_a_scope_is_for_one_alias(app_role, target):
    with tenant_scope("ann", using=app_role), transaction.atomic(using=target):
        assert tenant(target) is None
        with tenant_scope("ben", using=target):
            assert tenant(app_role) == hmac_user("ann")
            assert tenant(target) == hmac_user("ben")


def test_a_scope_is_for_one_thread(app_role):
    seen = []

    def look():
        with transaction.atomic(using=app_role):
            seen.append(tenant(app_role))
        connections[app_role].close()

    with tenant_scope("ann", using=app_role):
        thread = Thread(target=look)
        thread.start()
        thread.join()

    assert seen == [None]


def test_a_function_can_be_decorated(app_role):
    @tenant_scope("ann", using=app_role)
    def work():
        return tenant(app_role)

    assert [work(), work()] == [hmac_user("ann")] * 2
    assert tenant(app_role) is None


def test_a_coroutine_is_refused_even_where_django_would_let_it_pass(app_role, monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

    async def work():
        with tenant_scope("ann", using=app_role):
            pytest.fail("the block must not run")

    with pytest.raises(ScopeInCoroutine, match="sync_to_async"):
        asyncio.run(work())


def test_coroutines_work_through_sync_to_async_each_with_its_tenant(app_role):
    def work(user_id):
        try:
            with tenant_scope(user_id, using=app_role) as user_hash:
                with connections[app_role].cursor() as cursor:
                    cursor.execute("select pg_sleep(0.05)")
                return tenant(app_role) == user_hash
        finally:
            connections[app_role].close()

    async def all_at_once():
        return await asyncio.gather(*(sync_to_async(work, thread_sensitive=False)(f"user {n}") for n in range(4)))

    assert asyncio.run(all_at_once()) == [True] * 4


def test_a_lost_connection_does_not_hide_what_happened_in_the_block(app_role):
    cause = KeyError("the cause")
    with pytest.raises(ValueError, match="what happened") as raised, tenant_scope("ann", using=app_role):
        with pytest.raises(OperationalError):
            lose_connection(app_role)
        raise ValueError("what happened") from cause

    assert raised.value.__cause__ is cause
    assert tenant(app_role) is None


def test_a_server_that_is_gone_does_not_hide_what_happened_in_the_block(app_role, monkeypatch, tmp_path):
    cause = KeyError("the cause")
    with pytest.raises(ValueError, match="what happened") as raised, tenant_scope("ann", using=app_role):
        with pytest.raises(OperationalError):
            lose_connection(app_role)
        monkeypatch.setitem(connections[app_role].settings_dict, "HOST", str(tmp_path))
        monkeypatch.setitem(connections[app_role].settings_dict, "OPTIONS", {})
        raise ValueError("what happened") from cause

    assert raised.value.__cause__ is cause
    assert "The transaction could not be ended either" in raised.value.__notes__[0]
    monkeypatch.undo()
    assert tenant(app_role) is None


def test_a_connection_lost_in_a_joined_transaction_is_an_error_of_the_block(app_role):
    with (
        pytest.raises(OperationalError),
        transaction.atomic(using=app_role),
        tenant_scope("ann", using=app_role),
    ):
        lose_connection(app_role)

    assert tenant(app_role) is None


def test_a_lost_connection_is_not_taken_for_success(app_role):
    with pytest.raises(DatabaseError), tenant_scope("ann", using=app_role), pytest.raises(OperationalError):
        lose_connection(app_role)

    assert tenant(app_role) is None


def nestings():
    """What a program may do: blocks of scopes and savepoints in one another, each of which may raise in the end."""
    kind = st.sampled_from(["ann", "ben", "eve", "savepoint", "broken"])
    return st.recursive(
        st.just([]), lambda inner: st.lists(st.tuples(kind, inner, st.booleans()), max_size=3), max_leaves=12
    )


@given(program=nestings(), joined=st.booleans())
@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_at_every_point_of_every_nesting_the_innermost_scope_is_in_force(app_role, program, joined):
    def run(blocks, expected):
        for kind, inner, raises in blocks:
            scope = (
                transaction.atomic(using=app_role)
                if kind in ("savepoint", "broken")
                else tenant_scope(kind, using=app_role)
            )
            within = expected if kind in ("savepoint", "broken") else hmac_user(kind)
            try:
                with scope:
                    assert tenant(app_role) == within
                    run(inner, within)
                    assert tenant(app_role) == within
                    if kind == "broken":
                        break_transaction(app_role)
                    if raises:
                        raise LookupError
            except (LookupError, DatabaseError):
                pass
            assert tenant(app_role) == expected

    if joined:
        with transaction.atomic(using=app_role):
            run(program, None)
    else:
        run(program, None)
    assert tenant(app_role) is None
