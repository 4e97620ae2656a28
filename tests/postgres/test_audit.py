"""The audit trail: nothing is done without a trace, nobody can change it unseen, and an auditor can check it alone."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.test import Client
from django.urls import reverse

from memops.console import audit
from memops.console.audit import verify_export
from memops.console.errors import AuditUnwritable, NotCancellable
from memops.console.models import AuditEvent, Run
from memops.console.pg import trail
from memops.console.runs import advance
from memops.console.runs.plan import plan_backup, plan_rollback
from memops.console.runs.request import Requester, cancel, submit
from project import embedded
from tests.databases import alias_of
from tests.postgres.test_commands import memops

ME = Requester(name="ann", origin=Run.Origin.COMMAND)
PASSWORD = "planted-secret-7"


@pytest.fixture
def five_events(console_db):
    for number in range(1, 6):
        audit.record("tried", actor="ann", target="default", number=number)


def ask(plan):
    return submit(plan, requester=ME, reason="the index is broken", seen_digest=plan.digest)


def actions(**of) -> list[str]:
    """What is in the trail, without what every process says of its settings first."""
    found = AuditEvent.objects.filter(**of).exclude(action__in=["settings.seen", "audit.anchors_begun"])
    return list(found.order_by("sequence").values_list("action", flat=True))


def without_triggers(tamperer, *statements: str) -> None:
    tamperer.execute("alter table audit_event disable trigger user")
    for statement in statements:
        tamperer.execute(statement)
    for guard in trail.GUARDS:
        tamperer.execute(f"alter table audit_event enable always trigger {guard}")


def rewrite_from(tamperer, first: int) -> None:
    """Change one event and give it and all later ones valid hashes."""
    events = [event for event in trail.events() if int(event["sequence"]) >= first]
    events[0]["actor"] = "somebody else"
    tamperer.execute("alter table audit_event disable trigger user")
    previous = events[0]["previous"]
    for event in events:
        event["previous"] = previous
        previous = verify_export.digest(event)
        tamperer.execute(
            "update audit_event set actor = %s, previous = %s, hash = %s where sequence = %s",
            [event["actor"], event["previous"], previous, event["sequence"]],
        )
    for guard in trail.GUARDS:
        tamperer.execute(f"alter table audit_event enable always trigger {guard}")


def verified(*arguments: str) -> tuple[int, int, str]:
    ended = memops("audit", "verify", "--json", *arguments)
    return ended.code, ended.data["sequence"], ended.data["kind"]


def export(to: Path) -> Path:
    assert memops("audit", "export", "--output", str(to)).code == 0
    return to


def stand_alone(*arguments: object) -> subprocess.CompletedProcess:
    """The verifier as an auditor has it: no site-packages, no environment, no path."""
    program = [sys.executable, "-I", "-S", verify_export.__file__, *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, env={}, check=False)


def test_eight_writers_make_one_chain_without_fork_or_gap(console_db):
    def write(writer: int) -> None:
        for number in range(15):
            audit.record("tried", actor=f"writer {writer}", number=number)

    with ThreadPoolExecutor(max_workers=8) as threads:
        list(threads.map(write, range(8)))

    assert verified() == (0, 120, "")


def test_what_python_hashes_is_what_the_database_hashes(console_db):
    audit.record("tried", actor="Zoë 🐘\x1b[31m", object_type="a:1,", object_id="", target="é", text="ü\x00")

    assert verified() == (0, 1, "")


def test_a_writer_with_an_old_snapshot_is_refused(five_events, tamperer):
    with pytest.raises(psycopg.errors.RaiseException, match="read committed"), tamperer.transaction():
        tamperer.execute("set transaction isolation level repeatable read")
        tamperer.execute("insert into audit_event (actor, action) values ('x', 'y')")


@pytest.mark.parametrize(
    "statement", ["update audit_event set actor = 'x'", "delete from audit_event", "truncate audit_event"]
)
@pytest.mark.parametrize("mode", ["origin", "replica"])
def test_not_even_the_superuser_changes_an_event_while_the_triggers_are_on(five_events, tamperer, statement, mode):
    tamperer.execute(f"set session_replication_role = {mode}")

    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        tamperer.execute(statement)


def test_the_application_may_not_even_read_it(five_events, console_db):
    with (
        alias_of("application", NAME=console_db, USER=embedded.APP_ROLE) as alias,
        connections[alias].cursor() as cursor,
        pytest.raises(Exception, match="permission denied"),
    ):
        cursor.execute("select * from audit_event")


@pytest.mark.parametrize(
    "change",
    [
        "at = at + interval '1 microsecond'", "actor = 'x'", "action = 'x'", "object_type = 'x'", "object_id = 'x'",
        "run = 7", "target = 'x'", "details = '{ }'", "request_id = 'x'", "address = 'x'", "previous = repeat('a', 64)",
        "hash = repeat('a', 64)",
    ],
)  # fmt: skip
def test_an_edit_of_any_column_is_named_with_its_row(five_events, tamperer, change):
    without_triggers(tamperer, f"update audit_event set {change} where sequence = 3")

    assert verified() == (1, 3, "edited")


def test_an_event_missing_from_the_middle_is_named(five_events, tamperer):
    without_triggers(tamperer, "delete from audit_event where sequence = 2")

    assert verified() == (1, 2, "deleted")


def test_events_that_changed_places_are_named(five_events, tamperer):
    without_triggers(tamperer, "update audit_event set sequence = case sequence when 2 then -1 else sequence end")
    without_triggers(
        tamperer,
        "update audit_event set sequence = 2 where sequence = 4",
        "update audit_event set sequence = 4 where sequence = -1",
    )

    assert verified() == (1, 2, "reordered")


def test_a_number_that_is_there_twice_is_a_fork(five_events, tamperer):
    tamperer.execute("alter table audit_event drop constraint audit_event_pkey, drop constraint audit_event_hash_key")
    without_triggers(tamperer, "insert into audit_event select * from audit_event where sequence = 3")

    assert verified() == (1, 3, "forked")


def test_a_cut_tail_is_seen_against_an_earlier_export(five_events, tamperer, tmp_path):
    anchor = export(tmp_path / "earlier.jsonl")
    without_triggers(tamperer, "delete from audit_event where sequence >= 4")

    assert verified() == (0, 3, "")
    assert verified("--anchor", str(anchor)) == (1, 4, "tail cut")


def test_a_rewrite_with_valid_hashes_is_seen_against_an_earlier_export(five_events, tamperer, tmp_path):
    anchor = export(tmp_path / "earlier.jsonl")
    rewrite_from(tamperer, 3)
    audit.record("tried", actor="ann")

    assert verified() == (0, 7, "")
    assert verified("--anchor", str(anchor)) == (1, 6, "rewritten")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("alter table audit_event disable trigger audit_event_rows", "not ENABLE ALWAYS"),
        ("alter table audit_event enable trigger audit_event_rows", "not ENABLE ALWAYS"),
        ("drop trigger audit_event_rows on audit_event", "missing"),
    ],
)
def test_a_guard_that_is_off_missing_or_not_always_is_named(five_events, tamperer, statement, said):
    tamperer.execute(statement)

    ended = memops("audit", "verify", "--json")

    assert ended.code == 1
    assert ended.data["triggers"] == [f"trigger audit_event_rows is {said}"]


def test_an_auditor_verifies_an_export_without_memops(five_events, tmp_path):
    file = export(tmp_path / "trail.jsonl")

    assert stand_alone(file).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], lines[2].replace("ann", "bob"), *lines[3:], ""]))
    ended = stand_alone(file)
    assert (ended.returncode, ended.stdout) == (
        1,
        "WRONG at number 3, edited: its hash is not that of its content.\n",
    )
    file.write_text("\n".join([*lines[:-1], ""]))
    assert stand_alone(file).returncode == 2
    file.write_text("\n".join([*lines[:3], lines[-1], ""]))
    assert "tail cut" in stand_alone(file).stdout


def test_the_printed_verifier_is_the_program(console_db):
    assert memops("audit", "verifier").out == Path(verify_export.__file__).read_text()


def test_an_event_outlives_the_transaction_around_it(console_db):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        audit.record("tried", actor="ann")
        raise ZeroDivisionError

    assert actions() == ["tried"]


def test_a_run_leaves_the_request_the_claim_each_step_and_its_end(console_db):
    run = ask(plan_rollback(DEFAULT_DB_ALIAS))
    advance.advance(run.pk)

    seen = actions(run=run.pk)
    assert seen[:4] == ["run.requested", "run.claimed", "step.begun", "step.ended"]
    assert seen[-1] == "run.ended"
    assert seen.count("step.begun") == seen.count("step.ended") == run.steps.count()
    assert json.loads(AuditEvent.objects.get(action="run.ended").details)["state"] == "done"


def test_a_refused_run_leaves_its_trace(console_db, tamperer):
    run = ask(plan_rollback(DEFAULT_DB_ALIAS))
    tamperer.execute("create view newest as select id from memory_chunks")
    advance.advance(run.pk)

    assert json.loads(AuditEvent.objects.get(action="run.ended").details)["state"] == "refused"


def test_a_cancelled_run_and_a_cancellation_that_came_too_late_leave_their_trace(console_db):
    run = ask(plan_backup(DEFAULT_DB_ALIAS))
    cancel(run, requester=ME)
    with pytest.raises(NotCancellable):
        cancel(run, requester=ME)

    assert actions() == ["run.requested", "run.cancel_asked", "run.cancelled", "run.cancel_asked"]


def test_no_run_is_stored_where_the_trail_cannot_be_written(console_db, tamperer):
    plan = plan_backup(DEFAULT_DB_ALIAS)
    tamperer.execute("alter table audit_event rename to audit_event_away")

    with pytest.raises(AuditUnwritable):
        ask(plan)

    assert not Run.objects.exists()


def test_no_step_begins_where_the_trail_cannot_be_written(console_db, tamperer):
    run = ask(plan_rollback(DEFAULT_DB_ALIAS))
    tamperer.execute("alter table audit_event rename to audit_event_away")
    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.outcome) == ("refused", "nothing")
    assert "audit trail" in run.error


def test_nobody_signs_in_where_the_trail_cannot_be_written(console_db, tamperer):
    User.objects.create_superuser("ann", password=PASSWORD)
    tamperer.execute("alter table audit_event rename to audit_event_away")
    client = Client(raise_request_exception=False)

    answer = client.post(reverse("admin:login"), {"username": "ann", "password": PASSWORD})

    assert answer.status_code == 500
    assert client.get(reverse("admin:index")).status_code == 302
