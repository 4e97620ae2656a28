"""Many watch one run: they share a look at it, and nobody sees what is not theirs, or what is over."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from memops import demo
from memops.console.admin import watching
from memops.console.models import Run
from memops.console.pg import claims
from memops.console.runs import reconcile, targets
from tests.postgres.people import person, request_backup
from tests.postgres.test_console import page, text


@pytest.fixture
def at_work(console_db) -> Iterator[Run]:
    """A run whose first step is at work, and which this process holds."""
    demo.load("default", rows=20, tenants=2)
    targets.sync()
    run = request_backup(person("rita", "requester", "executor"))
    Run.objects.filter(pk=run.pk).update(state="running", claimed_at=timezone.now())
    run.steps.filter(position=1).update(state="running", started_at=timezone.now(), log="12:00:00 one\n")
    with claims.hold_run("default", run.pk):
        yield run


@pytest.fixture
def for_ever(monkeypatch) -> None:
    """One look at a run serves all who ask in this test."""
    monkeypatch.setattr(watching, "FRESH_FOR", timedelta(hours=1))


@pytest.fixture
def for_no_time(monkeypatch) -> None:
    monkeypatch.setattr(watching, "FRESH_FOR", timedelta())


def sitting(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def polled(run: Run) -> list[str]:
    return [page("run_live", run.pk), page("run_tail", run.pk, 1) + "?from=0"]


def test_one_look_at_a_run_at_work_serves_all_who_watch_it(at_work, for_ever):
    crowd = [sitting(person(f"person {number}", "executor")) for number in range(3)]
    first = [crowd[0].get(path).content for path in polled(at_work)]

    for one in crowd:
        with CaptureQueriesContext(connection) as asked:
            assert [one.get(path).content for path in polled(at_work)] == first

        # Who it is, twice: the session, the person and what they may.
        assert {found["sql"].split('"')[1] for found in asked} == {"django_session", "auth_user", "django_content_type"}


def test_a_look_is_taken_anew_when_it_is_old(at_work, for_no_time):
    client = sitting(person("ann", "executor"))
    client.get(page("run_live", at_work.pk))

    at_work.steps.filter(position=1).update(progress_done=3, progress_total=7, progress_unit="rows")

    assert "3 rows of 7 rows" in text(client.get(page("run_live", at_work.pk)))


def test_a_log_that_grows_is_read_by_offset_whoever_took_the_look(at_work, for_no_time):
    ann, bob = (sitting(person(name, "executor")) for name in ("ann", "bob"))
    _, tail = polled(at_work)
    assert b"?from=13" in ann.get(tail).content

    at_work.steps.filter(position=1).update(log="12:00:00 one\n12:00:01 two\n")

    assert ann.get(tail.replace("from=0", "from=13")).content.startswith(b"12:00:01 two\n<span")
    assert bob.get(tail).content.startswith(b"12:00:00 one\n12:00:01 two\n<span")


def test_the_end_of_a_run_is_everybodys_own_look(at_work, for_no_time):
    client = sitting(person("ann", "executor"))
    assert client.get(page("run_live", at_work.pk)).status_code == 200

    Run.objects.filter(pk=at_work.pk).update(state="done", ended_at=timezone.now(), outcome="backed up")

    ended = client.get(page("run_live", at_work.pk))
    assert ended.status_code == 286
    assert "Verified backup made" in text(ended)
    assert client.get(polled(at_work)[1]).status_code == 200


def test_a_run_that_is_lost_is_nobodys_shared_look(console_db, for_ever):
    targets.sync()
    demo.load("default", rows=20, tenants=2)
    run = request_backup(person("rita", "requester", "executor"))
    Run.objects.filter(pk=run.pk).update(state="running", claimed_at=timezone.now())
    viewer, operator = sitting(person("vera", "auditor")), sitting(person("ann", "requester"))

    assert "Reconcile is not possible" in text(viewer.get(page("run_live", run.pk)))
    assert b'id="run-reconcile"' in operator.get(page("run_live", run.pk)).content


def test_who_may_not_see_a_run_gets_no_look_of_somebody_else(at_work, for_ever):
    operator, stranger = sitting(person("ann", "executor")), sitting(person("zoe"))

    for path in polled(at_work):
        assert operator.get(path).status_code == 200
        assert stranger.get(path).status_code == 403
        assert Client().get(path).status_code == 302


def test_a_page_from_before_the_start_loads_itself_again(at_work, for_ever):
    client = sitting(person("ann", "executor"))
    live = page("run_live", at_work.pk)
    client.get(live)

    assert client.get(live + "?awaits=start")["HX-Refresh"] == "true"
    assert "HX-Refresh" not in client.get(live)


def test_looks_that_nobody_asks_for_any_more_are_forgotten(at_work, for_no_time, monkeypatch):
    client = sitting(person("ann", "executor"))
    client.get(page("run_live", at_work.pk))
    database = connection.settings_dict["NAME"]
    watching._looks[database, 10**9] = watching._looks[database, at_work.pk]
    monkeypatch.setattr(watching, "FORGOTTEN_AFTER", timedelta())

    client.get(page("run_live", at_work.pk))

    assert [number for name, number in watching._looks if name == database] == [at_work.pk]


def test_a_run_that_has_ended_since_it_was_read_is_not_taken_for_lost(at_work):
    read_before = Run.objects.get(pk=at_work.pk)
    with connection.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pid, 10000) from pg_locks where locktype = 'advisory'")
    assert reconcile.is_lost(read_before)

    Run.objects.filter(pk=at_work.pk).update(state="done", ended_at=timezone.now(), outcome="backed up")

    assert not reconcile.is_lost(read_before)
