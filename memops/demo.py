"""Demo data: chunks of Python's own documentation, which ships with Python, as the memories of invented users.

The text is sealed and nothing of it is stored in the clear. Embeddings carry meaning without a model: every word has a
pseudo-random direction, and a text is the weighted sum of its words, so texts that share words are near each other.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import sys
import time
import uuid
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count, islice
from pydoc_data.topics import topics
from typing import NamedTuple

from django.conf import settings
from django.db import OperationalError, connections, transaction
from django.db.backends.utils import CursorWrapper
from pgvector import Vector
from pgvector.psycopg.vector import register_vector_info
from psycopg.errors import DiskFull, LockNotAvailable, OutOfMemory
from psycopg.sql import SQL, Identifier
from psycopg.types import TypeInfo

from memops.errors import LoadUnderRowSecurity, TableMissing
from memops.sealing import seal
from memops.tenancy import hmac_user

CHUNK_CHARS = 600
BATCH_ROWS = 500
HISTORY = timedelta(days=180)
LIFETIME = timedelta(days=90)
# With this exponent, the largest of 40 tenants has half of the rows and the smallest one in a thousand.
ZIPF_EXPONENT = 1.7
SOURCES = ("notes", "chat", "upload", "email")

SPACE = re.compile(r"\s+")
WORD = re.compile(r"[^\W\d_]{3,}")

# Names and PostgreSQL types of what is loaded, in the order of ``Row``.
COLUMNS = {
    "id": "uuid",
    "user_hash": "varchar",
    "doc_id": "varchar",
    "source": "varchar",
    "text_cipher": "bytea",
    "meta_cipher": "bytea",
    "embedding": "vector",
    "chunk_index": "int4",
    "char_start": "int4",
    "char_end": "int4",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "expires_at": "timestamptz",
    "tags": "text[]",
    "model": "varchar",
}
COPY = f"copy public.memory_chunks ({', '.join(COLUMNS)}) from stdin (format binary)"

# What is the table like for this role? No row: there is no such table. A vector's dimension is its type modifier.
TABLE = """
select current_user, pg_catalog.row_security_active(c.oid), a.atttypmod, t.oid, t.typarray
from pg_catalog.pg_class c
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'embedding'
join pg_catalog.pg_type t on t.oid = a.atttypid
where c.oid = pg_catalog.to_regclass('public.memory_chunks')
"""

# Which approximate indexes are there, and which statements make them again?
ANN_INDEXES = """
select i.relname, pg_catalog.pg_get_indexdef(i.oid)
from pg_catalog.pg_index x
join pg_catalog.pg_class i on i.oid = x.indexrelid
join pg_catalog.pg_am m on m.oid = i.relam
where x.indrelid = 'public.memory_chunks'::pg_catalog.regclass and m.amname in ('hnsw', 'ivfflat')
order by i.relname
"""


class Chunk(NamedTuple):
    """A piece of a document: ``document[start:end] == text``."""

    start: int
    end: int
    text: str


class Row(NamedTuple):
    """A row of ``memory_chunks`` as it is loaded; the columns that it leaves out stay null."""

    id: uuid.UUID
    user_hash: str
    doc_id: str
    source: str
    text_cipher: bytes
    meta_cipher: bytes
    embedding: Vector
    chunk_index: int
    char_start: int
    char_end: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    tags: list[str]
    model: str


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What ``load`` did."""

    rows: int
    tenants: int
    table_bytes: int
    took: timedelta
    rebuilt_indexes: tuple[str, ...]

    @property
    def rows_per_second(self) -> float:
        return self.rows / max(self.took.total_seconds(), 1e-9)


@dataclass(frozen=True, kw_only=True)
class _Table:
    dimensions: int
    vector: TypeInfo


@dataclass(frozen=True, kw_only=True)
class _Document:
    doc_id: str
    title: str
    topic: str
    chunks: list[Chunk]


def user_id(rank: int) -> str:
    """The id of the demo user with the ``rank``-th largest memory, counted from 1: ``demo-user-001``."""
    return f"demo-user-{rank:03d}"


def row_count(using: str) -> int:
    """How many rows ``memory_chunks`` has, of all tenants.

    Raises TableMissing, or LoadUnderRowSecurity if the role of ``using`` would see only a part of them.
    """
    with connections[using].cursor() as cursor:
        _describe(cursor, using)
        cursor.execute("select count(*) from public.memory_chunks")
        return int(cursor.fetchone()[0])


