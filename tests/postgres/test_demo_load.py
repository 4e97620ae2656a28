"""demo.load: many rows by binary COPY, as the owner, into a real table; all of them or none."""

import os
from threading import Event, Thread

import pytest
from django.db import IntegrityError, connections, transaction

from memops import demo
from memops.errors import LoadUnderRowSecurity, TableMissing
from memops.sealing import open_sealed
from memops.tenancy import hmac_user, tenant_scope

INDEXES = """
select i.relname, pg_get_indexdef(i.oid), x.indisvalid and x.indisready
from pg_index x join pg_class i on i.oid = x.indexrelid
where x.indrelid = 'public.memory_chunks'::regclass order by i.relname
"""
HNSW = "idx_memory_chunks_embedding_hnsw"


def fetch(alias, sql, *parameters):
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def dimensions(alias):
    return fetch(alias, "select vector_dims(embedding) from public.memory_chunks limit 1")[0][0]


@pytest.fixture
def reader_that_stays(app_role):
    """Another session that has read the table and keeps its transaction open."""
    reading, enough = Event(), Event()

    def read():
        with transaction.atomic(using=app_role):
            fetch(app_role, "select count(*) from public.memory_chunks")
            reading.set()
            enough.wait(60)
        connections[app_role].close()

    thread = Thread(target=read)
    thread.start()
    assert reading.wait(10)
    yield
    enough.set()
    thread.join()


def test_an_empty_table_is_filled_and_has_the_same_indexes_as_before(target):
    before = fetch(target, INDEXES)

    loaded = demo.load(target, rows=1200, tenants=8)

    assert (loaded.rows, loaded.tenants) == (1200, 8)
    assert fetch(target, "select count(*), count(distinct user_hash) from public.memory_chunks") == [(1200, 8)]
    assert fetch(target, INDEXES) == before
    assert HNSW in loaded.rebuilt_indexes
    assert loaded.table_bytes == fetch(target, "select pg_total_relation_size('public.memory_chunks')")[0][0]
    assert loaded.rows_per_second > 0


def test_progress_is_told_after_every_batch_up_to_the_last_row(target):
    told = []

    demo.load(target, rows=1200, progress=lambda done, rows: told.append((done, rows)))

    assert told == [(500, 1200), (1000, 1200), (1200, 1200)]


def test_the_text_is_sealed_and_opens_for_the_tenant(target, app_role):
    demo.load(target, rows=300, tenants=5)

    assert fetch(target, "select count(*) from public.memory_chunks where text_plain is not null") == [(0,)]
    with tenant_scope(demo.user_id(2), using=app_role) as user_hash:
        rows = fetch(app_role, "select text_cipher, user_hash, char_end - char_start from public.memory_chunks")
    assert len(rows) == demo.tenant_sizes(300, 5)[1]
    for text_cipher, owner, chars in rows:
        assert owner == user_hash
        assert len(open_sealed(bytes(text_cipher), user_hash).decode()) == chars


def test_a_question_finds_the_memory_that_speaks_of_it(target, app_role):
    demo.load(target, rows=1500, tenants=1)
    question = demo.embed("import a module from a package", dimensions(target))

    with tenant_scope(demo.user_id(1), using=app_role) as user_hash:
        nearest = fetch(
            app_role,
            "select text_cipher from public.memory_chunks order by embedding <=> %s::vector limit 5",
            str(question),
        )

    texts = [open_sealed(bytes(text_cipher), user_hash).decode() for (text_cipher,) in nearest]
    assert len(texts) == 5
    assert all("module" in text and "import" in text for text in texts)


def test_statistics_are_there_when_the_load_has_ended(target):
    demo.load(target, rows=700)

    assert fetch(target, "select reltuples from pg_class where oid = 'public.memory_chunks'::regclass") == [(700,)]


def test_more_rows_are_added_to_a_table_that_has_some(target):
    demo.load(target, rows=200, tenants=3)
    before = fetch(target, INDEXES)

    loaded = demo.load(target, rows=100, tenants=3)

    assert demo.row_count(target) == 300
    assert loaded.rebuilt_indexes == ()
    assert fetch(target, INDEXES) == before


def test_an_interrupted_load_into_an_empty_table_leaves_nothing_and_all_indexes(target):
    before = fetch(target, INDEXES)

    def interrupt(done, rows):
        if done >= 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.load(target, rows=2000, progress=interrupt)

    assert demo.row_count(target) == 0
    assert fetch(target, INDEXES) == before


@pytest.mark.usefixtures("reader_that_stays")
def test_a_table_that_is_in_use_is_filled_with_its_indexes_in_place(target):
    before = fetch(target, INDEXES)

    loaded = demo.load(target, rows=100)

    assert demo.row_count(target) == 100
    assert loaded.rebuilt_indexes == ()
    assert fetch(target, INDEXES) == before


def test_an_index_is_built_by_one_process_where_shared_memory_is_too_small_for_more(target, settings):
    before = fetch(target, INDEXES)
    shared = os.statvfs("/dev/shm")
    # More than the machine has at all, which it refuses at once; a container has 64 MB.
    settings.MEMOPS_MAINTENANCE_WORK_MEM_BYTES = shared.f_blocks * shared.f_frsize + 2**30
    with connections[target].cursor() as cursor:
        cursor.execute("alter table public.memory_chunks set (parallel_workers = 2)")

    loaded = demo.load(target, rows=600)

    assert HNSW in loaded.rebuilt_indexes
    assert fetch(target, INDEXES) == before


def test_an_error_of_the_server_during_copy_is_an_error_of_django_and_leaves_nothing(target):
    with connections[target].cursor() as cursor:
        cursor.execute("alter table public.memory_chunks add constraint no_tags check (tags is null)")

    with pytest.raises(IntegrityError, match="no_tags"):
        demo.load(target, rows=10)

    assert demo.row_count(target) == 0


def test_a_role_under_row_level_security_neither_loads_nor_counts(target, app_role):
    demo.load(target, rows=10)

    for refused in (lambda: demo.load(app_role, rows=10), lambda: demo.row_count(app_role)):
        with pytest.raises(LoadUnderRowSecurity, match="role memops_app"):
            refused()


def test_a_missing_table_is_named(target):
    with connections[target].cursor() as cursor:
        cursor.execute("drop table public.memory_chunks")

    for refused in (lambda: demo.load(target, rows=10), lambda: demo.row_count(target)):
        with pytest.raises(TableMissing, match=f"manage.py migrate memops --database={target}"):
            refused()


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"rows": -1}, {"rows": 10, "tenants": 0}])
def test_no_rows_or_no_tenants_are_a_mistake(target, wrong):
    with pytest.raises(ValueError, match="at least 1"):
        demo.load(target, **wrong)


def test_the_largest_tenant_is_the_first_user(target):
    demo.load(target, rows=500, tenants=10)

    largest = fetch(target, "select user_hash from public.memory_chunks group by 1 order by count(*) desc limit 1")
    assert largest == [(hmac_user(demo.user_id(1)),)]
