"""The reverse SQL: rows are moved to quarantine, an empty table is dropped, and everything else is refused whole."""

import re
import time
from threading import Thread

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from memops import sql
from project import embedded

KEPT = re.compile(r"memory_chunks_\d{8}_\d{6}_\d{6}")
JOURNAL = "select action, table_name from memops_quarantine.journal where action <> 'deploy' order by id"
# Everything that a rollback could change: relations, their names, grants, row-level security, policies; the journal.
CATALOGUE = """
select c.oid, c.relnamespace, c.relname, c.relacl::text, c.relrowsecurity, c.relforcerowsecurity,
    (select array_agg(polname) from pg_policy where polrelid = c.oid), (select max(id) from memops_quarantine.journal)
from pg_class c where c.oid > 16383 order by c.oid
"""
DEPENDENTS = {
    "view public.newest": "create view public.newest as select max(created_at) from public.memory_chunks",
    "view public.rows": "create view public.rows as select m from public.memory_chunks m",
    'materialized view public."we ird"': 'create materialized view public."we ird" as table public.memory_chunks',
    "constraint note_chunk on table public.note": "create table public.note ("
    " id int primary key, chunk uuid constraint note_chunk references public.memory_chunks)",
    "function public.first_words(public.memory_chunks)": "create function public.first_words(public.memory_chunks)"
    " returns text language sql as 'select null::text'",
    "function public.how_many()": "create function public.how_many() returns bigint language sql"
    " begin atomic select count(*) from public.memory_chunks; end",
    "column chunk of table public.note": "create table public.note (chunk public.memory_chunks)",
    "column chunks of table public.note": "create table public.note (chunks public.memory_chunks[])",
    "column chunk of composite type public.pair": "create type public.pair as (chunk public.memory_chunks)",
    "type public.checked_chunk": "create domain public.checked_chunk as public.memory_chunks",
    "policy own_chunks on table public.note": "create table public.note (id uuid); create policy own_chunks"
    " on public.note using (exists (select from public.memory_chunks m where m.id = note.id))",
    "table public.more_chunks": "create table public.more_chunks () inherits (public.memory_chunks)",
    "parent table public.anything": "create table public.anything ();"
    " alter table public.memory_chunks inherit public.anything",
    "rule watch on table public.note": "create table public.note (id uuid); create rule watch as on insert"
    " to public.note do also select 1 from public.memory_chunks",
}


def present(connection):
    return connection.execute("select to_regclass('public.memory_chunks') is not null").fetchone()[0]


def kept_tables(connection):
    found = connection.execute(
        "select relname from pg_class where relnamespace = 'memops_quarantine'::regnamespace and relkind = 'r'"
        " and relname <> 'journal' order by relname"
    )
    return [name for (name,) in found]


def index_names(connection, table):
    found = connection.execute("select indexrelid::regclass::text from pg_index where indrelid = %s::regclass", [table])
    return sorted(name.rpartition(".")[2] for (name,) in found)


@pytest.fixture
def another(target, owner):
    """A second connection of the owner, in autocommit."""
    with psycopg.connect(owner.info.dsn, autocommit=True) as connection:
        yield connection


def test_an_empty_table_is_dropped(owner):
    oid = owner.execute("select 'public.memory_chunks'::regclass::oid").fetchone()[0]

    owner.execute(sql.down())

    assert not present(owner)
    assert kept_tables(owner) == []
    assert owner.execute("select action, table_name, table_oid from memops_quarantine.journal order by id").fetchall()[
        1:
    ] == [("drop", "memory_chunks", oid)]


def test_a_table_whose_rows_were_all_deleted_is_empty(owner, three_rows):
    owner.execute("delete from public.memory_chunks")

    owner.execute(sql.down())

    assert owner.execute(JOURNAL).fetchall() == [("drop", "memory_chunks")]


def test_a_big_file_is_not_searched_for_a_last_row_but_kept(owner):
    owner.execute(
        "alter table public.memory_chunks alter text_plain set storage plain;"
        " insert into public.memory_chunks (user_hash, doc_id, source, chunk_index, text_plain)"
        " select repeat('a', 64), 'd', 's', n, repeat('x', 1900) from generate_series(1, 9000) n;"
        " delete from public.memory_chunks"
    )

    owner.execute(sql.down())

    assert len(kept_tables(owner)) == 1


