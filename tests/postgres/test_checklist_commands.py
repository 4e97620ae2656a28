"""Checklists on the command line: a person signs by name and password, and exit codes say what came of it."""

import io

import pytest
from django.contrib.auth.models import User

from memops.console.models import ChecklistTemplate
from memops.console.runs import checklists
from memops.console.runs.plan import plan_backup
from tests.postgres.people import PASSWORD, execute, person
from tests.postgres.test_commands import memops


@pytest.fixture
def ann(console_db) -> User:
    return person("ann", "executor", "requester", "administrator", password=PASSWORD)


@pytest.fixture
def as_ann(monkeypatch):
    """Run a verb as ann, who types her password."""

    def run(*arguments: object, password: str = PASSWORD):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        return memops(*map(str, arguments), "--as", "ann", "--password-stdin")

    return run


def test_a_checklist_shows_items_states_and_evidence_and_fails_until_it_is_closed(rolled_back):
    shown = memops("checklist", str(rolled_back.pk))

    assert shown.code == 1
    assert "not closed: 5 items open" in shown.out
    assert "Applied before: 0001_memory_chunks." in shown.out
    assert " 16  Open" in shown.out
    data = memops("checklist", str(rolled_back.pk), "--json").data["checklist"]
    assert (data["due"], data["closed"], data["open_items"], data["version"]) == (True, False, 5, 1)
    assert data["items"][0]["state"] == "passed"
    assert data["items"][0]["said"][0]["by"] == "memops"


def test_signed_set_aside_closed_and_reopened(rolled_back, as_ann):
    run = rolled_back.pk
    signed = as_ann("sign", run, 16, "--role", "executor", "--note", "all six", "--json")
    assert (signed.code, signed.data["signoff"]["role"]) == (0, "executor")
    assert signed.data["checklist"] == "not closed: 4 items open"
    for number in (17, 18, 21):
        assert as_ann("sign", run, number).code == 0
    refused = as_ann("close", run)
    assert refused.code == 3
    assert "20 (Incident report written)" in refused.err
    assert as_ann("sign", run, 20, "--not-applicable", "nobody noticed").code == 0
    assert as_ann("close", run, "--note", "done").code == 0
    assert memops("checklist", str(run)).code == 0
    reopened = as_ann("reopen", run, 17, "--reason", "they fail again")
    assert reopened.code == 0
    assert "not closed: 1 item open" in reopened.out
    data = memops("checklist", str(run), "--json").data["checklist"]
    assert [one["decision"] for one in data["closings"]] == ["closed", "reopened"]


def test_a_machine_item_is_accepted_with_a_reason_alone(rolled_back, as_ann):
    assert as_ann("reopen", rolled_back.pk, 1, "--reason", "another database").code == 0
    assert as_ann("sign", rolled_back.pk, 1).code == 3
    assert as_ann("sign", rolled_back.pk, 1, "--accept", "").code == 3
    assert as_ann("sign", rolled_back.pk, 1, "--accept", "it is the right one").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("sign", "RUN", "99"), 2, "There is no item 99"),
        (("sign", "RUN", "16", "--role", "DBA"), 3, "not in the group DBA"),
        (("sign", "999", "16"), 2, "There is no run 999"),
        (("sign", "RUN", "16", "--not-applicable", " "), 3, "needs a reason"),
        (("reopen", "RUN", "16", "--reason", "x"), 3, "is open"),
        (("close", "RUN"), 3, "5 required items"),
    ],
)
def test_what_is_refused_says_why_and_changes_nothing(rolled_back, as_ann, arguments, code, said):
    before = rolled_back.signoffs.count()
    ended = as_ann(*(rolled_back.pk if word == "RUN" else word for word in arguments))

    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert rolled_back.signoffs.count() == before


def test_a_wrong_password_signs_nothing(rolled_back, as_ann):
    ended = as_ann("sign", rolled_back.pk, 16, password="wrong")

    assert ended.code == 3
    assert checklists.words(rolled_back) == "not closed: 5 items open"


def test_a_run_without_a_checklist_is_closed_by_its_end(ann):
    run = execute(plan_backup("default"), ann)
    shown = memops("checklist", str(run.pk), "--json")

    assert (shown.code, shown.data["checklist"]) == (0, None)


def test_a_checklist_is_printed_changed_and_published_as_a_file(ann, as_ann, tmp_path):
    printed = memops("checklist-template", "rollback")
    assert "## Restart of the application\n- API servers restarted" in printed.out
    file = tmp_path / "rollback.txt"
    file.write_text(printed.out + "- [role: DBA] Database looked at\n")

    made = as_ann("checklist-template", "rollback", "--import", file, "--note", "with the DBA", "--json")

    assert (made.code, made.data["version"]) == (0, 2)
    newest = ChecklistTemplate.objects.get(kind="rollback", version=2)
    assert newest.items.get(role="DBA").text == "Database looked at"
    assert newest.items_total == 22
    assert memops("checklist-template", "rollback", "--json").data["text"] == file.read_text()
    assert as_ann("checklist-template", "rollback", "--import", file, "--based-on", "1").code == 3


def test_a_file_that_cannot_be_a_checklist_is_bad_usage(ann, as_ann, tmp_path):
    file = tmp_path / "bad.txt"
    file.write_bytes(b"\xff\xfe")
    assert as_ann("checklist-template", "undo", "--import", file).code == 2
    assert as_ann("checklist-template", "undo", "--import", tmp_path / "none.txt").code == 2
    file.write_text("no block")
    refused = as_ann("checklist-template", "undo", "--import", file)
    assert (refused.code, "Line 1" in refused.err) == (2, True)
    assert ChecklistTemplate.objects.filter(kind="undo").count() == 1


def test_runs_say_in_the_history_whether_they_are_closed(rolled_back):
    listed = memops("runs", "--json").data["runs"]

    assert (
        f"not closed: 5 items open: manage.py memops checklist {rolled_back.pk}"
        in memops("run", str(rolled_back.pk)).out
    )
    assert {run["id"]: run["checklist"] for run in listed}[rolled_back.pk] == "not closed: 5 items open"
