"""Signed heads outside the database: who cuts the trail or rewrites it is found out, and no run goes on with it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections

from memops.console import audit
from memops.console.audit import anchors
from memops.console.errors import AnchorUnwritable, ChainBroken
from memops.console.models import AuditEvent, Run
from memops.console.runs import advance
from memops.console.runs.plan import plan_backup, plan_rollback
from tests.limits import largest_file
from tests.postgres.test_audit import actions, ask, export, rewrite_from, stand_alone, verified, without_triggers
from tests.postgres.test_commands import memops


@pytest.fixture
def anchored(console_db, settings) -> Path:
    """A trail of seven events or so that was anchored, and gives the file."""
    for number in range(1, 6):
        audit.record("tried", actor="ann", target="default", number=number)
    assert memops("audit", "anchor").code == 0
    return settings.MEMOPS_ANCHORS


@pytest.fixture
def plan(console_db):
    return plan_backup(DEFAULT_DB_ALIAS)


def refusal(plan) -> str:
    with pytest.raises(ChainBroken) as refused:
        ask(plan)
    assert not Run.objects.exists()
    return str(refused.value)


def test_the_end_of_a_run_is_anchored_in_a_file_of_ours_alone(console_db, settings):
    run = ask(plan_rollback(DEFAULT_DB_ALIAS))
    advance.advance(run.pk)

    file = settings.MEMOPS_ANCHORS
    line = json.loads(file.read_text().splitlines()[-1])
    event = AuditEvent.objects.get(sequence=line["head"]["sequence"])
    assert event.hash == line["head"]["hash"]
    assert event.sequence >= AuditEvent.objects.get(action="run.ended").sequence
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_trail_whose_end_was_cut_off_refuses_a_run(anchored, tamperer, plan):
    without_triggers(tamperer, "delete from audit_event where sequence >= 4")

    assert "the end was cut off" in refusal(plan)


def test_a_trail_that_was_rewritten_with_valid_hashes_refuses_a_run(anchored, tamperer, plan):
    rewrite_from(tamperer, 3)

    assert "it was rewritten" in refusal(plan)
    assert verified()[::2] == (1, "rewritten")


def test_a_guard_that_is_off_refuses_a_run_and_nobody_can_accept_that(anchored, tamperer, plan):
    tamperer.execute("alter table audit_event disable trigger audit_event_rows")

    assert "trigger audit_event_rows is not ENABLE ALWAYS" in refusal(plan)
    ended = memops("audit", "accept", "--reason", "INC-1")
    assert ended.code == 3
    assert anchors.ACCEPTED not in actions()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.unlink(), "empty or gone"),
        (lambda file: file.write_text(""), "empty or gone"),
        (lambda file: file.write_text('{"head": 1}\n'), "cannot be used"),
        (lambda file: file.write_text("\x00" * 9000 + "\n"), "cannot be used"),
        (lambda file: (file.unlink(), file.symlink_to("/dev/zero")), "cannot be read"),
        (lambda file: (file.unlink(), file.mkdir()), "cannot be read"),
        (
            lambda file: file.write_text(file.read_text().replace('"signature": "', '"signature": "AAAA')),
            "not signed with the key",
        ),
    ],
)
def test_a_file_of_anchors_that_is_gone_or_damaged_refuses_a_run(anchored, plan, damage, said):
    damage(anchored)

    assert said in refusal(plan)


def test_a_run_that_waited_while_the_trail_was_cut_does_not_begin(console_db, settings, tamperer):
    run = ask(plan_rollback(DEFAULT_DB_ALIAS))
    anchors.anchor()
    without_triggers(tamperer, "delete from audit_event where sequence >= 2")

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.outcome) == ("refused", "nothing")
    assert "not to be trusted" in run.error


def test_a_torn_last_line_is_what_a_crash_leaves_and_no_reason_to_stop(anchored, plan):
    whole = anchored.read_text()
    anchored.write_text(whole + '{"head": {"sequ')

    ask(plan)
    assert memops("audit", "anchor").code == 0

    assert anchored.read_text().startswith(whole)
    assert all(json.loads(line) for line in anchored.read_text().splitlines())


def test_an_anchor_that_finds_no_room_leaves_the_file_as_it_was(anchored, plan):
    whole = anchored.read_bytes()

    with largest_file(len(whole) + 50), pytest.raises(AnchorUnwritable, match=r"anchors\.jsonl: .*"):
        anchors.anchor()

    assert anchored.read_bytes() == whole
    assert verified()[0] == 0


def test_a_first_anchor_that_finds_no_room_is_not_missed_afterwards(console_db, settings, plan):
    audit.record("tried", actor="ann", target="default")
    with largest_file(50), pytest.raises(AnchorUnwritable):
        anchors.anchor()

    assert not AuditEvent.objects.filter(action=anchors.BEGUN).exists()
    ask(plan)
    assert memops("audit", "anchor").code == 0
    assert AuditEvent.objects.filter(action=anchors.BEGUN).count() == 1


def test_a_file_that_was_begun_is_not_begun_anew_by_itself(anchored):
    anchored.unlink()

    ended = memops("audit", "anchor")

    assert ended.code == 1
    assert "is empty or gone" in ended.err
    assert "memops audit accept" in ended.err
    assert not anchored.exists()


def test_whoever_accepts_a_break_lets_runs_go_on_and_the_trail_keeps_it(anchored, tamperer, plan):
    without_triggers(tamperer, "delete from audit_event where sequence >= 4")

    ended = memops("audit", "accept", "--reason", "INC-7: restored from last night's copy")

    assert ended.code == 0
    assert "the end was cut off" in ended.out
    details = json.loads(AuditEvent.objects.get(action=anchors.ACCEPTED).details)
    assert details["reason"] == "INC-7: restored from last night's copy"
    assert "the end was cut off" in details["problem"]
    ask(plan)
    assert len(list(anchored.parent.glob("anchors.jsonl.until-*"))) == 1
    assert verified()[0] == 0


def test_accepting_needs_a_reason(anchored):
    ended = memops("audit", "accept")

    assert ended.code == 2
    assert "--reason" in ended.err
    assert actions()[-1] == "tried"


def test_an_anchor_signed_by_somebody_else_is_wrong_even_if_it_fits(anchored, settings):
    settings.MEMOPS_AUDIT_KEY = bytes(32)

    ended = memops("audit", "verify", "--json")

    assert ended.code == 1
    assert "did not sign it" in memops("audit", "verify").out


def test_an_anchor_that_cannot_be_written_is_an_error_that_names_the_file(console_db, settings, tmp_path):
    (tmp_path / "file").write_text("")
    settings.MEMOPS_ANCHORS = tmp_path / "file" / "anchors.jsonl"

    ended = memops("audit", "anchor")

    assert ended.code == 1
    assert str(settings.MEMOPS_ANCHORS) in ended.err
    assert "Traceback" not in ended.err


def test_a_backups_manifest_is_an_anchor(console_db, settings, tamperer):
    run = ask(plan_backup(DEFAULT_DB_ALIAS))
    advance.advance(run.pk)
    (manifest,) = settings.MEMOPS_BACKUP_DIR.rglob("*.json")
    assert verified("--anchor", str(manifest))[0] == 0

    rewrite_from(tamperer, 2)
    settings.MEMOPS_ANCHORS.unlink()

    assert verified("--anchor", str(manifest))[::2] == (1, "rewritten")


def test_an_auditor_checks_the_signature_of_an_export_with_the_key_that_was_written_down(anchored, tmp_path):
    file = export(tmp_path / "trail.jsonl")
    key = memops("audit", "key").out.strip()

    assert stand_alone(file, "--key", key).returncode == 0
    lines = file.read_text().splitlines()
    head = json.loads(lines[-1])
    head["at"] = "2020-01-01T00:00:00.000000Z"
    file.write_text("\n".join([*lines[:-1], json.dumps(head), ""]))
    assert stand_alone(file, "--key", key).returncode != 0


class Hook(BaseHTTPRequestHandler):
    status, location = 204, ""
    taken: list[dict] = []

    def do_POST(self):
        self.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hook(settings):
    """A real server that takes what is posted to it; its address has a secret in it."""
    handler = type("OneHook", (Hook,), {"taken": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    settings.MEMOPS_ANCHOR_WEBHOOK = f"http://127.0.0.1:{server.server_port}/planted-secret"
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_anchor_is_sent_to_the_webhook(anchored, hook):
    ended = memops("audit", "anchor", "--post")

    assert ended.code == 0
    (sent,) = hook.taken
    assert sent == json.loads(anchored.read_text().splitlines()[-1])
    assert actions()[-1] == "audit.anchor_sent"


@pytest.mark.parametrize(
    ("status", "location", "said"), [(500, "", "answered 500"), (302, "http://127.0.0.1:1/", "answered 302")]
)
def test_a_webhook_that_does_not_take_it_is_an_error_without_its_address(anchored, hook, status, location, said):
    hook.status, hook.location = status, location

    ended = memops("audit", "anchor", "--post")

    assert ended.code == 1
    assert said in ended.err
    assert "planted-secret" not in ended.out + ended.err
    assert actions()[-1] == "tried"


def test_a_webhook_that_is_not_there_or_not_set_is_an_error_without_its_address(anchored, settings):
    assert memops("audit", "anchor", "--post").code == 2
    settings.MEMOPS_ANCHOR_WEBHOOK = "http://127.0.0.1:1/planted-secret"

    ended = memops("audit", "anchor", "--post")

    assert ended.code == 1
    assert "cannot be reached" in ended.err
    assert "planted-secret" not in ended.err


def test_the_trail_is_not_taken_away_by_a_migration_back(anchored):
    with pytest.raises(Exception, match="audit_event holds events"):
        call_command("migrate", "memops_console", "0003", verbosity=0)

    with connections["default"].cursor() as cursor:
        cursor.execute("select count(*) from audit_event")
        assert cursor.fetchone()[0] == AuditEvent.objects.count() > 0