def test_a_table_with_rows_is_moved_whole(owner, three_rows):
    shape = (
        "select array(select conname::text from pg_constraint where conrelid = c.oid and contype = 'c'),"
        " relrowsecurity, relforcerowsecurity, array(select polname::text from pg_policy where polrelid = c.oid),"
        " c.oid, relfilenode from pg_class c where c.oid = %s::regclass"
    )
    before = owner.execute(shape, ["public.memory_chunks"]).fetchall()
    names = index_names(owner, "public.memory_chunks")

    owner.execute(sql.down())

    assert not present(owner)
    [kept] = kept_tables(owner)
    assert KEPT.fullmatch(kept)
    stamp = kept.removeprefix("memory_chunks_")
    assert owner.execute(shape, [f"memops_quarantine.{kept}"]).fetchall() == before
    assert index_names(owner, f"memops_quarantine.{kept}") == sorted(f"{name}_{stamp}" for name in names)
    assert owner.execute(f"select count(*) from memops_quarantine.{kept}").fetchone() == (3,)
    assert owner.execute(
        "select conname from pg_constraint where contype = 'p' and conrelid = %s", [before[0][4]]
    ).fetchall() == [(f"memory_chunks_pkey_{stamp}",)]


def test_the_journal_has_the_old_names_and_the_run(owner, three_rows):
    names = index_names(owner, "public.memory_chunks")
    with owner.transaction():
        owner.execute("set local memops.run_id = 'run 8'")
        owner.execute(sql.down())

    [(action, table, run_id, renamed)] = owner.execute(
        "select action, table_name, run_id, names from memops_quarantine.journal where action <> 'deploy'"
    ).fetchall()
    assert (action, run_id, [table]) == ("quarantine", "run 8", kept_tables(owner))
    assert sorted(renamed.values()) == names
    assert sorted(renamed) == index_names(owner, f"memops_quarantine.{table}")


def test_every_name_is_free_for_the_next_deployment_again_and_again(owner):
    for number in range(3):
        owner.execute(
            "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index)"
            " values (repeat('b', 64), 'd', 's', %s)",
            [number],
        )
        owner.execute(sql.down())
        owner.execute(sql.up())

    kept = kept_tables(owner)
    assert len(kept) == 3
    assert [owner.execute(f"select chunk_index from memops_quarantine.{name}").fetchone()[0] for name in kept] == [
        0,
        1,
        2,
    ]
    assert len(index_names(owner, "public.memory_chunks")) == 9


def test_a_second_time_nothing_happens(owner, three_rows, notices):
    owner.execute(sql.down())
    before = owner.execute(CATALOGUE).fetchall()
    notices.clear()

    owner.execute(sql.down())

    assert owner.execute(CATALOGUE).fetchall() == before
    assert notices == ["NOTICE: There is no table public.memory_chunks: nothing to do."]


def test_every_grant_is_revoked_and_in_the_journal(owner, three_rows, new_role):
    reader, lender, borrower = new_role("we ird reader"), new_role('len"der'), new_role("borrower")
    names = {"reader": Identifier(reader), "lender": Identifier(lender), "borrower": Identifier(borrower)}
    for grant in (
        "grant select (doc_id, source), update (source) on public.memory_chunks to {reader}",
        "grant insert on public.memory_chunks to {lender} with grant option",
        "grant select (doc_id) on public.memory_chunks to {lender} with grant option",
        "grant truncate on public.memory_chunks to public",
        "grant select (model) on public.memory_chunks to public",
    ):
        owner.execute(SQL(grant).format(**names))
    with psycopg.connect(owner.info.dsn, user=lender) as connection:
        connection.execute(SQL("grant insert on public.memory_chunks to {borrower}").format(**names))
        connection.execute(SQL("grant select (doc_id) on public.memory_chunks to {borrower}").format(**names))

    owner.execute(sql.down())

    [kept] = kept_tables(owner)
    assert (
        owner.execute(
            "select grantee from pg_class, aclexplode(relacl)"
            " where pg_class.oid = %(table)s::regclass and grantee <> relowner"
            " union all select grantee from pg_attribute, aclexplode(attacl) where attrelid = %(table)s::regclass",
            {"table": f"memops_quarantine.{kept}"},
        ).fetchall()
        == []
    )
    [(acl,)] = owner.execute("select acl from memops_quarantine.journal where action = 'quarantine'").fetchall()
    assert {
        (grant["grantee"], grant["privilege"], grant["grantable"], grant["column"], grant["grantor"]) for grant in acl
    } == {
        *{
            ("memops_app", privilege, False, None, "memops_owner")
            for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
        },
        (reader, "SELECT", False, "doc_id", "memops_owner"),
        (reader, "SELECT", False, "source", "memops_owner"),
        (reader, "UPDATE", False, "source", "memops_owner"),
        (lender, "INSERT", True, None, "memops_owner"),
        (lender, "SELECT", True, "doc_id", "memops_owner"),
        (borrower, "INSERT", False, None, lender),
        (borrower, "SELECT", False, "doc_id", lender),
        (None, "TRUNCATE", False, None, "memops_owner"),
        (None, "SELECT", False, "model", "memops_owner"),
    }


