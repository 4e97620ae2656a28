"""What the application's role can see and do: its own tenant's rows, and without a tenant nothing."""

import pytest
from django.db import DatabaseError, ProgrammingError, connections, transaction

from memops.tenancy import hmac_user, tenant_scope

INSERT = "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index) values (%s, %s, 'notes', 0)"


def fetch(alias, sql, *parameters):
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def execute(alias, sql, *parameters):
    """Run a statement; how many rows did it touch?"""
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.rowcount


def visible(alias):
    return [doc_id for (doc_id,) in fetch(alias, "select doc_id from public.memory_chunks order by doc_id")]


@pytest.fixture
def app(app_role, target):
    """An alias of the application's role, over two rows of Ann and one of Ben; row-level security really holds."""
    for user_id, doc_id in (("ann", "ann 1"), ("ann", "ann 2"), ("ben", "ben 1")):
        execute(target, INSERT, hmac_user(user_id), doc_id)
    assert visible(target) == ["ann 1", "ann 2", "ben 1"]
    assert fetch(app_role, "select row_security_active('public.memory_chunks')") == [(True,)]
    assert fetch(app_role, "select rolsuper or rolbypassrls from pg_roles where rolname = current_user") == [(False,)]
    return app_role


def no_tenant_was_ever_set(alias):
    assert fetch(alias, "select current_setting('app.user_hash', true)") == [(None,)]


def the_tenant_is_empty(alias):
    execute(alias, "select set_config('app.user_hash', '', false)")
    assert fetch(alias, "select current_setting('app.user_hash', true)") == [("",)]


def a_scope_has_ended(alias):
    with tenant_scope("ann", using=alias):
        assert visible(alias)
    assert fetch(alias, "select current_setting('app.user_hash', true)") == [("",)]


@pytest.mark.parametrize("without_tenant", [no_tenant_was_ever_set, the_tenant_is_empty, a_scope_has_ended])
class TestWithoutTenant:
    def test_no_row_is_seen(self, app, without_tenant):
        without_tenant(app)

        assert visible(app) == []

    def test_no_row_is_changed_or_deleted(self, app, target, without_tenant):
        without_tenant(app)

        assert execute(app, "update public.memory_chunks set source = 'email'") == 0
        assert execute(app, "delete from public.memory_chunks") == 0
        assert fetch(target, "select count(*), min(source), max(source) from public.memory_chunks") == [
            (3, "notes", "notes")
        ]

    @pytest.mark.parametrize("user_hash", ["a" * 64, ""])
    def test_no_row_is_inserted(self, app, target, without_tenant, user_hash):
        without_tenant(app)

        with pytest.raises(ProgrammingError, match="violates row-level security policy"):
            execute(app, INSERT, user_hash, "new")

        assert len(visible(target)) == 3


def test_a_tenant_sees_its_own_rows_only(app):
    with tenant_scope("ann", using=app):
        assert visible(app) == ["ann 1", "ann 2"]
    with tenant_scope("ben", using=app):
        assert visible(app) == ["ben 1"]
    with tenant_scope("eve", using=app):
        assert visible(app) == []


def test_a_nested_scope_sees_its_rows_and_then_the_outer_one_sees_its_own_again(app):
    with tenant_scope("ann", using=app):
        with tenant_scope("ben", using=app):
            assert visible(app) == ["ben 1"]
        assert visible(app) == ["ann 1", "ann 2"]
        with pytest.raises(DatabaseError), tenant_scope("ben", using=app):
            execute(app, "select 1 / 0")
        assert visible(app) == ["ann 1", "ann 2"]


def test_another_tenants_rows_cannot_be_asked_for_by_name(app):
    with tenant_scope("ann", using=app):
        assert fetch(app, "select id from public.memory_chunks where user_hash = %s", hmac_user("ben")) == []
        assert fetch(app, "select id from public.memory_chunks where doc_id = 'ben 1' or true") != []
        assert "ben 1" not in visible(app)


def test_another_tenants_rows_are_neither_changed_nor_deleted(app, target):
    with tenant_scope("ann", using=app):
        assert execute(app, "update public.memory_chunks set source = 'email' where doc_id = 'ben 1'") == 0
        assert execute(app, "delete from public.memory_chunks where doc_id = 'ben 1'") == 0
        assert execute(app, "update public.memory_chunks set source = 'email'") == 2
        assert execute(app, "delete from public.memory_chunks") == 2

    assert fetch(target, "select doc_id, source from public.memory_chunks") == [("ben 1", "notes")]


def test_a_row_is_not_inserted_for_another_tenant(app, target):
    with (
        pytest.raises(ProgrammingError, match="violates row-level security policy"),
        tenant_scope("ann", using=app),
    ):
        execute(app, INSERT, hmac_user("ben"), "smuggled")

    assert "smuggled" not in visible(target)


def test_a_row_is_not_given_away_to_another_tenant(app, target):
    with (
        pytest.raises(ProgrammingError, match="violates row-level security policy"),
        tenant_scope("ann", using=app),
    ):
        execute(app, "update public.memory_chunks set user_hash = %s", hmac_user("ben"))

    assert fetch(target, "select count(*) from public.memory_chunks where user_hash = %s", hmac_user("ben")) == [(1,)]


def test_an_upsert_does_not_reach_another_tenants_row(app, target):
    [(ben_id,)] = fetch(target, "select id from public.memory_chunks where doc_id = 'ben 1'")

    with (
        pytest.raises(ProgrammingError, match="violates row-level security policy"),
        tenant_scope("ann", using=app) as ann,
    ):
        execute(
            app,
            "insert into public.memory_chunks (id, user_hash, doc_id, source, chunk_index) values (%s, %s, 'x', 'x', 0)"
            " on conflict (id) do update set doc_id = 'taken'",
            ben_id,
            ann,
        )

    assert visible(target) == ["ann 1", "ann 2", "ben 1"]


def test_a_tenant_writes_and_reads_its_own_rows(app):
    with tenant_scope("ann", using=app) as ann:
        assert execute(app, INSERT, ann, "ann 3") == 1
        assert visible(app) == ["ann 1", "ann 2", "ann 3"]


@pytest.mark.parametrize(
    "statement",
    [
        "truncate public.memory_chunks",
        "alter table public.memory_chunks disable row level security",
        "alter table public.memory_chunks no force row level security",
        "drop policy memory_tenant_isolation on public.memory_chunks",
        "create policy open_door on public.memory_chunks using (true)",
        "drop table public.memory_chunks",
    ],
)
def test_the_application_cannot_get_around_the_policy(app, statement):
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        execute(app, statement)


def test_switching_row_security_off_is_an_error_and_no_way_around(app):
    with (
        pytest.raises(ProgrammingError, match="would be affected by row-level security"),
        tenant_scope("ann", using=app),
    ):
        execute(app, "set local row_security = off")
        visible(app)


def test_the_policy_holds_in_a_transaction_that_joined(app):
    with transaction.atomic(using=app):
        with tenant_scope("ann", using=app):
            assert visible(app) == ["ann 1", "ann 2"]
        assert visible(app) == []
