"""The migration of memory_chunks: the table is as the design says, and there and back again leaves nothing behind."""

import subprocess

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from memops import sql
from memops.models import MemoryChunk

COLUMNS = [
    ("id", "uuid", True, "gen_random_uuid()"),
    ("user_hash", "character varying(64)", True, None),
    ("doc_id", "character varying(255)", True, None),
    ("source", "character varying(100)", True, None),
    ("text_plain", "text", False, None),
    ("text_cipher", "bytea", False, None),
    ("meta_cipher", "bytea", False, None),
    ("embedding", "vector(1536)", False, None),
    ("emb_cipher", "bytea", False, None),
    ("chunk_index", "integer", True, None),
    ("char_start", "integer", False, None),
    ("char_end", "integer", False, None),
    ("created_at", "timestamp with time zone", True, "now()"),
    ("updated_at", "timestamp with time zone", True, "now()"),
    ("expires_at", "timestamp with time zone", False, None),
    ("tags", "text[]", False, None),
    ("model", "character varying(100)", False, None),
]
B_TREES = {
    "memory_chunks_pkey": "btree (id)",
    "idx_memory_chunks_user_hash_created": "btree (user_hash, created_at)",
    "idx_memory_chunks_doc_id": "btree (doc_id)",
    "idx_memory_chunks_source": "btree (source)",
    "idx_memory_chunks_created_at": "btree (created_at)",
    "idx_memory_chunks_expires_at": "btree (expires_at)",
    "idx_memory_chunks_user_hash": "btree (user_hash)",
    "idx_memory_chunks_user_embedding": "btree (user_hash, id) WHERE (embedding IS NOT NULL)",
}
ANN_INDEXES = {
    "hnsw": "hnsw (embedding vector_cosine_ops) WHERE (user_hash IS NOT NULL)",
    "ivfflat": "ivfflat (embedding vector_cosine_ops) WITH (lists='100') WHERE (user_hash IS NOT NULL)",
}
TENANT = "((user_hash)::text = NULLIF(current_setting('app.user_hash'::text, true), ''::text))"
TABLES = (
    "select oid, relnamespace::regnamespace::text, relname from pg_class where relkind = 'r' and oid > 16383 order by 1"
)
HISTORY = "select name from django_migrations where app = 'memops'"


def indexes(connection):
    found = connection.execute(
        "select indexname, indexdef from pg_indexes where (schemaname, tablename) = ('public', 'memory_chunks')"
    )
    return {name: definition.partition(" USING ")[2] for name, definition in found}


def columns(connection):
    return connection.execute(
        "select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)"
        " from pg_attribute a left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)"
        " where a.attrelid = 'public.memory_chunks'::regclass and a.attnum > 0 order by a.attnum"
    ).fetchall()


def table(connection):
    return connection.execute("select to_regclass('public.memory_chunks')").fetchone()[0]


def migrate(target, *arguments):
    call_command("migrate", "memops", *arguments, database=target, verbosity=0)


def test_columns(owner):
    assert columns(owner) == COLUMNS


def test_indexes(owner):
    assert indexes(owner) == B_TREES | {"idx_memory_chunks_embedding_hnsw": ANN_INDEXES["hnsw"]}


def test_row_level_security_is_on_and_forced_with_one_policy(owner):
    assert owner.execute(
        "select relrowsecurity, relforcerowsecurity from pg_class where oid = 'public.memory_chunks'::regclass"
    ).fetchall() == [(True, True)]
    assert owner.execute(
        "select policyname, permissive, roles::text[], cmd, qual, with_check from pg_policies"
        " where (schemaname, tablename) = ('public', 'memory_chunks')"
    ).fetchall() == [("memory_tenant_isolation", "PERMISSIVE", ["memops_app"], "ALL", TENANT, TENANT)]


def test_the_application_has_four_privileges_and_nobody_else_has_any(owner):
    assert owner.execute(
        "select grantee::regrole::text, privilege_type, is_grantable from pg_class, aclexplode(relacl)"
        " where pg_class.oid = 'public.memory_chunks'::regclass and grantee <> relowner order by 2"
    ).fetchall() == [("memops_app", name, False) for name in ("DELETE", "INSERT", "SELECT", "UPDATE")]


