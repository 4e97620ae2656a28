"""The undo SQL: the table comes back as it was, and nothing newer is ever overwritten."""

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from memops import sql

CATALOGUE = """
select c.oid, c.relnamespace, c.relname, c.relacl::text, c.relrowsecurity, c.relforcerowsecurity,
    obj_description(c.oid, 'pg_class'),
    (select array_agg((polname, polcmd, polroles, pg_get_expr(polqual, polrelid))::text)
        from pg_policy where polrelid = c.oid),
    (select array_agg((conname, pg_get_constraintdef(oid))::text order by conname)
        from pg_constraint where conrelid = c.oid),
    (select array_agg((attname, atttypid, attacl)::text order by attnum) from pg_attribute where attrelid = c.oid),
    (select max(id) from memops_quarantine.journal)
from pg_class c where c.oid > 16383 order by c.oid
"""


def catalogue(connection):
    """Everything but the journal's last number, which grows."""
    return [row[:-1] for row in connection.execute(CATALOGUE)]


def add_row(connection, doc_id):
    connection.execute(
        "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index)"
        " values (repeat('c', 64), %s, 's', 0)",
        [doc_id],
    )


def doc_ids(connection):
    return [name for (name,) in connection.execute("select doc_id from public.memory_chunks order by 1")]


def newest_kept(connection):
    return connection.execute(
        "select max(relname) from pg_class where relnamespace = 'memops_quarantine'::regnamespace and relkind = 'r'"
        " and relname <> 'journal'"
    ).fetchone()[0]


def undo(connection, table=None):
    with connection.transaction():
        connection.execute("select set_config('memops.undo_table', %s, true)", [table or ""])
        connection.execute(sql.undo())


@pytest.fixture
def two_kept(owner):
    """The names of two quarantined tables, the older first: one has a row "old", the other "new"."""
    names = []
    for doc_id in ("old", "new"):
        if names:
            owner.execute(sql.up())
        add_row(owner, doc_id)
        owner.execute(sql.down())
        names.append(newest_kept(owner))
    return names


def test_the_table_comes_back_as_it_was(owner, three_rows, new_role):
    reader, lender = Identifier(new_role('we "ird')), Identifier(new_role("lender"))
    owner.execute(
        SQL("""
        grant select (doc_id, source), update (source) on public.memory_chunks to {0};
        grant insert, references (id) on public.memory_chunks to {1} with grant option;
        grant select (model) on public.memory_chunks to public;
        comment on table public.memory_chunks is 'a comment';
        alter table public.memory_chunks add number serial;
        create unique index "we ird" on public.memory_chunks (number)
    """).format(reader, lender)
    )
    normal = (
        "select grantee, grantor, privilege_type, is_grantable, 0 from pg_class c, aclexplode(relacl)"
        " where c.oid = 'public.memory_chunks'::regclass"
        " union all select grantee, grantor, privilege_type, is_grantable, attnum from pg_attribute, aclexplode(attacl)"
        " where attrelid = 'public.memory_chunks'::regclass order by 1, 2, 3, 4, 5"
    )
    grants = owner.execute(normal).fetchall()
    before = [(*row[:3], *row[4:9]) for row in catalogue(owner)]
    rows = doc_ids(owner)

    owner.execute(sql.down())
    owner.execute(sql.undo())

    assert owner.execute(normal).fetchall() == grants
    # Without relacl and attacl, whose order may differ: the grants in them were compared above.
    assert [(*row[:3], *row[4:9]) for row in catalogue(owner)] == before
    assert doc_ids(owner) == rows


def test_a_grant_that_a_third_role_had_given_comes_from_the_owner(owner, three_rows, new_role):
    lender, borrower = new_role("lender"), new_role("borrower")
    owner.execute(SQL("grant select on public.memory_chunks to {} with grant option").format(Identifier(lender)))
    with psycopg.connect(owner.info.dsn, user=lender) as connection:
        connection.execute(SQL("grant select on public.memory_chunks to {}").format(Identifier(borrower)))

    owner.execute(sql.down())
    owner.execute(sql.undo())

    assert owner.execute(
        "select grantee::regrole::text, grantor::regrole::text, is_grantable from pg_class c, aclexplode(relacl)"
        " where c.oid = 'public.memory_chunks'::regclass and grantee::regrole::text = any(%s) order by 1",
        [[f'"{borrower}"', f'"{lender}"']],
    ).fetchall() == [(f'"{borrower}"', "memops_owner", False), (f'"{lender}"', "memops_owner", True)]


