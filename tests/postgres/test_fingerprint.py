"""The fingerprint of a table: equal for equal rows, whatever their order and place, and another for any difference."""

import hashlib
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from psycopg.sql import SQL, Identifier

from memops.console.pg import catalogue, fingerprint, session
from memops.console.pg.fingerprint import HASHES, Fingerprint
from memops.console.pg.sql import query
from project import embedded
from tests.databases import fresh_database
from tests.limits import limit_server

ODD = """
    insert into {} (id, user_hash, doc_id, source, chunk_index, text_plain, text_cipher, embedding, tags, expires_at)
    values ('00000000-0000-0000-0000-000000000001', repeat('0', 64), '', '', 0, repeat('é', 500000), '', null, '{{}}',
        'infinity'),
    ('00000000-0000-0000-0000-000000000002', repeat('1', 64), '', '', -1, '', null, array_fill(0, array[1536])::vector,
        null, '-infinity'),
    ('00000000-0000-0000-0000-000000000003', repeat('1', 64), E'\\n', 'null', 2147483647, null, '\\x00ff',
        array_fill(-0.5, array[1536])::vector, '{{null,"",NULL,"null"}}', '0001-01-01 BC'),
    ('00000000-0000-0000-0000-000000000004', repeat('1', 64), 'a', 'b', 1, null, null, null, '{{{{a}},{{b}}}}', null)
"""
# What a column can be, and two values that look alike.
KINDS = {
    "int": ("1", "2"),
    "text": ("''", "' '"),
    "float8": ("'0'", "'-0'"),
    "real": ("0.1", "0.10000001"),
    "numeric": ("1.0", "1.00"),
    "boolean": ("true", "false"),
    "bytea": ("'\\x00'", "'\\x0000'"),
    "timestamptz": ("'infinity'", "'-infinity'"),
    "timetz": ("'12:00+00'", "'13:00+01'"),
    "interval": ("'1 day'", "'24:00'"),
    "json": ("'{}'", "'{ }'"),
    "jsonb": ("'[1]'", "'[2]'"),
    "text[]": ("'{}'", "'{null}'"),
    "int[]": ("'{1}'", "'[2:2]={1}'"),
    "public.vector(3)": ("'[0,0,0]'", "'[0,0,0.0000001]'"),
    "public.vector(3)[]": ("array['[1,2,3]'::public.vector]", "array['[1,2,4]'::public.vector]"),
    "public.halfvec(3)": ("'[0,0,0]'", "'[0,0,1]'"),
    "int4range": ("'[1,2)'", "'[1,3)'"),
    "int4multirange": ("'{[1,2)}'", "'{}'"),
    "inet": ("'10.0.0.1/32'", "'10.0.0.1/31'"),
    "bit varying": ("'1'", "'10'"),
    "\"char\"": ("'a'", "'b'"),
    "regclass": ("'pg_class'", "'pg_type'"),
    "regclass[]": ("'{public.own}'", "'{pg_type}'"),
    "aclitem": ("'memops_owner=r/memops_owner'", "'memops_owner=w/memops_owner'"),
    "public.mood": ("'glad'", "'sad'"),
    "public.mood[]": ("'{glad}'", "'{sad}'"),
    "public.pair": ("'(1,[1])'", "'(1,[2])'"),
    "public.pairs": ("'(1,[1])'", "'(1,[2])'"),
    "public.moods": ("'{glad}'", "'{sad}'"),
    "public.span": ("'[glad,sad)'", "'[glad,sad]'"),
}  # fmt: skip
TYPES = (
    "create type public.mood as enum ('glad', 'sad'); create type public.pair as (a int, b public.vector);"
    " create domain public.pairs as public.pair; create domain public.moods as public.mood[];"
    " create type public.span as range (subtype = public.mood); create table public.own (a int)"
)


@pytest.fixture(scope="module")
def shared_database(template_database: str) -> Iterator[str]:
    with fresh_database(template_database) as name:
        yield name


@pytest.fixture(scope="module")
def other_database(template_database: str, settings_home) -> Iterator[str]:
    """A database in which every type of one's own has another oid."""
    with fresh_database(embedded.SCRATCH_TEMPLATE) as name:
        with psycopg.connect(embedded.url(settings_home, database=name), autocommit=True) as connection:
            connection.execute("create type public.first as (a int); create table public.before (a int)")
        yield name


@pytest.fixture(scope="module")
def settings_home(embedded_server):
    return embedded_server


def opened(home, database: str):
    params = psycopg.conninfo.conninfo_to_dict(embedded.url(home, database=database))
    return session.connect_to(params, name=database)