def load(using: str, *, rows: int, tenants: int = 40, progress: Callable[[int, int], None] | None = None) -> Loaded:
    """Add ``rows`` rows of demo data by binary COPY; ``progress`` is told (rows so far, ``rows``) after every batch.

    Into an empty table it loads in one transaction, without the approximate indexes, and then makes them again from
    their own definitions: that is several times faster than inserting into HNSW, and an IVFFlat index learns its lists
    from data. Until it ends the table is locked; if it is interrupted, nothing is left of it. A table that has rows, or
    is in use, keeps its indexes, and every batch is a transaction of its own. Statistics are gathered at the end.

    Raises TableMissing, LoadUnderRowSecurity.
    """
    if rows < 1 or tenants < 1:
        raise ValueError("rows and tenants have to be at least 1")
    began = time.monotonic()
    with connections[using].cursor() as cursor:
        table = _describe(cursor, using)
        sizes = tenant_sizes(rows, tenants)
        source = demo_rows(sizes, dimensions=table.dimensions)

        def copy_all() -> None:
            for loaded in range(0, rows, BATCH_ROWS):
                with transaction.atomic(using=using):
                    _copy(using, islice(source, BATCH_ROWS), table)
                if progress:
                    progress(min(loaded + BATCH_ROWS, rows), rows)

        with transaction.atomic(using=using):
            ann_indexes = _drop_ann_indexes(cursor, using)
            if ann_indexes is not None:
                copy_all()
                _make_indexes(cursor, using, ann_indexes)
        if ann_indexes is None:
            copy_all()
        cursor.execute("analyze public.memory_chunks")
        cursor.execute("select pg_catalog.pg_total_relation_size('public.memory_chunks')")
        table_bytes = cursor.fetchone()[0]
    return Loaded(
        rows=rows,
        tenants=len(sizes),
        table_bytes=table_bytes,
        took=timedelta(seconds=time.monotonic() - began),
        rebuilt_indexes=tuple(ann_indexes or ()),
    )


def tenant_sizes(rows: int, tenants: int) -> list[int]:
    """How many rows each tenant gets, the largest first, at least one each: fewer tenants if there are fewer rows."""
    ranks = range(1, min(rows, tenants) + 1)
    weights = [rank**-ZIPF_EXPONENT for rank in ranks]
    to_share, all_weights = rows - len(ranks), sum(weights)
    sizes = [1 + int(to_share * weight / all_weights) for weight in weights]
    sizes[0] += rows - sum(sizes)
    return sizes


def demo_rows(sizes: Sequence[int], *, dimensions: int) -> Iterator[Row]:
    """Rows for tenants of these sizes, mixed as they would have come in: half a year, the oldest document first."""
    chance = random.Random(0)
    now = datetime.now(UTC)
    model = f"hashed-words-{dimensions}"
    hashes = [hmac_user(user_id(rank)) for rank, _ in enumerate(sizes, 1)]
    libraries = [_documents(rank) for rank, _ in enumerate(sizes, 1)]
    missing = list(sizes)
    while left := sum(missing):
        tenant = chance.choices(range(len(sizes)), missing)[0]
        document = next(libraries[tenant])
        user_hash = hashes[tenant]
        created_at = now - HISTORY * (left / sum(sizes)) ** 2
        updated_at = created_at + (now - created_at) * chance.random() if chance.random() < 0.1 else created_at
        expires_at = created_at + LIFETIME if chance.random() < 0.25 else None
        source = chance.choice(SOURCES)
        tags = ["python", document.topic] + (["pinned"] if chance.random() < 0.05 else [])
        meta = json.dumps({"title": document.title, "language": "en"}).encode()
        for index, chunk in enumerate(document.chunks[: missing[tenant]]):
            missing[tenant] -= 1
            yield Row(
                id=uuid.uuid4(),
                user_hash=user_hash,
                doc_id=document.doc_id,
                source=source,
                text_cipher=seal(chunk.text.encode(), user_hash),
                meta_cipher=seal(meta, user_hash),
                embedding=Vector(embed(chunk.text, dimensions)),
                chunk_index=index,
                char_start=chunk.start,
                char_end=chunk.end,
                created_at=created_at,
                updated_at=updated_at,
                expires_at=expires_at,
                tags=tags,
                model=model,
            )


def cut(document: str, *, first_chars: int = CHUNK_CHARS) -> list[Chunk]:
    """Cut a document into chunks of about ``CHUNK_CHARS`` that end between words; the first may have another size."""
    chunks: list[Chunk] = []
    start, size = 0, first_chars
    while start < len(document):
        space = SPACE.search(document, start + size)
        end = space.end() if space else len(document)
        chunks.append(Chunk(start, end, document[start:end]))
        start, size = end, CHUNK_CHARS
    return chunks