def test_the_journal_says_which_table_came_back(owner, three_rows):
    owner.execute(sql.down())
    kept = newest_kept(owner)
    with owner.transaction():
        owner.execute("set local memops.run_id = 'run 9'")
        owner.execute(sql.undo())

    assert owner.execute(
        "select action, table_name, table_oid::regclass::text, run_id from memops_quarantine.journal"
        " order by id desc limit 1"
    ).fetchall() == [("undo", kept, "memory_chunks", "run 9")]


def test_it_can_be_rolled_back_and_undone_again_and_again(owner, three_rows):
    before = catalogue(owner)
    for _ in range(3):
        owner.execute(sql.down())
        owner.execute(sql.undo())

    assert len(doc_ids(owner)) == 3
    assert [row[2] for row in catalogue(owner)] == [row[2] for row in before]


def test_an_empty_new_table_gives_way(owner, three_rows):
    oid = owner.execute("select 'public.memory_chunks'::regclass::oid").fetchone()
    owner.execute(sql.down())
    owner.execute(sql.up())

    owner.execute(sql.undo())

    assert owner.execute("select 'public.memory_chunks'::regclass::oid").fetchone() == oid
    assert len(doc_ids(owner)) == 3


def test_newer_rows_are_never_overwritten(owner, three_rows):
    owner.execute(sql.down())
    owner.execute(sql.up())
    add_row(owner, "newer")
    before = owner.execute(CATALOGUE).fetchall()

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="written after the rollback") as refused:
        owner.execute(sql.undo())

    assert "Roll back once more" in refused.value.diag.message_hint
    assert owner.execute(CATALOGUE).fetchall() == before
    assert doc_ids(owner) == ["newer"]


def test_the_hint_for_newer_rows_works(owner, three_rows):
    owner.execute(sql.down())
    older = newest_kept(owner)
    owner.execute(sql.up())
    add_row(owner, "newer")

    owner.execute(sql.down())
    undo(owner, older)

    assert doc_ids(owner) == ["doc 1", "doc 2", "doc 3"]
    assert owner.execute(f"select doc_id from memops_quarantine.{newest_kept(owner)}").fetchall() == [("newer",)]


def test_the_newest_comes_back_unless_another_is_named(owner, two_kept):
    owner.execute(sql.undo())
    assert doc_ids(owner) == ["new"]

    owner.execute(sql.down())
    undo(owner, two_kept[0])
    assert doc_ids(owner) == ["old"]


@pytest.mark.parametrize(
    "name", ["memory_chunks_20200101_000000_000000", "journal", "we \"ird'", "public.memory_chunks"]
)
def test_a_name_that_is_not_there_is_refused(owner, two_kept, name):
    before = owner.execute(CATALOGUE).fetchall()

    with pytest.raises(psycopg.errors.UndefinedTable, match="There is no quarantined table memops_quarantine"):
        undo(owner, name)

    assert owner.execute(CATALOGUE).fetchall() == before


@pytest.mark.parametrize("with_schema", [True, False])
def test_nothing_in_quarantine_is_said(owner, with_schema):
    if not with_schema:
        owner.execute("drop schema memops_quarantine cascade")

    with pytest.raises(psycopg.errors.UndefinedTable, match="There is no quarantined table"):
        owner.execute(sql.undo())


def test_a_second_time_nothing_happens(owner, two_kept, notices):
    owner.execute(sql.undo())
    before = owner.execute(CATALOGUE).fetchall()
    notices.clear()

    owner.execute(sql.undo())
    undo(owner, two_kept[1])
    owner.execute("delete from public.memory_chunks")
    owner.execute(sql.undo())

    assert owner.execute(CATALOGUE).fetchall() == before
    assert len(notices) == 3
    assert all("is public.memory_chunks again already" in told for told in notices)


def test_a_vanished_role_is_named_and_the_others_get_their_grants(owner, dba, three_rows, new_role, notices):
    gone, there = new_role("go ne"), new_role("there")
    for role in (gone, there):
        owner.execute(SQL("grant select on public.memory_chunks to {}").format(Identifier(role)))
    owner.execute(sql.down())
    dba.execute(SQL("drop role {}").format(Identifier(gone)))

    owner.execute(sql.undo())

    assert f'NOTICE: Roles that are gone did not get their grants back: "{gone}".' in notices
    assert owner.execute(
        "select has_table_privilege(%s, 'public.memory_chunks', 'select'),"
        " has_table_privilege('memops_app', 'public.memory_chunks', 'delete')",
        [there],
    ).fetchone() == (True, True)


def test_without_its_journal_entry_it_comes_back_without_grants(owner, three_rows, notices):
    before = owner.execute("select indexrelid::regclass::text from pg_index order by indexrelid").fetchall()
    owner.execute(sql.down())
    owner.execute("delete from memops_quarantine.journal")

    owner.execute(sql.undo())

    assert owner.execute("select indexrelid::regclass::text from pg_index order by indexrelid").fetchall() == before
    assert owner.execute("select has_table_privilege('memops_app', 'public.memory_chunks', 'select')").fetchone() == (
        False,
    )
    assert any("grants have to be given again by hand" in told for told in notices)


