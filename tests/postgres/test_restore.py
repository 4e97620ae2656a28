"""A backup comes back into the table's place: whole, compared, by a change of the catalogue, over nothing that stood there."""

from datetime import timedelta

import pytest
from django.db import connections

from memops import sql
from memops.console.pg import change, fingerprint, migrations, session, staging, standing, trial
from memops.console.pg.change import Budget, Tell
from memops.console.pg.standing import Choice
from memops.console.pg.swap import Swap
from tests.prints import print_of

KEY = "0123456789abcdef" * 2
BUDGET = Budget(lock_timeout=timedelta(milliseconds=200), total=timedelta(seconds=5))


def ignore(done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


def stage(alias, dumped, *, choice=None):
    place = staging.place_of(alias, KEY)
    loaded = staging.load(place, path=dumped.path, manifest=dumped.manifest, grants=[], progress=ignore)
    if choice is not None and choice.takes_rows:
        with session.connect(alias) as connection:
            standing.begin(connection, place.schema, choice=choice)
    staging.build(place, loaded.afterwards, path=dumped.path, workers=0, tell=lambda building: None)
    with session.connect(alias) as connection:
        staging.compare(connection, place.schema, archive="a", expected=staging.expected_of(dumped.manifest, []))
    return place


def swap(alias, dumped, place, *, choice=None):
    work = Swap(
        schema=place.schema,
        choice=choice,
        archive="a",
        expected=staging.expected_of(dumped.manifest, []),
        record=list(migrations.known()),
    )
    changed = change.commit_within_budget(
        alias, work, key=KEY, relation_oid=None, budget=BUDGET, tell=Tell(line=print, xid=lambda xid: None)
    )
    staging.drop(place)
    return changed, work


def test_it(filled, backup):
    before = print_of(alias=filled) if False else None
    dumped = backup(filled)
    with connections[filled].cursor() as cursor:
        cursor.execute(sql.down())
    place = stage(filled, dumped)
    with session.connect(filled) as connection:
        print(trial.isolation(connection, schema=place.schema, name="memory_chunks", role="memops_app"))
        print(trial.opened(connection, schema=place.schema, name="memory_chunks"))
    changed, work = swap(filled, dumped, place)
    print(changed)
    with session.connect(filled) as connection:
        assert (
            fingerprint.of(connection, schema="public", name="memory_chunks", algorithm="fp1-md5") == dumped.fingerprint
        )


@pytest.mark.parametrize("choice", [Choice.MERGE, Choice.KEEP_NEWER, Choice.REPLACE])
def test_merge(filled, backup, choice):
    dumped = backup(filled)
    place = stage(filled, dumped, choice=choice)
    with connections[filled].cursor() as cursor:
        cursor.execute(
            "update public.memory_chunks set doc_id = 'x', updated_at = now() where id in (select id from public.memory_chunks limit 3)"
        )
        cursor.execute(
            "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index) values (repeat('a', 64), 'new', 's', 0)"
        )
        cursor.execute(
            "delete from public.memory_chunks where id in (select id from public.memory_chunks where doc_id <> 'x' limit 5)"
        )
    changed, work = swap(filled, dumped, place, choice=choice)
    print(changed, work)