def test_default_privileges_give_the_application_no_more(owner):
    owner.execute(sql.down())
    owner.execute("alter default privileges in schema public grant all on tables to memops_app, public")

    owner.execute(sql.up())

    test_the_application_has_four_privileges_and_nobody_else_has_any(owner)


@pytest.mark.parametrize("wrong", ["", "ann", "A" * 64, "a" * 63, "g" * 64, "a" * 63 + "\n"])
def test_only_a_hash_is_a_tenant(owner, wrong):
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute(
            "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index) values (%s, 'd', 's', 0)",
            [wrong],
        )


@pytest.mark.parametrize(
    ("dimension", "kinds"),
    [(1, []), (1, ["hnsw"]), (2, ["ivfflat"]), (3, ["hnsw", "ivfflat"]), (2000, []), (2000, ["ivfflat", "hnsw"])],
)
def test_dimension_and_approximate_indexes_come_from_the_settings(owner, settings, dimension, kinds):
    settings.MEMOPS_EMBEDDING_DIM, settings.MEMOPS_ANN_INDEXES = dimension, kinds
    owner.execute(sql.down())

    owner.execute(sql.up())

    assert ("embedding", f"vector({dimension})", False, None) in columns(owner)
    assert indexes(owner) == B_TREES | {f"idx_memory_chunks_embedding_{kind}": ANN_INDEXES[kind] for kind in kinds}
    owner.execute(
        "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index, embedding)"
        " values (repeat('a', 64), 'd', 's', 0, array_fill(1::real, array[%s::int])::vector)",
        [dimension],
    )
    owner.execute(sql.down())
    assert table(owner) is None


def test_it_works_whatever_the_search_path_is(owner):
    owner.execute(sql.down())
    owner.execute("set search_path = pg_catalog")

    owner.execute(sql.up())
    owner.execute(sql.down())
    owner.execute(sql.up())

    assert table(owner) == "public.memory_chunks"


def test_the_journal_says_who_deployed_what(owner):
    owner.execute(sql.down())
    with owner.transaction():
        owner.execute("set local memops.run_id = 'run 7'")
        owner.execute(sql.up())

    assert owner.execute(
        "select action, table_name, table_oid::regclass::text, run_id, by_role, xid is not null, names, acl"
        " from memops_quarantine.journal order by id desc limit 1"
    ).fetchall() == [("deploy", "memory_chunks", "memory_chunks", "run 7", "memops_owner", True, None, None)]


def test_nobody_else_gets_at_the_quarantine(owner, app_role):
    assert owner.execute(
        "select has_schema_privilege('memops_app', 'memops_quarantine', 'usage'),"
        " has_table_privilege('memops_app', 'memops_quarantine.journal', 'select')"
    ).fetchone() == (False, False)


def test_forward_backward_forward(target, owner):
    before, others = (columns(owner), indexes(owner)), owner.execute(TABLES).fetchall()
    others = [row for row in others if row[1:] != ("public", "memory_chunks")]

    migrate(target, "zero")

    assert table(owner) is None
    assert owner.execute(HISTORY).fetchall() == []
    assert owner.execute(TABLES).fetchall() == others
    assert any(name.startswith("memops_console_") for _, _, name in others)

    migrate(target)

    assert (columns(owner), indexes(owner)) == before
    assert owner.execute(HISTORY).fetchall() == [("0001_memory_chunks",)]


@pytest.mark.usefixtures("three_rows")
def test_migrate_zero_keeps_rows_in_quarantine(target, owner):
    oid = owner.execute("select 'public.memory_chunks'::regclass::oid").fetchone()

    migrate(target, "zero")

    [(kept,)] = owner.execute("select table_name from memops_quarantine.journal where action = 'quarantine'").fetchall()
    assert owner.execute("select to_regclass('memops_quarantine.' || %s)::oid", [kept]).fetchone() == oid
    assert owner.execute(f"select count(*) from memops_quarantine.{kept}").fetchone() == (3,)


