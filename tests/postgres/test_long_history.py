"""A thousand runs and forty thousand events: every page and verb answers, is paged, and asks for as much as before.

How long that takes with a million events, `python -m tests.bench load` measures.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from memops.console.audit import browse, checking
from memops.console.models import AuditEvent, Run
from memops.console.pg import session
from memops.console.pg.sql import query
from tests.bench import history
from tests.databases import default_database, fresh_database
from tests.postgres.people import TWO, person, request_backup
from tests.postgres.test_commands import memops
from tests.postgres.test_console import page

RUNS, EVENTS = 1000, 40_000
A_PAGE = 50
LARGEST_PAGE_BYTES = 200_000

LISTS = {
    "start page": reverse("admin:index"),
    "history": page("run_changelist"),
    "history, of a state": page("run_changelist") + "?state__exact=done",
    "history, by words": page("run_changelist") + "?q=recall",
    "backups": page("backup_changelist"),
    "quarantine": page("quarantinedtable_changelist"),
    "target": page("target_change", "default"),
    "targets": page("target_changelist"),
    "queue": page("queue"),
    "audit": page("auditevent_changelist"),
    "audit, by actor": page("auditevent_changelist") + "?actor=person-1",
    "audit, by words": page("auditevent_changelist") + "?words=approver",
}


@pytest.fixture(scope="module")
def lived_in(template_database, tmp_path_factory, django_db_blocker) -> Iterator[tuple[str, Path]]:
    """A database with a year behind it, and the folder with its anchors."""
    from django.conf import settings

    folder = tmp_path_factory.mktemp("history")
    before = settings.MEMOPS_ANCHORS, settings.MEMOPS_BACKUP_DIR
    settings.MEMOPS_ANCHORS, settings.MEMOPS_BACKUP_DIR = folder / "anchors.jsonl", folder / "backups"
    with fresh_database(template_database) as name:
        with django_db_blocker.unblock(), default_database(name):
            history.fill(runs=RUNS, events=EVENTS)
        settings.MEMOPS_ANCHORS, settings.MEMOPS_BACKUP_DIR = before
        yield name, folder


@pytest.fixture
def console(lived_in, settings, django_db_blocker) -> Iterator[str]:
    """The same for all: who looks leaves nothing there but the sign-in."""
    name, folder = lived_in
    settings.MEMOPS_ANCHORS, settings.MEMOPS_BACKUP_DIR = folder / "anchors.jsonl", folder / "backups"
    with django_db_blocker.unblock(), default_database(name):
        yield name


@pytest.fixture
def own_console(console) -> Iterator[None]:
    """A copy, to change something in it."""
    connection.close()  # Nobody may be connected to what is copied.
    with fresh_database(console) as name, default_database(name):
        yield


@pytest.fixture
def operator(console) -> Client:
    olga = User.objects.filter(username="olga").first() or User.objects.create_superuser("olga")
    client = Client()
    client.force_login(olga)
    return client


def events_read(sql: str, parameters: dict[str, Any] | None = None) -> int:
    """How many events a query looks at, those included that it throws away."""
    with connection.cursor() as cursor:
        cursor.execute(f"explain (analyze, format json) {sql}", parameters)
        [(found,)] = cursor.fetchall()
    return sum(
        node["Actual Rows"] * node["Actual Loops"]
        + node.get("Rows Removed by Filter", 0)
        + node.get("Rows Removed by Index Recheck", 0)
        for node in nodes(found[0]["Plan"])
        if node.get("Relation Name") == "audit_event"
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def test_the_history_of_the_tests_is_one_that_the_product_could_have_written(console):
    assert Run.objects.filter(ended_at__isnull=False).count() >= RUNS
    checked = checking.whole([])
    assert checked.holds, checked.sentences
    assert checked.verdict.sequence >= EVENTS
    assert checked.anchors == RUNS


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_a_page_and_asks_no_more_for_more_lines(operator, name):
    operator.get(LISTS[name])
    with CaptureQueriesContext(connection) as asked:
        shown = operator.get(LISTS[name])

    assert shown.status_code == 200
    assert shown.content.count(b"<tr") <= A_PAGE + 2
    assert len(shown.content) < LARGEST_PAGE_BYTES
    # The start page and a target's are several lists; a query for each of fifty lines is what none may have.
    assert len(asked) < A_PAGE, [found["sql"][:100] for found in asked]


def test_the_start_page_names_a_few_of_what_nobody_has_closed_and_counts_the_others(operator):
    shown = operator.get(reverse("admin:index"))

    assert len(shown.context["unclosed"]) == 8
    left = Run.objects.filter(checklist__isnull=False).exclude(closings__decision="closed").count()
    assert shown.context["unclosed_more"] == left - 8


def test_requests_that_await_approval_are_not_asked_about_one_by_one(own_console, operator, settings):
    settings.MEMOPS_APPROVALS = TWO
    rita = person("rita", "requester")
    addresses = [reverse("admin:index"), page("run_changelist") + "?state__exact=awaiting"]

    def asked_with_one_more() -> list[int]:
        request_backup(rita)
        counts = []
        for address in addresses:
            with CaptureQueriesContext(connection) as asked:
                assert operator.get(address).status_code == 200
            counts.append(len(asked))
        return counts

    asked_with_one_more()
    assert asked_with_one_more() == asked_with_one_more()


def test_the_page_of_a_run_asks_for_as_much_as_in_an_empty_console(operator):
    run = Run.objects.filter(kind="rollback", emergency=False)[0]
    operator.get(run.get_absolute_url())
    for address in (run.get_absolute_url(), page("run_live", run.pk)):
        with CaptureQueriesContext(connection) as asked:
            assert operator.get(address).status_code in (200, 286)
        assert len(asked) < 30


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"actor": "person-1"},
        {"actor": "person-50"},
        {"actor": "nobody"},
        {"action": "settings.seen"},
        {"target": "default"},
        {"run": 500},
        {"object_type": "user", "object_id": "7"},
        {"before": 7000},
        {"since": 300},
        {"until": 300},
        {"since": 200, "until": 200},
        {"since": 200, "until": 200, "before": 5000},
        {"actor": "person-1", "since": 200, "until": 200},
    ],
)
def test_what_is_looked_for_in_the_trail_is_found_without_reading_all_of_it(console, wanted):
    days = {
        name: (timezone.now() - timedelta(days=wanted[name])).date() for name in ("since", "until") if name in wanted
    }
    with CaptureQueriesContext(connection) as asked:
        found = browse.page(browse.Wanted(**wanted | days))

    assert len(found.events) <= A_PAGE
    assert sum(events_read(one["sql"]) for one in asked) < EVENTS / 10


def test_days_are_found_whole_also_where_a_clock_was_set_back(own_console):
    day = (timezone.now() - timedelta(days=100)).date()
    with session.connect("default") as owner:
        owner.execute("alter table public.audit_event disable trigger audit_event_rows")
        # In numbers it is far behind that day, and in time within it.
        owner.execute(
            "update public.audit_event set at = %s::date + interval '1 hour' where sequence in (3, 19000)", [day]
        )
    wanted = browse.Wanted(since=day, until=day)

    seen, found = [], browse.page(wanted)
    while found.older:
        seen += found.events
        found = browse.page(browse.Wanted(since=day, until=day, before=found.older))
    seen += found.events

    expected = AuditEvent.objects.filter(at__date=day).order_by("-at", "-sequence")
    assert {3, 19000} < {event.sequence for event in seen}
    assert [event.sequence for event in seen] == [event.sequence for event in expected]


def test_words_of_a_day_are_looked_for_in_that_day_first(console, monkeypatch):
    monkeypatch.setattr(browse, "WINDOW", 1000)
    day = (timezone.now() - timedelta(days=200)).date()

    found = browse.page(browse.Wanted(words="approver", since=day, until=day))

    assert found.events
    assert {event.at.date() for event in found.events} == {day}


def test_the_gate_before_a_run_finds_its_events_by_their_kind(console):
    for actions in (["settings.seen", "settings.changed"], ["audit.accepted"]):
        assert events_read(query("audit", "last_of"), {"actions": actions}) <= 2


def test_verbs_answer_and_list_as_many_as_they_are_asked_for(console):
    run = Run.objects.filter(kind="rollback", emergency=False)[0]

    assert memops("status", "--json").data["targets"][0]["active_run"] is None
    assert len(memops("runs", "--json").data["runs"]) == 20
    assert memops("run", str(run.pk), "--json").data["run"]["id"] == run.pk
    assert memops("audit", "verify", "--json").data["sequence"] == AuditEvent.objects.count()


def test_the_list_of_runs_asks_for_as_much_for_a_hundred_as_for_ten(console):
    memops("runs")
    asked = []
    for limit in ("10", "100"):
        with CaptureQueriesContext(connection) as found:
            assert len(memops("runs", "--limit", limit, "--json").data["runs"]) == int(limit)
        asked.append(len(found))

    assert asked[0] == asked[1]
