"""memops.sql: the files are whole as they are; settings change the dimension, a role's name, the indexes made."""

import re

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.migrations.loader import MigrationLoader

from memops import sql

RENDERERS = [
    sql.up,
    sql.down,
    sql.undo,
    sql.forget_history,
    sql.index_hnsw,
    sql.index_ivfflat,
    sql.roles,
    sql.rollback_by_hand,
    sql.undo_by_hand,
]
KEYWORDS = re.compile(r"\b(SELECT|FROM|WHERE|CREATE|ALTER|DROP|BEGIN|END|IF|THEN|RAISE|EXECUTE|INSERT|REVOKE|GRANT)\b")


def file(name):
    return (sql.FOLDER / name).read_text()


def test_with_the_default_settings_the_files_are_printed_as_they_are():
    assert sql.up() == file("memory_chunks_up.sql") + "\n" + file("memory_chunks_hnsw.sql")
    assert sql.down() == file("memory_chunks_down.sql")
    assert sql.undo() == file("memory_chunks_undo.sql")
    assert sql.roles() == file("roles.sql")


@pytest.mark.parametrize("kinds", [[], ["hnsw"], ["ivfflat"], ["hnsw", "ivfflat"]])
def test_the_approximate_indexes_are_those_of_the_settings(settings, kinds):
    settings.MEMOPS_ANN_INDEXES = kinds

    made = re.findall(r"^create index idx_memory_chunks_embedding_(\w+)", sql.up(), re.MULTILINE)

    assert made == kinds


def test_the_dimension_is_that_of_the_settings(settings):
    settings.MEMOPS_EMBEDDING_DIM = 384

    assert "embedding public.vector(384)," in sql.up()
    assert "1536" not in sql.up()


@pytest.mark.parametrize("dimension", [0, -1, 2001])
def test_a_dimension_that_no_index_can_hold_is_refused(settings, dimension):
    settings.MEMOPS_EMBEDDING_DIM = dimension

    with pytest.raises(ImproperlyConfigured, match="MEMOPS_EMBEDDING_DIM has to be from 1 to 2000"):
        sql.up()


def test_ivfflat_refuses_one_dimension(settings):
    settings.MEMOPS_EMBEDDING_DIM, settings.MEMOPS_ANN_INDEXES = 1, ["ivfflat"]

    with pytest.raises(ImproperlyConfigured, match="ivfflat"):
        sql.up()


@pytest.mark.parametrize(
    ("role", "identifier", "literal"),
    [
        ("other_app", '"other_app"', "'other_app'"),
        ("user", '"user"', "'user'"),
        ('we "ird', '"we ""ird"', "'we \"ird'"),
        ("o'neill", '"o\'neill"', "'o''neill'"),
        ("memops_app too", '"memops_app too"', "'memops_app too'"),
        ("100%s", '"100%s"', "'100%s'"),
        (r"\1\g<0>", r'"\1\g<0>"', r" E'\\1\\g<0>'"),
    ],
)
def test_the_role_is_quoted_as_its_place_needs(settings, role, identifier, literal):
    settings.MEMOPS_APP_ROLE = role

    text = sql.up()

    assert f"for all to {identifier}\n" in text
    assert f"on table public.memory_chunks to {identifier};" in text
    assert f"where rolname = {literal})" in text


@pytest.mark.parametrize(
    ("role", "line"),
    [("other_app", r"\set app_role 'other_app'"), ("o'n\\eill", r"\set app_role 'o''n\\eill'")],
)
def test_the_script_for_roles_sets_the_name_once(settings, role, line):
    settings.MEMOPS_APP_ROLE = role

    assert line in sql.roles().splitlines()


@pytest.mark.parametrize("role", ["", "two\nlines", "a" * 64, "é" * 32, "nul\0", "x$memops$x"])
def test_a_role_that_cannot_be_one_is_refused(settings, role):
    settings.MEMOPS_APP_ROLE = role

    with pytest.raises(ImproperlyConfigured, match="MEMOPS_APP_ROLE has to be a role's name"):
        sql.up()


def test_by_hand_everything_is_in_one_text_and_one_transaction():
    for text, parts in (
        (sql.rollback_by_hand(), [sql.down(), sql.forget_history()]),
        (sql.undo_by_hand(), [sql.undo(), file("history_record.sql")]),
    ):
        assert "\\ir" not in text
        assert all(part.rstrip() in text for part in parts)
        statements = re.sub(r"^--.*$", "", text, flags=re.MULTILINE).strip()
        assert statements.startswith("begin;")
        assert statements.endswith("commit;")


def test_the_table_to_bring_back_can_be_named():
    assert "\n-- set local memops.undo_table" in sql.undo_by_hand()
    assert "\nset local memops.undo_table = 'memory_chunks_20260102_030405_000000';\n" in sql.undo_by_hand(
        "memory_chunks_20260102_030405_000000"
    )
    assert "\nset local memops.undo_table = 'x''; drop table y; --';\n" in sql.undo_by_hand("x'; drop table y; --")


def test_the_history_is_that_of_all_migrations():
    names = sorted(name for label, name in MigrationLoader(None).disk_migrations if label == "memops")

    assert "array[" + ", ".join(f"'{name}'" for name in names) + "]" in file("history_record.sql")


def test_the_journal_is_defined_the_same_wherever_it_is_made():
    definition = re.compile(r"create table memops_quarantine\.journal \(.*?\n        \);", re.DOTALL)

    assert definition.findall(sql.up()) == definition.findall(sql.down())
    assert len(definition.findall(sql.up())) == 1


@pytest.mark.parametrize("render", RENDERERS)
def test_no_statement_could_take_others_along(render):
    statements = re.sub(r"--.*$", "", render(), flags=re.MULTILINE)

    assert not re.search(r"\bdrop\b[^;]*\bcascade\b", statements)
    assert not KEYWORDS.search(statements)
