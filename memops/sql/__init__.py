r"""The SQL of memory_chunks, read from the files in this folder, with the names and numbers of the settings filled in.

The files themselves are valid for the default settings, and psql runs them as they are (``\ir`` includes another file):
a DBA needs no Python. What the functions return is plain text without parameters and without passwords.
"""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from psycopg import sql

FOLDER = Path(__file__).parent

DEFAULT_ROLE = "memops_app"
DEFAULT_VECTOR = "vector(1536)"
MAX_INDEXABLE_DIMENSION = 2000
MIN_IVFFLAT_DIMENSION = 2  # for cosine distance
MAX_NAME_BYTES = 63
BODY_QUOTE = "$memops$"

ROLE = re.compile(rf"\\set app_role '{DEFAULT_ROLE}'|'{DEFAULT_ROLE}'|\b{DEFAULT_ROLE}\b")
INCLUDE = re.compile(r"^\\ir (\w+\.sql)$", re.MULTILINE)
CHOICE = re.compile(r"^-- set local memops\.undo_table = .*;$", re.MULTILINE)


def up() -> str:
    """The table, its policy, grants and indexes, with the approximate indexes that MEMOPS_ANN_INDEXES names."""
    makers = {"hnsw": index_hnsw, "ivfflat": index_ivfflat}
    return "\n".join([_rendered("memory_chunks_up.sql"), *(makers[kind]() for kind in settings.MEMOPS_ANN_INDEXES)])


def down() -> str:
    """One statement that takes the table away: into quarantine if it has rows. Safe to repeat."""
    return _rendered("memory_chunks_down.sql")


def undo() -> str:
    """One statement that brings a quarantined table back: the newest, or the one that memops.undo_table names.

    Safe to repeat.
    """
    return _rendered("memory_chunks_undo.sql")


def purge() -> str:
    """One statement that drops the quarantined table that memops.purge_table and memops.purge_oid name, for good.

    Safe to repeat. It is for a run alone, which has compared the rows with a backup under the same lock.
    """
    return _rendered("memory_chunks_purge.sql")


def journal() -> str:
    """One statement that makes the quarantine's schema and its journal, or lets an old one know more. Safe to
    repeat."""
    return _rendered("memory_chunks_journal.sql")


def stand_aside() -> str:
    """One statement that holds writers off, and refuses rows that memops.restore_rows does not decide about."""
    return _rendered("memory_chunks_stand_aside.sql")


def restore() -> str:
    """One statement that puts the table of the schema memops.restore_schema into the place of the one that is away."""
    return _rendered("memory_chunks_restore.sql")


def forget_history() -> str:
    """One statement that takes memops out of Django's migration history, where there is one. Safe to repeat."""
    return _rendered("history_forget.sql")


def index_hnsw() -> str:
    """The statement that makes the index ``idx_memory_chunks_embedding_hnsw``."""
    return _rendered("memory_chunks_hnsw.sql")


def index_ivfflat() -> str:
    """The statement that makes the index ``idx_memory_chunks_embedding_ivfflat``. Raises ImproperlyConfigured."""
    if _dimension() < MIN_IVFFLAT_DIMENSION:
        raise ImproperlyConfigured("MEMOPS_ANN_INDEXES names ivfflat, which needs a MEMOPS_EMBEDDING_DIM of 2 or more.")
    return _rendered("memory_chunks_ivfflat.sql")


def roles() -> str:
    """What a superuser runs in psql once for each server: roles, extension, scratch template. Safe to repeat."""
    return _rendered("roles.sql")


def rollback_by_hand() -> str:
    """What ``migrate memops zero`` does, to paste into psql, migration history included. Safe to repeat.

    ::

        begin;
        set local lock_timeout = '2s';
        do $memops$ ... $memops$;  -- the table goes to quarantine
        do $memops$ ... $memops$;  -- the migration history follows
        commit;
    """
    return _rendered("rollback_by_hand.sql")


def undo_by_hand(table: str | None = None) -> str:
    """Bring a quarantined table back, to paste into psql, history included: the newest, or ``table``.

    Safe to repeat.
    """
    text = _rendered("undo_by_hand.sql")
    if table is None:
        return text
    return CHOICE.sub(lambda _: f"set local memops.undo_table = {sql.Literal(table).as_string()};", text)


def _rendered(file: str) -> str:
    """A file's text for the settings of now. Raises ImproperlyConfigured."""
    role, dimension = _app_role(), _dimension()
    text = _whole(file).replace(DEFAULT_VECTOR, f"vector({dimension})")
    if role == DEFAULT_ROLE:
        return text
    return ROLE.sub(lambda found: _named(role, found[0]), text)


def _whole(file: str) -> str:
    """A file's text, with the texts of the files that it includes."""
    text = (FOLDER / file).read_text(encoding="utf-8")
    return INCLUDE.sub(lambda included: _whole(included[1]).rstrip(), text)


def _named(role: str, where: str) -> str:
    """The role's name as it is written in this place: psql's setting, a literal, an identifier."""
    if where.startswith("\\"):
        # Within quotes, psql takes a backslash for an escape; the quotes are doubled as in SQL.
        return "\\set app_role '{}'".format(role.replace("\\", "\\\\").replace("'", "''"))
    return (sql.Literal(role) if where.startswith("'") else sql.Identifier(role)).as_string()


def _app_role() -> str:
    role: str = settings.MEMOPS_APP_ROLE
    if not role or not role.isprintable() or BODY_QUOTE in role or len(role.encode()) > MAX_NAME_BYTES:
        raise ImproperlyConfigured(
            f"MEMOPS_APP_ROLE has to be a role's name: 1 to {MAX_NAME_BYTES} bytes, printable, without {BODY_QUOTE}."
        )
    return role


def _dimension() -> int:
    dimension: int = settings.MEMOPS_EMBEDDING_DIM
    if not 1 <= dimension <= MAX_INDEXABLE_DIMENSION:
        raise ImproperlyConfigured(
            f"MEMOPS_EMBEDDING_DIM has to be from 1 to {MAX_INDEXABLE_DIMENSION}: no more fits into an index."
        )
    return dimension