def test_the_history_follows_in_the_transaction_of_the_table(target, owner):
    connection = connections[target]
    executor = MigrationExecutor(connection)
    [operation] = executor.loader.disk_migrations["memops", "0001_memory_chunks"].operations
    with connection.schema_editor(atomic=True) as editor:
        operation.database_backwards("memops", editor, None, None)

    assert table(owner) is None
    assert owner.execute(HISTORY).fetchall() == []


def test_a_table_that_is_there_already_is_left_alone(owner):
    before = owner.execute(TABLES).fetchall()

    with pytest.raises(psycopg.errors.DuplicateTable, match="Nothing was changed") as refused:
        owner.execute(sql.up())

    assert "--fake" in refused.value.diag.message_hint
    assert owner.execute(TABLES).fetchall() == before


def test_a_missing_application_role_is_named(owner, settings):
    owner.execute(sql.down())
    settings.MEMOPS_APP_ROLE = "we \"ird% \\ role'"

    with pytest.raises(psycopg.errors.UndefinedObject) as refused:
        owner.execute(sql.up())

    assert 'The application\'s role "we ""ird% \\ role\'" does not exist' in str(refused.value)
    assert "memops sql roles" in refused.value.diag.message_hint
    assert table(owner) is None


def test_an_application_role_with_a_strange_name_is_isolated_too(owner, settings, new_role):
    settings.MEMOPS_APP_ROLE = role = new_role("we \"ird% \\ role'")
    owner.execute(sql.down())

    owner.execute(sql.up())

    assert owner.execute("select roles::text[] from pg_policies where tablename = 'memory_chunks'").fetchall() == [
        ([role],)
    ]
    assert owner.execute("select has_table_privilege(%s, 'public.memory_chunks', 'insert')", [role]).fetchone() == (
        True,
    )
    owner.execute(sql.down())


def test_an_application_role_that_sees_everything_is_warned_about(owner, settings, new_role, notices):
    settings.MEMOPS_APP_ROLE = new_role("all-seeing", "login bypassrls")
    owner.execute(sql.down())

    owner.execute(sql.up())

    assert any(told.startswith("WARNING: Row-level security does not hold for role") for told in notices)


def test_a_missing_extension_is_named(owner, dba):
    owner.execute(sql.down())
    dba.execute("drop extension vector")

    with pytest.raises(psycopg.errors.UndefinedObject, match="extension vector") as refused:
        owner.execute(sql.up())

    assert "create extension vector schema public" in refused.value.diag.message_hint
    assert table(owner) is None


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({}, ["create table public.memory_chunks", "create policy memory_tenant_isolation", "using hnsw"]),
        ({"backwards": True}, ["do $memops$", "access exclusive mode", "delete from django_migrations"]),
    ],
)
def test_sqlmigrate_prints_what_is_run(target, capsys, arguments, parts):
    call_command("sqlmigrate", "memops", "0001", database=target, **arguments)

    printed = capsys.readouterr().out
    assert all(part in printed for part in parts)
    assert printed.startswith("BEGIN;")
    assert printed.rstrip().endswith("COMMIT;")


@pytest.mark.parametrize("dimension", ["3", "1536"])
def test_model_and_migration_agree_for_any_dimension(environment, manage, dimension):
    checked = subprocess.run(
        [*manage, "makemigrations", "memops", "--check", "--dry-run"],
        env={**environment, "MEMOPS_EMBEDDING_DIM": dimension},
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_model_reads_and_writes_the_table(target):
    written = MemoryChunk.objects.using(target).create(
        user_hash="a" * 64, doc_id="d", source="notes", chunk_index=0, embedding=[0.5] * 1536, tags=["one", "two"]
    )

    read = MemoryChunk.objects.using(target).get()
    assert read == written
    assert (read.tags, len(read.embedding), read.text_plain) == (["one", "two"], 1536, None)
    assert read.created_at == read.updated_at is not None
