"""A backup beside the table: loaded, built and compared there, and put in place over nothing that stood there."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from django.db import connections

from memops import sql
from memops.console.errors import ArchiveDamaged, ChangeFailed, LoadFailed, LockBudgetSpent, StagedDiffers
from memops.console.pg import catalogue, change, fingerprint, migrations, session, staging, standing, trial
from memops.console.pg.change import Budget, Change, Tell
from memops.console.pg.dump import Dumped
from memops.console.pg.staging import Place
from memops.console.pg.standing import Choice
from memops.console.pg.structure import Structure
from memops.console.pg.swap import Swap
from memops.sql import index_ivfflat
from project import embedded

KEY = "0123456789abcdef" * 2
BUDGET = Budget(lock_timeout=timedelta(milliseconds=200), total=timedelta(seconds=2))
JOURNAL = "select action, table_name, run_id from memops_quarantine.journal order by id desc limit 1"
ROW = "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index) values (repeat('a', 64), %s, 's', 0)"


def ignore(done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


def execute(alias: str, statement: object, *parameters: object) -> list[tuple[object, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def load(alias: str, dumped: Dumped, **changes: object) -> staging.Loaded:
    described = replace(dumped.manifest, **changes) if changes else dumped.manifest
    place = staging.place_of(alias, KEY)
    return staging.load(place, path=dumped.path, manifest=described, grants=[], progress=ignore)


def stage(alias: str, dumped: Dumped, *, choice: Choice | None = None) -> Place:
    """Everything that is done before the swap."""
    place = staging.place_of(alias, KEY)
    loaded = load(alias, dumped)
    with session.connect(alias) as connection:
        if choice is not None and choice.takes_rows:
            standing.begin(connection, place.schema, choice=choice)
        staging.build(place, loaded.afterwards, path=dumped.path, workers=0, tell=lambda building: None)
        staging.compare(connection, place.schema, archive="a", expected=expected_of(dumped))
    return place


def expected_of(dumped: Dumped) -> dict:
    return staging.expected_of(dumped.manifest, [])


def swap(alias: str, dumped: Dumped, place: Place, *, choice: Choice | None = None, **changes) -> tuple[Change, Swap]:
    work = Swap(
        **{
            "schema": place.schema,
            "choice": choice,
            "archive": "a",
            "expected": expected_of(dumped),
            "record": list(migrations.known()),
            **changes,
        }
    )
    with session.connect(alias) as connection:
        there = catalogue.relation(connection, "public", "memory_chunks")
    tell = Tell(line=lambda text: None, xid=lambda xid: None)
    changed = change.commit_within_budget(
        alias, work, key=KEY, relation_oid=there.oid if there else None, budget=BUDGET, tell=tell
    )
    staging.drop(place)
    return changed, work


def print_of(alias: str, relation: str = "public.memory_chunks") -> str:
    schema, _, name = relation.partition(".")
    with session.connect(alias) as connection:
        return str(fingerprint.of(connection, schema=schema, name=name, algorithm="fp1-md5"))


def schemas(alias: str) -> list[str]:
    with session.connect(alias) as connection:
        return staging.left_behind(connection)


def take_away(alias: str) -> None:
    execute(alias, sql.down())
    execute(alias, sql.forget_history())


class TestComesBack:
    @pytest.mark.parametrize("rows", [0, 1])
    def test_with_hardly_any_row(self, target, backup, rows):
        if rows:
            execute(target, ROW, "one")
        dumped = backup(target)
        take_away(target)

        swap(target, dumped, stage(target, dumped))

        assert print_of(target) == str(dumped.fingerprint)
        with session.connect(target) as connection:
            found = catalogue.relation(connection, "public", "memory_chunks")
            assert catalogue.migrations(connection, "memops") == ["0001_memory_chunks"]
        assert found.catalogue() == dumped.manifest.catalogue
        assert schemas(target) == []

    def test_with_700_rows_the_same_to_the_bit_and_to_the_last_right(self, filled, backup):
        dumped = backup(filled)
        take_away(filled)

        changed, _ = swap(filled, dumped, stage(filled, dumped))

        assert changed.entry.action == "restore"
        assert execute(filled, JOURNAL) == [("restore", "memory_chunks", KEY)]
        assert print_of(filled) == str(dumped.fingerprint)
        with session.connect(filled) as connection:
            assert catalogue.relation(connection, "public", "memory_chunks").catalogue() == dumped.manifest.catalogue

    def test_with_10_000_rows_and_every_index_whatever_the_servers_settings(self, small_dimension, backup):
        """With the stock maintenance_work_mem of 64 MB pg_restore loses the IVFFlat index at this size."""
        dumped = backup(small_dimension)
        take_away(small_dimension)

        swap(small_dimension, dumped, stage(small_dimension, dumped))

        with session.connect(small_dimension) as connection:
            found = catalogue.relation(connection, "public", "memory_chunks")
        names = {index.name for index in found.indexes if index.valid}
        assert {"idx_memory_chunks_embedding_hnsw", "idx_memory_chunks_embedding_ivfflat"} <= names
        assert print_of(small_dimension) == str(dumped.fingerprint)
        assert found.estimated_rows == 10_000, "the planner knows it"

    def test_with_odd_values(self, target, owner, backup):
        owner.execute(
            "insert into public.memory_chunks (user_hash, doc_id, source, text_plain, text_cipher, embedding,"
            " chunk_index, created_at, updated_at, expires_at, tags) values"
            " (repeat('a', 64), E'\\\\.', E'tab\\tline\\nreturn\\rslash\\\\', repeat('x', 1000000), '\\x', null, 0,"
            "  'infinity', '-infinity', '0044-03-15 BC', '{}'),"
            " (repeat('b', 64), '', '', '', '\\x00ff', array_fill(0::real, array[1536])::vector, -2147483648,"
            "  now(), now(), null, array[null, '', 'NULL', '{\"', E'\\\\N']),"
            " (repeat('c', 64), E'\\\\N', 'memops_restore_x', null, null, null, 2147483647, now(), now(), null, null)"
        )
        dumped = backup(target)
        take_away(target)

        swap(target, dumped, stage(target, dumped))

        assert print_of(target) == str(dumped.fingerprint)

    def test_from_a_backup_of_the_quarantined_table_under_its_own_names_and_with_its_rights(self, filled, backup):
        before = backup(filled, stem="before")
        take_away(filled)
        [(name,)] = execute(
            filled, "select relname from pg_class where relnamespace = 'memops_quarantine'::regnamespace"
            " and relname like 'memory%' and relkind = 'r'",
        )  # fmt: skip
        dumped = backup(filled, schema="memops_quarantine", name=name)
        grants = [grant for grant in before.manifest.catalogue["grants"] if grant[0] == "memops_app"]
        place = staging.place_of(filled, KEY)

        loaded = staging.load(place, path=dumped.path, manifest=dumped.manifest, grants=grants, progress=ignore)
        staging.build(place, loaded.afterwards, path=dumped.path, workers=0, tell=lambda building: None)
        swap(filled, dumped, place, expected=staging.expected_of(dumped.manifest, grants))

        assert print_of(filled) == str(before.fingerprint)
        with session.connect(filled) as connection:
            assert catalogue.relation(connection, "public", "memory_chunks").catalogue() == before.manifest.catalogue

    def test_with_what_users_have_added(self, filled, owner_of_filled, backup):
        for statement in (
            "alter table public.memory_chunks add column parent uuid references public.memory_chunks (id)",
            "alter table public.memory_chunks add column label text collate \"C\" default 'public.memory_chunks'",
            "alter table public.memory_chunks add constraint label_is_short check (length(label) < 1000)",
            'create index "by Label" on public.memory_chunks (label desc nulls last) where label is not null',
            "create policy only_known_parents on public.memory_chunks as restrictive using (parent is null or exists"
            " (select from public.memory_chunks other where other.id = memory_chunks.parent))",
            "create function public.touch() returns trigger language plpgsql as 'begin return new; end'",
            "create trigger touched before update on public.memory_chunks for each row execute function public.touch()",
            "comment on table public.memory_chunks is 'what users said'",
            'comment on index public."by Label" is $$by label$$',
            "grant select (doc_id) on public.memory_chunks to memops_app with grant option",
        ):
            owner_of_filled.execute(statement)
        dumped = backup(filled)
        take_away(filled)

        swap(filled, dumped, stage(filled, dumped))

        [(default,)] = execute(
            filled,
            "select column_default from information_schema.columns where column_name = 'label'"
            " and table_schema = 'public' and table_name = 'memory_chunks'",
        )
        assert default == "'public.memory_chunks'::text"
        assert execute(filled, "select obj_description('public.\"by Label\"'::regclass)") == [("by label",)]


class TestWhatStandsThere:
    def test_an_empty_table_is_dropped(self, target, owner, backup):
        execute(target, ROW, "one")
        dumped = backup(target)
        owner.execute("delete from public.memory_chunks")

        changed, _ = swap(target, dumped, stage(target, dumped))

        assert [entry.action for entry in changed.before] == ["drop"]
        assert print_of(target) == str(dumped.fingerprint)

    def test_rows_that_nobody_has_decided_about_refuse_the_swap(self, filled, backup):
        dumped = backup(filled)
        before = print_of(filled)

        with pytest.raises(ChangeFailed, match="has rows that were not there when the restore was planned"):
            swap(filled, dumped, stage(filled, dumped))

        assert print_of(filled) == before

    def test_replaced_rows_are_in_quarantine_to_the_last_write(self, filled, backup):
        dumped = backup(filled)
        place = stage(filled, dumped, choice=Choice.REPLACE)
        execute(filled, ROW, "written at the last moment")
        standing_print = print_of(filled)

        changed, _ = swap(filled, dumped, place, choice=Choice.REPLACE)

        [kept] = changed.before
        assert print_of(filled, f"memops_quarantine.{kept.table_name}") == standing_print
        assert print_of(filled) == str(dumped.fingerprint)

    @pytest.mark.parametrize("choice", [Choice.MERGE, Choice.KEEP_NEWER])
    def test_rows_are_brought_in_as_they_are_at_the_swap(self, filled, backup, choice):
        ids = [str(id) for (id,) in execute(filled, "select id from public.memory_chunks order by id limit 6")]
        older, newer, gone, gone_late, back, late = ids
        dumped = backup(filled)
        change_row = "update public.memory_chunks set doc_id = %s, updated_at = updated_at + %s::interval where id = %s"
        execute(filled, change_row, "older", "-1 day", older)
        execute(filled, change_row, "newer", "1 day", newer)
        execute(filled, change_row, "to be deleted", "1 day", back)
        execute(filled, "delete from public.memory_chunks where id = %s", gone)
        execute(filled, ROW, "before the load")

        place = stage(filled, dumped, choice=choice)
        execute(filled, change_row, "newer in between", "1 day", newer)
        with session.connect(filled) as connection:
            assert standing.again(connection, place.schema, choice=choice) == 1
        execute(filled, change_row, "changed late", "2 days", late)
        execute(filled, change_row, "newer still", "2 days", newer)
        execute(filled, "delete from public.memory_chunks where id = any (%s::uuid[])", [gone_late, back])
        execute(filled, ROW, "after the load")
        _, work = swap(filled, dumped, place, choice=choice)

        found = dict(execute(filled, "select id::text, doc_id from public.memory_chunks"))
        assert found[newer] == "newer still"
        assert found[late] == "changed late"
        assert (found[older] == "older") == (choice == Choice.KEEP_NEWER)
        assert {"before the load", "after the load"} <= set(found.values())
        assert {gone, gone_late, back} <= found.keys(), "the backup has them, and no row of the same id stands there"
        assert found[back] != "to be deleted"
        assert len(found) == 702
        assert (work.stirred, work.merged.added, work.merged.conflicts) == (5, 2, 3)
        assert dict(work.merged.listed)[older] == ("standing row" if choice == Choice.KEEP_NEWER else "backup")

    def test_a_reader_who_stays_is_named_and_nothing_is_swapped(self, filled, backup, owner_of_filled):
        dumped = backup(filled)
        place = stage(filled, dumped, choice=Choice.REPLACE)
        before = print_of(filled)
        with (
            owner_of_filled.transaction(),
            pytest.raises(LockBudgetSpent, match="idle in transaction"),
        ):
            owner_of_filled.execute("select from public.memory_chunks limit 1")
            swap(filled, dumped, place, choice=Choice.REPLACE)

        assert print_of(filled) == before

    def test_a_view_on_the_standing_table_refuses_the_swap_by_name(self, filled, backup, owner_of_filled):
        dumped = backup(filled)
        place = stage(filled, dumped, choice=Choice.REPLACE)
        owner_of_filled.execute("create view public.newest as select id from public.memory_chunks")

        with pytest.raises(ChangeFailed, match="newest"):
            swap(filled, dumped, place, choice=Choice.REPLACE)

        assert execute(filled, "select count(*) from public.memory_chunks") == [(700,)]


class TestRefused:
    def test_a_bit_that_was_flipped_before_anything_is_made(self, filled, backup):
        dumped = backup(filled)
        content = bytearray(dumped.path.read_bytes())
        content[len(content) // 2] ^= 1
        dumped.path.write_bytes(content)

        with pytest.raises(ArchiveDamaged, match="SHA-256"):
            load(filled, dumped)

        assert schemas(filled) == []

    def test_rows_that_are_not_those_of_the_snapshot(self, filled, backup):
        dumped = backup(filled)
        forged = f"fp1-md5:700:{'0' * 64}"

        with pytest.raises(StagedDiffers, match="it has 700 rows with fingerprint"):
            load(filled, dumped, fingerprint=forged)

    @pytest.mark.parametrize(
        ("lose", "told"),
        [
            ("alter table {} disable row level security", "row security is"),
            ("drop policy memory_tenant_isolation on {}", "policy memory_tenant_isolation is missing"),
            ("grant select on {} to public", "grant select to PUBLIC is more than there was"),
            ("alter table {} alter chunk_index set default 1", "column chunk_index is another"),
            (
                "alter table {} drop constraint memory_chunks_user_hash_check",
                "memory_chunks_user_hash_check is missing",
            ),
        ],
    )
    def test_a_table_that_is_not_the_same_also_if_that_is_seen_only_in_its_place(self, filled, backup, lose, told):
        dumped = backup(filled)
        take_away(filled)
        place = stage(filled, dumped)
        execute(filled, lose.format(f"{place.schema}.memory_chunks"))

        with session.connect(filled) as connection, pytest.raises(StagedDiffers, match=told):
            staging.compare(connection, place.schema, archive="a", expected=expected_of(dumped))
        with pytest.raises((StagedDiffers, ChangeFailed)):
            swap(filled, dumped, place)

        assert execute(filled, "select to_regclass('public.memory_chunks')::text") == [(None,)]

    def test_a_table_that_draws_from_a_sequence(self, filled, owner_of_filled, backup):
        owner_of_filled.execute("alter table public.memory_chunks add column number bigserial")
        dumped = backup(filled)

        with pytest.raises(LoadFailed, match="sequence"):
            load(filled, dumped)

        assert schemas(filled) == []

    def test_a_function_that_the_server_does_not_have(self, filled, owner_of_filled, backup):
        owner_of_filled.execute(
            "create function public.is_short(words text) returns boolean language sql immutable"
            " return length(words) < 9;"
            "alter table public.memory_chunks add constraint short check (public.is_short(source) or true)"
        )
        dumped = backup(filled)
        owner_of_filled.execute("drop table public.memory_chunks; drop function public.is_short")

        with pytest.raises(LoadFailed, match="is_short"):
            load(filled, dumped)

        assert schemas(filled) == []


class TestTrial:
    def test_tenants_are_kept_apart_and_the_sample_opens(self, filled, backup):
        place = stage(filled, backup(filled))
        with session.connect(filled) as connection:
            isolation = trial.isolation(connection, schema=place.schema, name="memory_chunks", role="memops_app")
            opened = trial.opened(connection, schema=place.schema, name="memory_chunks")

            assert (isolation.tried, isolation.problem) == (True, "")
            assert isolation.rows_seen > 0
            assert (opened.sample > 0, opened.unopened) == (True, 0)
            assert execute(filled, "select has_schema_privilege('memops_app', %s, 'usage')", place.schema) == [(False,)]

    @pytest.mark.parametrize(
        ("lose", "told"),
        [
            ("alter table {} disable row level security", "row-level security does not hold"),
            ("create policy everything on {} using (true)", "a tenant sees .* rows of others"),
            ("alter policy memory_tenant_isolation on {} with check (true)", "a tenant can write"),
            ("alter policy memory_tenant_isolation on {} using (false)", "a tenant sees 0 of its"),
            ("revoke all on {} from memops_app", "the role memops_app may not use it"),
        ],
    )
    def test_a_table_that_does_not_is_told(self, filled, backup, lose, told):
        place = stage(filled, backup(filled))
        execute(filled, lose.format(f"{place.schema}.memory_chunks"))

        with session.connect(filled) as connection:
            found = trial.isolation(connection, schema=place.schema, name="memory_chunks", role="memops_app")

        assert re.search(told, found.problem)

    def test_memories_that_were_sealed_with_another_key_are_told(self, filled, backup, settings):
        place = stage(filled, backup(filled))
        settings.MEMORY_ENCRYPTION_KEY, settings.MEMORY_ENCRYPTION_KEY_OLD = b"x" * 32, None

        with session.connect(filled) as connection:
            opened = trial.opened(connection, schema=place.schema, name="memory_chunks")

        assert opened.unopened == opened.sample > 0
        assert "with a key that is not configured" in opened.reason


def test_what_is_staged_is_removed_and_what_somebody_built_on_it_is_not_destroyed(filled, backup):
    place = stage(filled, backup(filled))
    execute(filled, f"create view public.curious as select id from {place.schema}.memory_chunks")

    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        staging.drop(place)
    execute(filled, "drop view public.curious")

    assert staging.drop(place) == [place.schema]
    assert staging.drop(place) == []


def test_what_a_killed_restore_has_left_is_removed(filled, backup):
    load(filled, backup(filled))

    assert staging.drop_left_behind(filled) == [staging.place_of(filled, KEY).schema]
    assert schemas(filled) == []


def test_what_stands_within_quotes_is_no_name():
    printed = (
        "SET client_encoding = 'UTF8';\n--\n-- Name: memory_chunks; Type: TABLE; Schema: public; Owner: x\n--\n\n"
        "CREATE TABLE public.memory_chunks (a text DEFAULT 'it''s public.memory_chunks', b public.memory_chunks_t);"
        "\n\n\n"
        "--\n-- PostgreSQL database dump complete\n--\n"
    )

    found = Structure.read(printed, archive="a", schema="public", names=["memory_chunks"], stamp="", into="elsewhere")

    assert [statement.text for statement in found.first] == [
        "CREATE TABLE elsewhere.memory_chunks (a text DEFAULT 'it''s public.memory_chunks', b public.memory_chunks_t);"
    ]


def of_a_policy(statement: str) -> str:
    return (
        "SET client_encoding = 'UTF8';\n--\n-- Name: memory_chunks x; Type: POLICY; Schema: public; Owner: x\n--\n\n"
        f"{statement}\n\n\n--\n-- PostgreSQL database dump complete\n--\n"
    )


def test_an_apostrophe_in_a_name_begins_no_text():
    named = """CREATE POLICY "it's" ON {schema}.memory_chunks USING ((source = 'public.memory_chunks'::text));"""
    printed = of_a_policy(named.format(schema="public"))

    found = Structure.read(printed, archive="a", schema="public", names=["memory_chunks"], stamp="", into="elsewhere")

    assert [statement.text for statement in found.afterwards] == [named.format(schema="elsewhere")]


def test_a_name_that_holds_the_tables_own_stays_as_it_is():
    named = """CREATE POLICY "on public.memory_chunks" ON {0}memory_chunks USING ("public.memory_chunks");"""

    found = Structure.read(
        of_a_policy(named.format('"public".')),
        archive="a",
        schema="public",
        names=["memory_chunks"],
        stamp="",
        into="elsewhere",
    )

    assert [statement.text for statement in found.afterwards] == [named.format("elsewhere.")]


def test_the_stamp_of_a_rollback_is_taken_from_names_and_not_from_texts():
    stamp = "_20260102_030405_000000"
    printed = of_a_policy(
        f"""CREATE INDEX "it's{stamp}" ON memops_quarantine.memory_chunks{stamp} (a) WHERE (a = 'a{stamp}'::text);"""
    ).replace("Type: POLICY", "Type: INDEX")

    found = Structure.read(
        printed,
        archive="a",
        schema="memops_quarantine",
        names=[f"memory_chunks{stamp}"],
        stamp=stamp,
        into="elsewhere",
    )

    assert [statement.text for statement in found.afterwards] == [
        f"""CREATE INDEX "it's" ON elsewhere.memory_chunks (a) WHERE (a = 'a{stamp}'::text);"""
    ]


def test_a_statement_that_is_not_about_what_is_loaded_is_refused():
    printed = of_a_policy("CREATE POLICY x ON public.something_else;")

    with pytest.raises(LoadFailed, match="cannot be turned to another schema"):
        Structure.read(printed, archive="a", schema="public", names=["memory_chunks"], stamp="", into="elsewhere")


def test_a_journal_of_an_earlier_release_learns_of_restores(target, owner):
    owner.execute(
        "alter table memops_quarantine.journal drop constraint journal_action_check, add constraint old"
        " check (action in ('deploy', 'quarantine', 'drop', 'undo', 'purge'))"
    )

    for _ in range(2):
        execute(target, sql.journal())

    owner.execute("insert into memops_quarantine.journal (action, table_name) values ('restore', 'memory_chunks')")
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute("insert into memops_quarantine.journal (action, table_name) values ('else', 'memory_chunks')")


@pytest.fixture
def owner_of_filled(filled: str, settings) -> Iterator[psycopg.Connection]:
    url = embedded.url(settings.MEMOPS_HOME, database=connections[filled].settings_dict["NAME"])
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def small_dimension(target: str, settings) -> str:
    """10,000 rows of eight dimensions, with both approximate indexes."""
    settings.MEMOPS_EMBEDDING_DIM, settings.MEMOPS_ANN_INDEXES = 8, ["hnsw"]
    execute(target, sql.down())
    execute(target, sql.up())
    execute(
        target,
        "insert into public.memory_chunks (user_hash, doc_id, source, embedding, chunk_index)"
        " select md5((n % 50)::text) || md5((n % 50)::text), 'doc ' || n, 's',"
        " array[n, n % 7, n % 11, 1, random(), random(), random(), random()]::real[]::vector, n"
        " from generate_series(1, 10000) n",
    )
    execute(target, index_ivfflat())
    return target