@pytest.fixture
def connection(shared_database: str, settings_home) -> Iterator[psycopg.Connection]:
    """A session of memops in a transaction that is rolled back at the end."""
    with opened(settings_home, shared_database) as connection, connection.transaction(force_rollback=True):
        connection.execute("set local search_path to public, pg_catalog")
        yield connection


@pytest.fixture
def elsewhere(other_database: str, settings_home) -> Iterator[psycopg.Connection]:
    """The same in another database."""
    with opened(settings_home, other_database) as connection, connection.transaction(force_rollback=True):
        connection.execute("set local search_path to public, pg_catalog")
        yield connection


def of(connection: psycopg.Connection, table: str = "memory_chunks", algorithm: str = "fp1-md5") -> Fingerprint:
    return fingerprint.of(connection, schema="public", name=table, algorithm=algorithm)


def made(connection: psycopg.Connection, columns: str, *rows: str, table: str = "made") -> Fingerprint:
    """The fingerprint of a new table with these rows; the table is gone again."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"create table public.{table} ({columns})")
        for row in rows:
            connection.execute(f"insert into public.{table} values ({row})")
        return of(connection, table)


def test_a_server_whose_shared_memory_is_full_counts_and_computes_in_one_process(filled):
    """Worker processes share files in /dev/shm; this session can make none."""
    with session.connect(filled) as connection:
        expected = of(connection)
        limit_server(connection.info.backend_pid, 8192)
        connection.execute(query("fingerprint", "configure"))
        with pytest.raises(psycopg.errors.OutOfMemory, match="shared memory"):
            connection.execute("select count(*) from public.memory_chunks")

        assert catalogue.exact_rows(connection, "public", "memory_chunks") == 700
        assert of(connection) == expected


class TestEqual:
    @pytest.mark.parametrize("algorithm", HASHES)
    def test_odd_rows_have_one_whatever_their_order_schema_and_name(self, connection, algorithm):
        connection.execute(SQL(ODD).format(Identifier("memory_chunks")))
        connection.execute(
            'create schema s; create table s."an other" (like public.memory_chunks);'
            ' insert into s."an other" table public.memory_chunks order by id desc'
        )

        one = of(connection, algorithm=algorithm)

        assert one.rows == 4
        assert one == fingerprint.of(connection, schema="s", name="an other", algorithm=algorithm)

    def test_rows_that_were_rewritten_and_vacated_have_the_same(self, connection):
        connection.execute(SQL(ODD).format(Identifier("memory_chunks")))
        before = of(connection)

        connection.execute("update public.memory_chunks set source = source || 'x'")
        connection.execute("update public.memory_chunks set source = rtrim(source, 'x')")

        assert of(connection) == before

    def test_a_dropped_column_leaves_no_trace(self, connection):
        before = made(connection, "a int, c int", "1, 3")
        connection.execute(
            "create table made (a int, b int, c int); alter table made drop b; insert into made values (1, 3)"
        )

        assert of(connection, "made") == before

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_of_value_has_the_same_in_a_database_with_other_oids(self, connection, elsewhere, kind):
        for one in (connection, elsewhere):
            one.execute(TYPES)
        values = [*KINDS[kind], "null"]

        assert made(connection, f"v {kind}", *values) == made(elsewhere, f"v {kind}", *values)

    def test_a_database_in_another_encoding_has_the_same(self, connection, settings_home, shared_database):
        name = f"{shared_database}_latin1"
        expected = made(connection, "v text", "'é'", "'plain'")
        with psycopg.connect(embedded.superuser_url(settings_home), autocommit=True) as server:
            server.execute(
                SQL("create database {} template template0 encoding 'LATIN1' locale 'C' locale_provider libc owner {}")
                .format(Identifier(name), Identifier(embedded.OWNER_ROLE))
            )  # fmt: skip
            try:
                with opened(settings_home, name) as other:
                    assert other.execute("show server_encoding").fetchone() == ("LATIN1",)
                    assert made(other, "v text", "'é'", "'plain'") == expected
            finally:
                server.execute(SQL("drop database {} with (force)").format(Identifier(name)))

    def test_names_that_are_sql_are_only_names(self, connection):
        hostile = Identifier('"; drop table x; --{}%s é')
        connection.execute(SQL("create table public.{0} ({0} int); insert into public.{0} values (1)").format(hostile))

        assert of(connection, '"; drop table x; --{}%s é').rows == 1


class TestDifferent:
    @pytest.mark.parametrize("kind", KINDS)
    def test_values_that_look_alike_are_told_apart(self, connection, kind):
        connection.execute(TYPES)
        one, other = KINDS[kind]

        assert len({made(connection, f"v {kind}", value).digest for value in (one, other, "null")}) == 3

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (["'a', 'b'"], ["'b', 'a'"]),
            (["'a', 'b'", "'c', 'd'"], ["'a', 'd'", "'c', 'b'"]),
            (["'ab', ''"], ["'a', 'b'"]),
            (["null, ''"], ["'', null"]),
            (["'null', null"], ["null, 'null'"]),
            (["'a', 'a'"], ["'a', 'a'", "'a', 'a'"]),
            (["'a', 'a'", "'a', 'a'"], ["'b', 'b'", "'b', 'b'"]),
            (["'a', 'a'", "'b', 'b'", "'b', 'b'"], ["'a', 'a'", "'a', 'a'", "'b', 'b'"]),
            ([], ["null, null"]),
        ],
        ids=["swapped columns", "swapped between rows", "shifted", "null moved", "the word null", "a duplicate row",
             "a pair for a pair", "another duplicate", "no row and a row of nothing"],
    )  # fmt: skip
    def test_what_moves_between_values_and_rows_is_told(self, connection, one, other):
        assert made(connection, "a text, b text", *one) != made(connection, "a text, b text", *other)

    def test_the_names_types_and_order_of_columns_count(self, connection):
        shapes = ("a text, b text", "a text, c text", "a text, b varchar", "a text, b varchar(9)", "b text, a text")

        assert len({made(connection, shape, "'x', 'x'").digest for shape in shapes}) == 5

    @pytest.mark.parametrize("algorithm", HASHES)
    def test_one_changed_bit_is_told(self, connection, algorithm):
        connection.execute(SQL(ODD).format(Identifier("memory_chunks")))
        before = of(connection, algorithm=algorithm)

        connection.execute(
            "update public.memory_chunks set text_cipher = set_bit(text_cipher, 3, 1)"
            " where octet_length(text_cipher) = 2"
        )

        after = of(connection, algorithm=algorithm)
        assert after.rows == before.rows
        assert after.digest != before.digest

    def test_algorithms_are_not_taken_for_each_other(self, connection):
        assert of(connection, algorithm="fp1-md5") != of(connection, algorithm="fp1-sha256")


class TestByChance:
    rows = st.lists(
        st.tuples(
            st.none() | st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=8),
            st.none() | st.binary(max_size=4),
            st.none() | st.integers(-2, 2),
        ),
        max_size=5,
    )

    @limits(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(one=rows, other=rows)
    def test_tables_have_the_same_if_and_only_if_they_have_the_same_rows(self, connection, one, other):
        prints = []
        for rows in (one, other, one[::-1]):
            with connection.transaction(force_rollback=True):
                connection.execute("create table public.made (a text, b bytea, c int)")
                connection.cursor().executemany("insert into public.made values (%s, %s, %s)", rows)
                prints.append(of(connection, "made"))

        assert prints[0] == prints[2]
        assert (prints[0] == prints[1]) == (sorted(map(repr, one)) == sorted(map(repr, other)))


class TestReading:
    def test_no_rows_have_one_too(self, connection):
        assert of(connection).rows == 0
        assert Fingerprint.parse(str(of(connection))) == of(connection)

    def test_a_table_without_columns_counts_its_rows(self, connection):
        connection.execute("create table made (); insert into made default values; insert into made default values")

        assert of(connection, "made").rows == 2

    def test_the_fastest_algorithm_of_the_server_is_taken(self, connection):
        assert fingerprint.algorithm_of(connection) == "fp1-md5"

    def test_rows_that_row_security_hides_are_an_error(self, app_role):
        with session.connect(app_role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            of(connection)

    def test_a_table_that_is_not_there_is_an_error(self, connection):
        with pytest.raises(psycopg.errors.UndefinedTable):
            of(connection, "nothing")

    @pytest.mark.parametrize(
        "text",
        ["", "fp1-md5", "fp1-md5:1:" + "g" * 64, "fp1-md5:-1:" + "0" * 64, "fp2:1:" + "0" * 64, "fp1-md5:1:0",
         "fp1-md5:1:" + "0" * 64 + ":", "fp1-md5:²:" + "0" * 64, "fp1-md5:1:" + "_0" * 32, "fp1-md5:1:+" + "0" * 63],
    )  # fmt: skip
    def test_what_is_no_fingerprint_is_not_read_as_one(self, text):
        with pytest.raises(ValueError, match=r".*"):
            Fingerprint.parse(text)

    @given(rows=st.integers(0, 10**12), digest=st.binary().map(lambda data: hashlib.sha256(data).hexdigest()))
    def test_every_fingerprint_reads_back(self, rows, digest):
        found = Fingerprint(algorithm="fp1-sha256", rows=rows, digest=digest)

        assert Fingerprint.parse(str(found)) == found