@pytest.mark.parametrize("dependent", DEPENDENTS)
@pytest.mark.parametrize("has_rows", [True, False])
def test_dependents_are_named_and_nothing_is_changed(owner, request, dependent, has_rows):
    if has_rows:
        request.getfixturevalue("three_rows")
    owner.execute(DEPENDENTS[dependent])
    before = owner.execute(CATALOGUE).fetchall()

    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as refused:
        owner.execute(sql.down())

    assert refused.value.diag.message_primary == (
        f"Other objects depend on public.memory_chunks: {dependent}. Nothing was changed."
    )
    assert owner.execute(CATALOGUE).fetchall() == before


def test_all_dependents_are_named_at_once(owner):
    names = ["view public.newest", "function public.how_many()", "type public.checked_chunk"]
    for name in names:
        owner.execute(DEPENDENTS[name])

    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as refused:
        owner.execute(sql.down())

    assert ": " + ", ".join(sorted(names)) + "." in refused.value.diag.message_primary


def test_a_partition_is_refused_with_its_parent(owner, three_rows):
    owner.execute(
        "create table public.whole (like public.memory_chunks) partition by list (source);"
        " alter table public.whole attach partition public.memory_chunks for values in ('notes')"
    )

    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match=r"parent table public\.whole"):
        owner.execute(sql.down())


def test_its_own_parts_are_no_obstacle(owner, three_rows):
    owner.execute("""
        alter table public.memory_chunks add part_of uuid references public.memory_chunks, add number serial,
            add twice int generated always as (chunk_index * 2) stored, add other bigint generated always as identity;
        create function public.leave() returns trigger language plpgsql as 'begin return new; end';
        create trigger stays before update on public.memory_chunks for each row when (old.source <> 'x')
            execute function public.leave();
        create rule nothing as on delete to public.memory_chunks where old.source = 'kept' do instead nothing;
        create statistics public.together (dependencies) on doc_id, source from public.memory_chunks;
        create policy extra on public.memory_chunks as restrictive
            using (source in (select source from public.memory_chunks));
        create index on public.memory_chunks (lower(doc_id)) where source = 'notes';
        alter table public.memory_chunks add constraint no_gap exclude (number with =)
    """)

    owner.execute(sql.down())
    owner.execute(sql.up())
    owner.execute("alter table public.memory_chunks add number serial, add other bigint generated always as identity")

    assert len(kept_tables(owner)) == 1


def test_a_publication_is_a_warning(owner, dba, three_rows, notices):
    dba.execute("create publication everything for all tables; create publication one for table public.memory_chunks")

    owner.execute(sql.down())

    assert any(told.startswith("WARNING: public.memory_chunks is published by everything, one:") for told in notices)
    assert not present(owner)


def test_indexes_with_the_longest_names_get_different_new_ones(owner, three_rows):
    long = ["é" * 30 + "abc", "é" * 30 + "abd"]
    for name in long:
        owner.execute(SQL("create index {} on public.memory_chunks (source)").format(Identifier(name)))

    owner.execute(sql.down())

    [(names,)] = owner.execute("select names from memops_quarantine.journal where action = 'quarantine'").fetchall()
    assert set(long) <= set(names.values())
    assert len(set(names)) == 11
    assert all(len(name.encode()) <= 63 for name in names)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_transaction_that_may_not_see_all_commits_never_drops(owner, another, level):
    with owner.transaction():
        owner.execute(f"set transaction isolation level {level}")
        owner.execute("select 1")
        another.execute(
            "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index)"
            " values (repeat('a', 64), 'd', 's', 1)"
        )
        owner.execute(sql.down())

    [kept] = kept_tables(owner)
    assert owner.execute(f"select count(*) from memops_quarantine.{kept}").fetchone() == (1,)


