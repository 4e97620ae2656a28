"""The verbs, in this process, on a database of the test's own: what they print, and how they end."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest
from django.core.management import call_command
from django.db import connections

from memops import demo
from memops.console.models import Run
from memops.console.runs.plan import plan_backup, plan_rollback
from memops.console.runs.request import Requester, submit


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def data(self):
        return json.loads(self.out)


def memops(*arguments: str) -> Ended:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            call_command("memops", *arguments)
        except SystemExit as ending:
            code = ending.code
    return Ended(code, out.getvalue(), err.getvalue())


@pytest.fixture
def default(console_db: str) -> str:
    demo.load("default", rows=40, tenants=3)
    return "default"


def count(alias: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute("select count(*) from public.memory_chunks")
        return cursor.fetchone()[0]


def test_a_rollback_and_its_undo_show_their_steps_and_proof(default):
    done = memops("rollback", "--confirm", "default", "--reason", "INC-1")

    assert done.code == 0
    assert "No worker is alive: this command does the work itself." in done.out
    assert "7/7 Compare the quarantined table with the backup: done" in done.out
    assert "FAILED" not in done.out
    run = Run.objects.get(kind="rollback")
    assert f"memops undo {run.pk}" in done.out
    assert (run.reason, run.origin) == ("INC-1", "command")

    undone = memops("undo", str(run.pk), "--confirm", "default", "--reason", "INC-1 over")

    assert undone.code == 0
    assert count(default) == 40


def test_json_is_one_object_on_standard_output_with_everything_that_counts(default):
    ended = memops("rollback", "--emergency", "--confirm", "default", "--reason", "INC-2", "--json")

    run = ended.data["run"]
    assert ended.data["memops"] == 1
    assert (run["state"], run["outcome"], run["emergency"]) == ("done", "quarantined", True)
    assert run["quarantined_table"]["rows"] == 40
    assert run["backups"][0]["state"] == "verified"
    assert all(check["ok"] for check in run["checks"])
    assert [step["name"] for step in run["steps"]][2] == "reverse"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--reason", "x"],
        ["--confirm", "default"],
        ["--confirm", "Default", "--reason", "x"],
        ["--confirm", "production", "--reason", "x"],
        ["--target", "nowhere", "--confirm", "nowhere", "--reason", "x"],
    ],
)
def test_without_the_targets_name_and_a_reason_nothing_is_started(default, arguments):
    refused = memops("rollback", *arguments)

    assert refused.code == 2
    assert "othing was" in refused.err
    assert not Run.objects.filter(kind="rollback").exists()


def test_a_blank_reason_is_refused_by_rule(default):
    assert memops("rollback", "--confirm", "default", "--reason", "  ").code == 3


def test_a_plan_that_would_be_refused_says_so_by_its_exit_code(default):
    with connections[default].cursor() as cursor:
        cursor.execute("create view public.newest as select * from public.memory_chunks")

    planned = memops("plan", "rollback")
    refused = memops("rollback", "--confirm", "default", "--reason", "x")

    assert planned.code == refused.code == 3
    assert "newest" in planned.out
    assert "newest" in refused.err
    assert memops("plan", "rollback", "--json").data["possible"] is False
    assert count(default) == 40


def test_status_tells_the_state_and_fails_where_it_is_inconsistent(default):
    assert memops("status").code == 0
    assert memops("status", "--json").data["targets"][0]["table"]["rows"] == 40

    with connections[default].cursor() as cursor:
        cursor.execute("delete from django_migrations where app = 'memops'")
    inconsistent = memops("status")

    assert inconsistent.code == 1
    assert "inconsistent" in inconsistent.out


def test_a_detached_run_waits_for_a_worker_and_can_be_cancelled(default):
    queued = memops("rollback", "--confirm", "default", "--reason", "x", "--detach", "--json").data["run"]

    assert queued["state"] == "queued"
    assert memops("run", str(queued["id"])).code == 0
    assert memops("backup").code == 3
    cancelled = memops("cancel", str(queued["id"]), "--json")
    assert (cancelled.code, cancelled.data["run"]["state"]) == (0, "cancelled")
    assert memops("cancel", str(queued["id"])).code == 3


def test_a_backup_can_be_made_proved_again_and_found_in_the_history(default):
    made = memops("backup", "--json").data["run"]
    proved = memops("verify-backup", str(made["backups"][0]["id"]), "--json")

    assert (made["outcome"], proved.data["run"]["outcome"]) == ("backed up", "verified")
    listed = [run["id"] for run in memops("runs", "--json").data["runs"]]
    assert listed.index(proved.data["run"]["id"]) < listed.index(made["id"])


def test_a_quarantined_table_can_be_backed_up_by_name(default):
    table = memops("rollback", "--emergency", "--confirm", "default", "--reason", "x", "--json").data["run"][
        "quarantined_table"
    ]

    assert memops("backup", "--quarantined", table["name"]).code == 0
    assert memops("backup", "--quarantined", "memory_chunks_of_nobody").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "999"],
        ["run", "9223372036854775807"],
        ["undo", "999", "--confirm", "default", "--reason", "x"],
        ["cancel", "999"],
        ["verify-backup", "999"],
        ["status", "--target", "../../etc"],
        ["runs", "--target", "'; --"],
        ["seed", "--target", "nowhere"],
    ],
)
def test_what_does_not_exist_is_bad_usage(default, arguments):
    refused = memops(*arguments)

    assert refused.code == 2
    assert "Nothing was changed" in refused.err


def test_an_undo_of_something_else_than_a_rollback_is_refused(default):
    backup = memops("backup", "--json").data["run"]

    refused = memops("undo", str(backup["id"]), "--confirm", "default", "--reason", "x")

    assert refused.code == 3
    assert "no table in quarantine" in refused.err


def test_reconcile_settles_a_lost_run_and_frees_the_target(default):
    plan = plan_rollback(default)
    run = submit(plan, requester=Requester(name="x", origin=Run.Origin.COMMAND), reason="x", seen_digest=plan.digest)
    Run.objects.filter(pk=run.pk).update(state="running")
    assert memops("status").code == 1

    settled = memops("reconcile", "--json")

    assert (settled.code, settled.data["settled"][0]["state"]) == (0, "interrupted")
    assert memops("run", str(run.pk)).code == 4
    assert plan_backup(default).is_possible
    assert memops("backup").code == 0


def test_seed_adds_rows_only_where_it_is_sure_that_it_may(default, target):
    assert memops("seed", "--rows", "10", "--tenants", "2").code == 0
    assert count(default) == 50

    assert memops("seed", "--rows", "10", "--target", target).code == 2
    assert memops("seed", "--rows", "10", "--target", target, "--confirm", target).code == 0
    assert count(target) == 10