def embed(text: str, dimensions: int) -> list[float]:
    """The embedding of a text: a unit vector, the same on every machine, nearer to texts that share longer words.

    Without numpy, adding up vectors is adding up large integers: a dimension is a lane of 32 bits in the integer.
    """
    words = WORD.findall(text.lower()) or [text]
    lanes = array("I")
    total = sum(_direction(word, dimensions) for word in words)
    lanes.frombytes(total.to_bytes(dimensions * lanes.itemsize, sys.byteorder))
    # Every lane has added up random bytes: how far it came out from their mean is what the words say.
    mean = 127.5 * sum(map(_weight, words))
    centred = [lane - mean for lane in lanes]
    length = math.hypot(*centred)
    if not length:  # It takes very few dimensions to come out at the mean in all of them; a zero vector has no cosine.
        return [1.0] + [0.0] * (dimensions - 1)
    return [value / length for value in centred]


@lru_cache(maxsize=20_000)
def _direction(word: str, dimensions: int) -> int:
    """A word's random direction, as long as its weight: a byte for each dimension, in a lane of its own."""
    lanes = array("I", list(hashlib.shake_128(word.encode()).digest(dimensions)))
    return _weight(word) * int.from_bytes(lanes.tobytes(), sys.byteorder)


def _weight(word: str) -> int:
    """Short words say little."""
    return min(len(word), 9)


def _documents(rank: int) -> Iterator[_Document]:
    """What one user keeps: every topic in an order of its own, then again, cut at other places."""
    chance = random.Random(rank)
    for edition in count(1):
        for topic in chance.sample(sorted(topics), len(topics)):
            text = topics[topic]
            yield _Document(
                doc_id=topic if edition == 1 else f"{topic}/{edition}",
                title=text.partition("\n")[0],
                topic=topic,
                chunks=cut(text, first_chars=chance.randrange(CHUNK_CHARS // 3, CHUNK_CHARS)),
            )


def _describe(cursor: CursorWrapper, using: str) -> _Table:
    cursor.execute(TABLE)
    found = cursor.fetchone()
    if found is None:
        raise TableMissing(alias=using)
    role, under_row_security, dimensions, vector_oid, vector_array_oid = found
    if under_row_security:
        raise LoadUnderRowSecurity(alias=using, role=role)
    return _Table(dimensions=dimensions, vector=TypeInfo("vector", vector_oid, vector_array_oid))


def _is_empty(cursor: CursorWrapper) -> bool:
    cursor.execute("select not exists (select from public.memory_chunks)")
    return bool(cursor.fetchone()[0])


def _drop_ann_indexes(cursor: CursorWrapper, using: str) -> dict[str, str] | None:
    """Lock an empty table and drop its approximate indexes; returns their definitions, or None where that cannot be."""
    if not _is_empty(cursor):
        return None
    try:
        with transaction.atomic(using=using):
            cursor.execute(
                "select pg_catalog.set_config('lock_timeout', %s, true)",
                [f"{settings.MEMOPS_LOCK_TIMEOUT / timedelta(milliseconds=1):.0f}ms"],
            )
            cursor.execute("lock table public.memory_chunks in access exclusive mode")
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return None
        raise
    if not _is_empty(cursor):
        return None  # Another session has filled it meanwhile.
    cursor.execute(ANN_INDEXES)
    definitions = dict(cursor.fetchall())
    for name in definitions:
        cursor.execute(SQL("drop index public.{}").format(Identifier(name)))
    return definitions


def _make_indexes(cursor: CursorWrapper, using: str, definitions: dict[str, str]) -> None:
    cursor.execute(
        "select pg_catalog.set_config('maintenance_work_mem', %s, true)",
        [f"{settings.MEMOPS_MAINTENANCE_WORK_MEM_BYTES // 1024}kB"],
    )
    for definition in definitions.values():
        try:
            with transaction.atomic(using=using):
                cursor.execute(definition)
        except OperationalError as error:
            if not isinstance(error.__cause__, (DiskFull, OutOfMemory)):
                raise
            # A parallel build takes all of maintenance_work_mem as shared memory at once; a container has 64 MB of it.
            cursor.execute("select pg_catalog.set_config('max_parallel_maintenance_workers', '0', true)")
            cursor.execute(definition)


def _copy(using: str, rows: Iterable[Row], table: _Table) -> None:
    with connections[using].cursor() as cursor:
        # On this cursor only: the connection goes on reading vectors as Django does.
        register_vector_info(cursor.cursor, table.vector)
        with connections[using].wrap_database_errors, cursor.copy(COPY) as copy:
            copy.set_types(list(COLUMNS.values()))
            for row in rows:
                copy.write_row(row)