@pytest.mark.parametrize("has_rows", [True, False])
def test_a_role_that_does_not_see_all_rows_decides_nothing(owner, dba, new_role, request, settings, has_rows):
    if has_rows:
        request.getfixturevalue("three_rows")
    role = new_role("short-sighted")
    dba.execute(
        SQL(
            "alter table public.memory_chunks owner to {0}; alter schema memops_quarantine owner to {0};"
            " alter table memops_quarantine.journal owner to {0}"
        ).format(Identifier(role))
    )
    before = dba.execute(CATALOGUE).fetchall()
    with (
        psycopg.connect(owner.info.dsn, user=role) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="hides rows") as refused,
    ):
        connection.execute(sql.down())

    assert "BYPASSRLS" in refused.value.diag.message_hint
    assert dba.execute(CATALOGUE).fetchall() == before


def test_only_the_owner_may(owner, three_rows):
    with (
        psycopg.connect(owner.info.dsn, user=embedded.APP_ROLE) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"memops_app does not own public\.memory_chunks"),
    ):
        connection.execute(sql.down())

    assert present(owner)


def test_a_quarantine_that_somebody_else_owns_is_not_trusted(owner, dba, three_rows):
    dba.execute("alter schema memops_quarantine owner to postgres; grant all on schema memops_quarantine to public")

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="does not own the schema memops_quarantine"):
        owner.execute(sql.down())

    assert present(owner)


@pytest.mark.parametrize(("set_by_caller", "least", "most"), [("100ms", 0.1, 0.9), ("0", 1.9, 6)])
def test_a_table_in_use_is_given_up_after_the_lock_timeout(owner, another, three_rows, set_by_caller, least, most):
    before = owner.execute(CATALOGUE).fetchall()
    owner.execute(f"set lock_timeout = '{set_by_caller}'")
    with another.transaction():
        another.execute("select count(*) from public.memory_chunks")
        began = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            owner.execute(sql.down())
        took = time.monotonic() - began

    assert least <= took < most
    assert owner.execute(CATALOGUE).fetchall() == before
    owner.execute(sql.down())
    assert not present(owner)


@pytest.mark.parametrize("has_rows", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_settings_of_the_transaction_are_as_before(owner, request, has_rows, there):
    if has_rows:
        request.getfixturevalue("three_rows")
    if not there:
        owner.execute(sql.down())
    ask = "select current_setting('search_path'), current_setting('lock_timeout'), current_setting('row_security')"
    with owner.transaction():
        before = owner.execute(ask).fetchone()
        owner.execute(sql.down())
        assert owner.execute(ask).fetchone() == before


def test_a_search_path_of_somebody_else_changes_nothing(owner, three_rows):
    owner.execute("""
        create schema evil;
        create table evil.memory_chunks ();
        create table evil.pg_depend ();
        create function evil.to_regclass(text) returns regclass language sql as 'select null::regclass';
        create function evil.set_config(text, text, boolean) returns text language sql as 'select null::text';
        create function evil.format(text, text) returns text language sql
            as $$select 'drop table public.memory_chunks'$$;
        set search_path = evil, pg_catalog
    """)

    owner.execute(sql.down())

    assert owner.execute("select 'evil.memory_chunks'::regclass is not null").fetchone() == (True,)
    assert not present(owner)
    assert len(kept_tables(owner)) == 1


def test_something_else_of_that_name_is_refused(owner):
    owner.execute(sql.down())
    owner.execute("create view public.memory_chunks as select 1")

    with pytest.raises(psycopg.errors.WrongObjectType, match="not an ordinary table"):
        owner.execute(sql.down())

    assert present(owner)


def test_a_missing_journal_is_made_again_and_is_the_same(owner, three_rows):
    shape = (
        "select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,"
        " pg_get_expr(d.adbin, d.adrelid),"
        " array(select pg_get_constraintdef(oid) from pg_constraint where conrelid = a.attrelid order by 1),"
        " obj_description('memops_quarantine'::regnamespace)"
        " from pg_attribute a left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)"
        " where attrelid = 'memops_quarantine.journal'::regclass and attnum > 0 order by attnum"
    )
    before = owner.execute(shape).fetchall()
    owner.execute("drop schema memops_quarantine cascade")

    owner.execute(sql.down())

    assert owner.execute(shape).fetchall() == before
    assert [action for action, _ in owner.execute(JOURNAL)] == ["quarantine"]


def test_two_at_once_move_it_once(owner, another, three_rows):
    with owner.transaction():
        owner.execute(sql.down())
        second = Thread(target=another.execute, args=[sql.down()])  # It waits for the first one's commit.
        second.start()
        time.sleep(0.3)
    second.join(10)

    assert not second.is_alive()
    assert [action for action, _ in owner.execute(JOURNAL)] == ["quarantine"]
