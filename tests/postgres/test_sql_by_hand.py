"""What `memops sql ...` prints, run by the real psql: it does what the migration does, and can be repeated."""

import os
import subprocess

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from memops import sql
from project import embedded

HISTORY = "select name from django_migrations where app = 'memops'"
JOURNAL = "select action from memops_quarantine.journal order by id"


@pytest.fixture
def psql(settings):
    """Runs a text in psql, as a role, in a database; by default it stops at the first error."""

    def run(text, *, database, role=embedded.OWNER_ROLE, arguments=("-v", "ON_ERROR_STOP=1", "-f", "-")):
        return subprocess.run(
            [embedded.bin_dir(embedded.MAJOR) / "psql", "-X", *arguments],
            input=text,
            env={
                "PATH": os.environ["PATH"],
                "PGHOST": str(embedded.socket_dir(settings.MEMOPS_HOME)),
                "PGDATABASE": database,
                "PGUSER": role,
                "LANG": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def pasted(psql, owner):
    """Runs a text in psql as the owner and expects it to succeed."""

    def run(text, **kwargs):
        done = psql(text, database=owner.info.dbname, **kwargs)
        assert done.returncode == 0, done.stderr
        assert "ERROR" not in done.stderr
        return done

    return run


def state(connection):
    return connection.execute(
        "select (select count(*) from memops_quarantine.journal), (select array_agg(name) from django_migrations"
        " where app = 'memops'), array_agg((oid, relnamespace, relname, relacl)::text order by oid)"
        " from pg_class where oid > 16383"
    ).fetchone()


@pytest.mark.parametrize("arguments", [("-v", "ON_ERROR_STOP=1", "-f", "-"), ("-v", "ON_ERROR_STOP=1"), ()])
def test_rollback_and_undo_by_hand_each_twice(pasted, owner, three_rows, arguments):
    before = owner.execute("select * from public.memory_chunks order by id").fetchall()

    pasted(sql.rollback_by_hand(), arguments=arguments)

    assert owner.execute("select to_regclass('public.memory_chunks')").fetchone() == (None,)
    assert owner.execute(HISTORY).fetchall() == []
    rolled_back = state(owner)
    again = pasted(sql.rollback_by_hand(), arguments=arguments)
    assert "nothing to do" in again.stderr
    assert state(owner) == rolled_back

    pasted(sql.undo_by_hand(), arguments=arguments)

    assert owner.execute("select * from public.memory_chunks order by id").fetchall() == before
    assert owner.execute(HISTORY).fetchall() == [("0001_memory_chunks",)]
    undone = state(owner)
    again = pasted(sql.undo_by_hand(), arguments=arguments)
    assert "nothing to do" in again.stderr
    assert state(owner) == undone


def test_the_files_themselves_run_without_python(psql, owner, three_rows):
    for file in ("rollback_by_hand.sql", "undo_by_hand.sql", "rollback_by_hand.sql"):
        done = psql("", database=owner.info.dbname, arguments=("-v", "ON_ERROR_STOP=1", "-f", str(sql.FOLDER / file)))
        assert done.returncode == 0, done.stderr
    files = [part for name in ("up", "hnsw") for part in ("-f", str(sql.FOLDER / f"memory_chunks_{name}.sql"))]
    done = psql("", database=owner.info.dbname, arguments=("--single-transaction", "-v", "ON_ERROR_STOP=1", *files))

    assert done.returncode == 0, done.stderr
    assert [action for (action,) in owner.execute(JOURNAL)] == ["deploy", "quarantine", "undo", "quarantine", "deploy"]


def test_an_empty_table_is_dropped_by_hand(pasted, owner):
    pasted(sql.rollback_by_hand())

    assert [action for (action,) in owner.execute(JOURNAL)] == ["deploy", "drop"]
    assert owner.execute(HISTORY).fetchall() == []


def test_the_table_to_bring_back_is_named_by_hand(pasted, owner, three_rows):
    pasted(sql.rollback_by_hand())
    [(older,)] = owner.execute(
        "select table_name from memops_quarantine.journal where action = 'quarantine'"
    ).fetchall()
    pasted(sql.up())
    owner.execute(
        "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index)"
        " values (repeat('a', 64), 'new', 's', 0)"
    )
    pasted(sql.rollback_by_hand())

    pasted(sql.undo_by_hand(older))

    assert owner.execute("select count(*) from public.memory_chunks").fetchone() == (3,)


@pytest.mark.parametrize("stop", [("-v", "ON_ERROR_STOP=1"), ()])
def test_a_refusal_changes_neither_table_nor_history(psql, owner, three_rows, stop):
    owner.execute("create view public.newest as select max(created_at) from public.memory_chunks")
    before = state(owner)

    refused = psql(sql.rollback_by_hand(), database=owner.info.dbname, arguments=stop)

    assert "Other objects depend on public.memory_chunks: view public.newest. Nothing was changed." in refused.stderr
    assert bool(stop) == bool(refused.returncode)
    assert state(owner) == before


def test_without_a_history_the_table_is_moved_nevertheless(pasted, owner, three_rows):
    owner.execute("drop table django_migrations")

    done = pasted(sql.rollback_by_hand())
    assert "no migration history to correct" in done.stderr
    done = pasted(sql.undo_by_hand())
    assert "no migration history to correct" in done.stderr

    assert owner.execute("select count(*) from public.memory_chunks").fetchone() == (3,)


def test_a_hostile_name_is_only_a_name(psql, owner, three_rows):
    before = state(owner)

    refused = psql(
        sql.undo_by_hand("x'; drop table public.memory_chunks; \n\\! false\n --"), database=owner.info.dbname
    )

    assert refused.returncode != 0
    assert "There is no quarantined table" in refused.stderr
    assert state(owner) == before


@pytest.fixture
def names_of_a_server(dba):
    """Names for roles and databases that are made on the server of the tests, and go away with the test."""
    names = {name: f"we \"ird' \\ {name} {os.getpid()}" for name in ("app", "owner", "database", "scratch")}
    yield names
    for name in ("database", "scratch"):
        if dba.execute("select 1 from pg_database where datname = %s", [names[name]]).fetchone():
            dba.execute(SQL("alter database {} is_template false").format(Identifier(names[name])))
            dba.execute(SQL("drop database {} with (force)").format(Identifier(names[name])))
    for name in ("app", "owner"):
        if dba.execute("select 1 from pg_roles where rolname = %s", [names[name]]).fetchone():
            dba.execute(SQL("drop owned by {}").format(Identifier(names[name])))
            dba.execute(
                SQL("revoke set on parameter deadlock_timeout from {0}; drop role {0}").format(Identifier(names[name]))
            )


def test_roles_twice_prepare_a_server_and_the_migration_runs_there(psql, dba, names_of_a_server, settings):
    settings.MEMOPS_APP_ROLE = names_of_a_server["app"]
    text = sql.roles()
    for line, name in (
        ("\\set owner_role 'memops_owner'", "owner"),
        ("\\set database 'memops'", "database"),
        ("\\set scratch_template 'memops_scratch'", "scratch"),
    ):
        assert line in text
        quoted = names_of_a_server[name].replace("\\", "\\\\").replace("'", "''")
        text = text.replace(line, line.partition("'")[0] + f"'{quoted}'")

    for _ in range(2):
        done = psql(text, database="postgres", role=embedded.SUPERUSER)
        assert done.returncode == 0, done.stderr

    attributes = (
        "select rolcanlogin, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole from pg_roles where rolname = %s"
    )
    assert dba.execute(attributes, [names_of_a_server["owner"]]).fetchone() == (True, False, True, True, False)
    assert dba.execute(attributes, [names_of_a_server["app"]]).fetchone() == (True, False, False, False, False)
    assert dba.execute(
        "select has_parameter_privilege(%(owner)s, 'deadlock_timeout', 'set'),"
        " pg_has_role(%(owner)s, 'pg_monitor', 'usage'), pg_has_role(%(owner)s, 'pg_signal_backend', 'member'),"
        " (select datistemplate and not datallowconn from pg_database where datname = %(scratch)s)",
        names_of_a_server,
    ).fetchone() == (True, True, False, True)
    url = psycopg.conninfo.make_conninfo(
        dba.info.dsn, user=names_of_a_server["owner"], dbname=names_of_a_server["database"]
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.up())
        connection.execute(sql.down())
        connection.execute(
            SQL("create database {0} template {1}").format(
                Identifier(names_of_a_server["database"] + " copy"), Identifier(names_of_a_server["scratch"])
            )
        )
        connection.execute(SQL("drop database {0}").format(Identifier(names_of_a_server["database"] + " copy")))