def test_an_entry_of_another_table_with_the_same_name_is_not_believed(owner, three_rows, notices):
    owner.execute(sql.down())
    owner.execute("update memops_quarantine.journal set table_oid = 1 where action = 'quarantine'")

    owner.execute(sql.undo())

    assert any("grants have to be given again by hand" in told for told in notices)


def test_without_any_journal_it_comes_back_with_a_warning(owner, three_rows, notices):
    owner.execute(sql.down())
    owner.execute("drop table memops_quarantine.journal")

    owner.execute(sql.undo())

    assert len(doc_ids(owner)) == 3
    assert any("this undo is not recorded" in told for told in notices)


@pytest.mark.parametrize(
    "loss",
    [
        "alter table {} disable row level security",
        "alter table {} no force row level security",
        "drop policy memory_tenant_isolation on {}",
    ],
)
def test_a_table_that_would_not_keep_tenants_apart_stays_in_quarantine(owner, three_rows, loss):
    owner.execute(sql.down())
    owner.execute(loss.format(f"memops_quarantine.{newest_kept(owner)}"))
    before = owner.execute(CATALOGUE).fetchall()

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="would not keep tenants apart"):
        owner.execute(sql.undo())

    assert owner.execute(CATALOGUE).fetchall() == before


def test_names_of_indexes_that_are_taken_are_named(owner, three_rows):
    owner.execute(sql.down())
    owner.execute("create table public.other (id int); create index idx_memory_chunks_doc_id on public.other (id)")

    with pytest.raises(psycopg.errors.DuplicateTable, match=r"in use in schema public: idx_memory_chunks_doc_id\."):
        owner.execute(sql.undo())


def test_dependents_of_the_empty_table_are_named(owner, three_rows):
    owner.execute(sql.down())
    owner.execute(sql.up())
    owner.execute("create view public.newest as select max(created_at) from public.memory_chunks")
    before = owner.execute(CATALOGUE).fetchall()

    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match=r"view public\.newest depends on"):
        owner.execute(sql.undo())

    assert owner.execute(CATALOGUE).fetchall() == before


def test_a_view_in_its_place_is_refused(owner, three_rows):
    owner.execute(sql.down())
    owner.execute("create view public.memory_chunks as select 1")

    with pytest.raises(psycopg.errors.WrongObjectType, match="not an ordinary table"):
        owner.execute(sql.undo())


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_transaction_that_may_not_see_all_commits_drops_no_empty_table(owner, three_rows, level):
    owner.execute(sql.down())
    owner.execute(sql.up())

    with (
        pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=level.upper()),
        owner.transaction(),
    ):
        owner.execute(f"set transaction isolation level {level}")
        owner.execute(sql.undo())


def test_a_role_that_does_not_see_all_rows_drops_no_empty_table(owner, dba, three_rows, new_role):
    owner.execute(sql.down())
    owner.execute(sql.up())
    role = Identifier(new_role("short-sighted"))
    dba.execute(
        SQL(
            "alter table public.memory_chunks owner to {0}; alter schema memops_quarantine owner to {0};"
            " alter table memops_quarantine.journal owner to {0}; alter table memops_quarantine.{1} owner to {0}"
        ).format(role, Identifier(newest_kept(owner)))
    )
    before = dba.execute(CATALOGUE).fetchall()
    dba.execute(SQL("set role {}").format(role))

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="hides rows"):
        dba.execute(sql.undo())

    dba.execute("reset role")
    assert dba.execute(CATALOGUE).fetchall() == before


def test_a_table_in_use_is_given_up_after_the_lock_timeout(owner, dba, three_rows):
    owner.execute(sql.down())
    owner.execute(sql.up())
    before = owner.execute(CATALOGUE).fetchall()
    owner.execute("set lock_timeout = '100ms'")
    with dba.transaction():
        dba.execute("select from public.memory_chunks")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            owner.execute(sql.undo())

    assert owner.execute(CATALOGUE).fetchall() == before
    owner.execute(sql.undo())
    assert len(doc_ids(owner)) == 3


def test_settings_of_the_transaction_are_as_before(owner, three_rows):
    ask = "select current_setting('search_path'), current_setting('lock_timeout'), current_setting('row_security')"
    owner.execute(sql.down())
    with owner.transaction():
        before = owner.execute(ask).fetchone()
        for _ in range(2):
            owner.execute(sql.undo())
            assert owner.execute(ask).fetchone() == before
