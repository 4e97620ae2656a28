"""What memops reads from the catalogue, and that it tells every change of a table from a faithful copy of it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from memops import sql
from memops.console.errors import TableLocked
from memops.console.pg import catalogue, session
from memops.console.pg.relation import differences
from project import embedded
from tests.databases import alias_of, fresh_database

TABLE = ("public", "memory_chunks")
HOSTILE = '"; drop table x; --{}%s é'
# What is done to the table, and the sentence that tells it.
CHANGES = {
    "drop policy memory_tenant_isolation on public.memory_chunks": "policy memory_tenant_isolation is missing",
    "create policy open on public.memory_chunks using (true)": "policy open is more than there was",
    "alter policy memory_tenant_isolation on public.memory_chunks using (true)":
        "policy memory_tenant_isolation is another",
    "alter policy memory_tenant_isolation on public.memory_chunks with check (true)":
        "policy memory_tenant_isolation is another",
    "alter policy memory_tenant_isolation on public.memory_chunks to public":
        "policy memory_tenant_isolation is another",
    "update pg_index set indisvalid = false where indexrelid = 'public.idx_memory_chunks_source'::regclass":
        "index idx_memory_chunks_source is another",
    "drop index public.idx_memory_chunks_source": "index idx_memory_chunks_source is missing",
    "create index more on public.memory_chunks (model)": "index more is more than there was",
    "drop index public.idx_memory_chunks_doc_id;"
    " create index idx_memory_chunks_doc_id on public.memory_chunks (doc_id desc)":
        "index idx_memory_chunks_doc_id is another",
    "drop index public.idx_memory_chunks_doc_id;"
    " create index idx_memory_chunks_doc_id on public.memory_chunks (doc_id text_pattern_ops)":
        "index idx_memory_chunks_doc_id is another",
    "drop index public.idx_memory_chunks_doc_id;"
    " create index idx_memory_chunks_doc_id on public.memory_chunks (doc_id) include (source)":
        "index idx_memory_chunks_doc_id is another",
    "drop index public.idx_memory_chunks_doc_id;"
    " create index idx_memory_chunks_doc_id on public.memory_chunks (doc_id) where doc_id <> ''":
        "index idx_memory_chunks_doc_id is another",
    "drop index public.idx_memory_chunks_doc_id;"
    " create unique index idx_memory_chunks_doc_id on public.memory_chunks (doc_id)":
        "index idx_memory_chunks_doc_id is another",
    "alter index public.idx_memory_chunks_embedding_hnsw set (ef_construction = 99)":
        "index idx_memory_chunks_embedding_hnsw is another",
    "alter table public.memory_chunks drop constraint memory_chunks_user_hash_check":
        "constraint memory_chunks_user_hash_check is missing",
    "alter table public.memory_chunks add constraint more check (chunk_index >= 0)":
        "constraint more is more than there was",
    "alter table public.memory_chunks drop constraint memory_chunks_user_hash_check,"
    " add constraint memory_chunks_user_hash_check check (user_hash ~ '^[0-9a-f]{64}$') not valid":
        "constraint memory_chunks_user_hash_check is another",
    "alter table public.memory_chunks disable row level security": "row security is {'enabled': False",
    "alter table public.memory_chunks no force row level security":
        "row security is {'enabled': True, 'forced': False}",
    "alter table public.memory_chunks alter created_at drop default": "column created_at is another",
    "alter table public.memory_chunks alter created_at set default '2000-01-01'": "column created_at is another",
    "alter table public.memory_chunks alter model set not null": "column model is another",
    "alter table public.memory_chunks alter model type text": "column model is another",
    'alter table public.memory_chunks alter model type varchar(100) collate "C"': "column model is another",
    "alter table public.memory_chunks drop column model": "column model is missing",
    "alter table public.memory_chunks add column more int": "column more is more than there was",
    "alter table public.memory_chunks drop column chunk_index;"
    " alter table public.memory_chunks add column chunk_index int generated always as identity":
        "column chunk_index is another",
    "alter table public.memory_chunks set unlogged": "persistence is u, not p",
    "alter table public.memory_chunks owner to postgres": "owner is postgres, not memops_owner",
    "grant truncate on public.memory_chunks to memops_app": "grant truncate to memops_app is more than there was",
    "revoke delete on public.memory_chunks from memops_app": "grant delete to memops_app is missing",
    "grant select on public.memory_chunks to public": "grant select to PUBLIC is more than there was",
    "grant select on public.memory_chunks to memops_app with grant option":
        "grant select to memops_app with grant option is more than there was",
    "grant select (doc_id) on public.memory_chunks to pg_monitor":
        "grant select (doc_id) to pg_monitor is more than there was",
    "create function public.f() returns trigger language plpgsql as 'begin return new; end';"
    " create trigger more before insert on public.memory_chunks for each row execute function public.f()":
        "trigger more is more than there was",
}  # fmt: skip
DEPENDENTS = {
    "view public.newest": "create view public.newest as select max(created_at) from public.memory_chunks",
    "view public.rows": "create view public.rows as select m from public.memory_chunks m",
    'materialized view public."we ird"': 'create materialized view public."we ird" as table public.memory_chunks',
    "table constraint note_chunk on public.note": "create table public.note ("
    " id int primary key, chunk uuid constraint note_chunk references public.memory_chunks)",
    "function public.first_words(public.memory_chunks)": "create function public.first_words(public.memory_chunks)"
    " returns text language sql as 'select null::text'",
    "function public.how_many()": "create function public.how_many() returns bigint language sql"
    " begin atomic select count(*) from public.memory_chunks; end",
    "table column public.note.chunk": "create table public.note (chunk public.memory_chunks)",
    "table column public.note.chunks": "create table public.note (chunks public.memory_chunks[])",
    "composite type column public.pair.chunk": "create type public.pair as (chunk public.memory_chunks)",
    "type public.checked_chunk": "create domain public.checked_chunk as public.memory_chunks",
    "policy own_chunks on public.note": "create table public.note (id uuid); create policy own_chunks"
    " on public.note using (exists (select from public.memory_chunks m where m.id = note.id))",
    "table public.more_chunks": "create table public.more_chunks () inherits (public.memory_chunks)",
    "parent table public.anything": "create table public.anything ();"
    " alter table public.memory_chunks inherit public.anything",
    "rule watch on public.note": "create table public.note (id uuid); create rule watch as on insert"
    " to public.note do also select 1 from public.memory_chunks",
    "default value for public.note.known": "create table public.note (id int,"
    " known boolean default (null::public.memory_chunks is null))",
}
OWN_PARTS = (
    "set local role memops_owner; create sequence public.own owned by public.memory_chunks.chunk_index; reset role",
    "create statistics public.own on doc_id, source from public.memory_chunks",
    "alter table public.memory_chunks add column earlier uuid references public.memory_chunks",
    "create publication own for table public.memory_chunks",
    "alter table public.memory_chunks add constraint whole check (memory_chunks is distinct from null)",
)


def looked_at(alias: str, schema: str = TABLE[0], name: str = TABLE[1]):
    with session.connect(alias) as connection:
        return catalogue.relation(connection, schema, name)


def dependents(connection: psycopg.Connection) -> list[str]:
    oid = catalogue.relation(connection, *TABLE).oid
    return [f"{found.kind} {found.name}" for found in catalogue.dependents(connection, oid)]


@pytest.fixture(scope="module")
def shared_database(template_database: str) -> Iterator[str]:
    with fresh_database(template_database) as name:
        yield name


@pytest.fixture
def undone(shared_database: str, settings) -> Iterator[psycopg.Connection]:
    """A session of memops as superuser, in a transaction that is rolled back at the end."""
    params = psycopg.conninfo.conninfo_to_dict(embedded.superuser_url(settings.MEMOPS_HOME, shared_database))
    with session.connect_to(params, name="shared") as connection, connection.transaction(force_rollback=True):
        yield connection


class TestDifferences:
    def test_a_table_does_not_differ_from_itself(self, target):
        one, other = looked_at(target), looked_at(target)

        assert differences(one.catalogue(), other.catalogue()) == []

    def test_a_copy_by_the_same_sql_does_not_differ_whatever_its_oids_are(self, target, owner):
        before = looked_at(target)
        owner.execute(sql.down())
        owner.execute(sql.up())

        after = looked_at(target)

        assert after.oid != before.oid
        assert differences(before.catalogue(), after.catalogue()) == []

    def test_a_quarantined_table_differs_only_in_its_grants(self, target, owner, three_rows):
        before = looked_at(target)
        owner.execute(sql.down())

        with session.connect(target) as connection:
            [kept] = catalogue.quarantined(connection)
            names = catalogue.earlier_names(connection, kept.oid)
        after = looked_at(target, kept.schema, kept.name)

        assert differences(before.catalogue(grants=False), after.catalogue(grants=False, names=names)) == []
        assert {told.split()[0] for told in differences(before.catalogue(), after.catalogue(names=names))} == {"grant"}

    @pytest.mark.parametrize("change", CHANGES)
    def test_every_kind_of_change_is_told(self, undone, change):
        before = catalogue.relation(undone, *TABLE).catalogue()
        undone.execute(change)
        after = catalogue.relation(undone, *TABLE).catalogue()

        told = differences(before, after)

        assert any(sentence.startswith(CHANGES[change]) for sentence in told), told
        assert differences(after, before), "It is not told the other way round."

    def test_columns_in_another_order_are_told(self, undone):
        before = catalogue.relation(undone, *TABLE).catalogue()
        after = {**before, "columns": before["columns"][::-1]}

        assert differences(before, after) == ["the columns stand in another order"]


class TestRelation:
    def test_what_is_not_there_is_none(self, target):
        assert looked_at(target, "public", "nothing") is None
        assert looked_at(target, "nowhere", "memory_chunks") is None

    def test_a_view_is_not_taken_for_a_table(self, target, owner):
        owner.execute("create view public.seen as select 1")

        assert looked_at(target, "public", "seen") is None

    def test_names_that_are_sql_are_only_names(self, target, owner):
        owner.execute(
            SQL("create schema {0}; create table {0}.{0} ({0} int default 1, check ({0} > 0));"
                " create index on {0}.{0} ({0})").format(Identifier(HOSTILE))
        )  # fmt: skip

        found = looked_at(target, HOSTILE, HOSTILE)

        assert (found.schema, found.name, found.columns[0].name) == (HOSTILE, HOSTILE, HOSTILE)
        with session.connect(target) as connection:
            assert catalogue.exact_rows(connection, HOSTILE, HOSTILE) == 0
            assert catalogue.leftovers(connection, HOSTILE, HOSTILE)["table"] == [HOSTILE]
            assert f"{HOSTILE}.{HOSTILE}" in catalogue.other_tables(connection)

    def test_sizes_add_up_and_rows_are_counted(self, filled):
        found = looked_at(filled)
        with session.connect(filled) as connection:
            assert catalogue.exact_rows(connection, *TABLE) == 700

        assert found.total_bytes == found.table_bytes + found.index_bytes
        assert found.index_bytes == sum(index.size_bytes for index in found.indexes)

    def test_the_role_that_row_security_holds_for_is_told(self, target, app_role):
        assert looked_at(app_role).row_security_active is True
        assert looked_at(target).row_security_active is False

    def test_who_only_looks_does_not_wait_for_who_alters_the_table(self, target, owner):
        with owner.transaction():
            owner.execute("alter table public.memory_chunks add column more int")

            with pytest.raises(TableLocked, match=r"keeps public\.memory_chunks for itself.*within 1 s"):
                looked_at(target)


class TestDependents:
    def test_a_healthy_table_has_none(self, undone):
        assert dependents(undone) == []

    @pytest.mark.parametrize("change", OWN_PARTS)
    def test_its_own_parts_are_none_and_no_obstacle_to_the_reverse_sql(self, undone, change):
        undone.execute(change)

        assert dependents(undone) == []
        undone.execute(sql.down())

    @pytest.mark.parametrize("dependent", DEPENDENTS)
    def test_each_kind_is_named_as_the_reverse_sql_refuses_it(self, undone, dependent):
        undone.execute(DEPENDENTS[dependent])

        assert dependents(undone) == [dependent]
        with pytest.raises(psycopg.errors.DependentObjectsStillExist) as refused:
            undone.execute(sql.down())
        assert refused.value.diag.message_primary.count(",") == 0

    def test_hostile_names_are_quoted(self, undone):
        undone.execute(SQL("create view public.{} as table public.memory_chunks").format(Identifier(HOSTILE)))

        assert dependents(undone) == [f"view public.{Identifier(HOSTILE).as_string()}"]


class TestServer:
    def test_the_role_and_what_it_may_do(self, target):
        with session.connect(target) as connection:
            found = catalogue.server(connection)

        assert (found.role, found.is_standby, found.is_superuser) == (embedded.OWNER_ROLE, False, False)
        assert found.bypasses_row_security
        assert found.can_create_databases
        assert found.may_set_deadlock_timeout
        assert found.version_num // 10000 == embedded.MAJOR
        assert found.identity == f"{found.system_identifier}/{found.database_oid}"

    def test_a_role_without_rights_has_none(self, app_role):
        with session.connect(app_role) as connection:
            found = catalogue.server(connection)

        assert (found.bypasses_row_security, found.can_create_databases, found.may_set_deadlock_timeout) == (False,) * 3

    def test_a_superuser_is_told(self, target):
        with alias_of("super", USER="postgres") as alias, session.connect(alias) as connection:
            found = catalogue.server(connection)

        assert found.is_superuser
        assert found.may_set_deadlock_timeout

    def test_a_database_without_memops_has_no_history_and_no_journal(self, target):
        with session.connect(target, database="postgres") as connection:
            assert catalogue.migrations(connection, "memops") == []
            assert catalogue.journal(connection) == []
            assert catalogue.quarantined(connection) == []

    def test_applied_migrations_are_read(self, target):
        with session.connect(target) as connection:
            assert catalogue.migrations(connection, "memops") == ["0001_memory_chunks"]

    def test_the_journal_is_read_from_an_entry_on(self, target, owner, three_rows):
        owner.execute(sql.down())
        with session.connect(target) as connection:
            deployed, quarantined = catalogue.journal(connection)
            later = catalogue.journal(connection, after_id=deployed.id)

        assert [entry.action for entry in (deployed, quarantined)] == ["deploy", "quarantine"]
        assert later == [quarantined]
        assert quarantined.happened_at < datetime.now(UTC)
        assert set(quarantined.names.values()) >= {"memory_chunks_pkey", "idx_memory_chunks_doc_id"}

    def test_a_transactions_end_is_known(self, target, owner):
        committed = owner.execute("select pg_current_xact_id()::text").fetchone()[0]
        with owner.transaction(force_rollback=True):
            aborted = owner.execute("select pg_current_xact_id()::text").fetchone()[0]
            with session.connect(target) as connection:
                assert catalogue.transaction_status(connection, aborted) == "in progress"
        with session.connect(target) as connection:
            assert catalogue.transaction_status(connection, committed) == "committed"
            assert catalogue.transaction_status(connection, aborted) == "aborted"
            assert catalogue.transaction_status(connection, str(2**50)) is None

    def test_publications_and_slots_are_told(self, target, dba):
        dba.execute("create publication chunks for table public.memory_chunks")
        with session.connect(target) as connection:
            oid = catalogue.relation(connection, *TABLE).oid

            assert "publication chunks" in map(str, catalogue.replication(connection, oid))

    def test_prepared_transactions_are_told_and_whether_they_hold_the_table(self, target, owner):
        with session.connect(target) as connection:
            oid = catalogue.relation(connection, *TABLE).oid
            for gid, statement in (("with", "select * from public.memory_chunks"), ("without", "select 1")):
                owner.execute(f"begin; {statement}; prepare transaction 'test_catalogue {gid}'")

            found = {one.gid: one.holds_table for one in catalogue.prepared_transactions(connection, oid)}

        assert found == {"test_catalogue with": True, "test_catalogue without": False}
