"""Where the console itself keeps things, disks fill up and folders vanish, too: a run says what became of it."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from memops.console.audit import anchors
from memops.console.errors import ChainBroken
from memops.console.models import AuditEvent, Run
from memops.console.runs.plan import plan_undo
from memops.console.runs.request import submit
from tests.environment import CLONE
from tests.faults import ground, processes
from tests.faults.disturbed import (
    BACKUP,
    GUIDED,
    PLANS,
    assert_the_same_succeeds,
    execute,
    when,
)
from tests.limits import largest_file

ADVANCE = """
import sys, django
django.setup()
from memops.console.runs.advance import advance
advance(int(sys.argv[1]))
"""


@contextmanager
def disk_that_is_full_in_the_end() -> Iterator[None]:
    """Full when the last step has ended: what is written then is the anchor of the audit trail."""

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    with largest_file(resource.getrlimit(resource.RLIMIT_FSIZE)[0]), when("verify after", fill):
        yield


def anchors_failed() -> int:
    return AuditEvent.objects.filter(action="audit.anchor_failed").count()


def test_an_anchor_that_finds_no_room_holds_up_neither_its_run_nor_the_next(console, fault):
    with console() as before:
        for number, kept in enumerate(("the first one", "after others"), 1):
            written = settings.MEMOPS_ANCHORS.read_bytes() if kept == "after others" else b""
            with fault(f"full disk of the anchors: {kept}"):
                with disk_that_is_full_in_the_end():
                    run = execute(PLANS[BACKUP]())

                assert (run.state, run.outcome, run.error) == ("done", "backed up", "")
                assert anchors_failed() == number
                ground.assert_consistent(run, before, outcome="backed up")
                assert_the_same_succeeds(BACKUP, before)
                now = settings.MEMOPS_ANCHORS.read_bytes()
                assert now.startswith(written)
                assert len(now) > len(written)


def test_anchors_that_vanish_during_a_run_are_missed_by_the_next_and_not_begun_anew(console, fault):
    """Otherwise whoever cuts the trail would only have to wait for a run that begins another file."""
    with console() as before, fault("vanished folder of the anchors"):
        file = settings.MEMOPS_ANCHORS = settings.MEMOPS_ANCHORS.parent / "kept elsewhere" / "anchors.jsonl"
        assert_the_same_succeeds(BACKUP, before)
        with when("verify before", lambda: shutil.rmtree(file.parent)):
            run = execute(PLANS[GUIDED]())

        assert (run.state, run.outcome) == ("done", "quarantined")
        assert anchors_failed() == 1
        assert not file.exists()
        with pytest.raises(ChainBroken, match=r"anchors\.jsonl is empty or gone.*memops audit accept"):
            execute(plan_undo(run))
        anchors.accept(reason="the disk was replaced", actor="on-call")
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def advance_in_a_process(run: Run, environment: Mapping[str, str], *, log: Path) -> int:
    with log.open("ab") as said:
        done = subprocess.run(
            [sys.executable, "-c", ADVANCE, str(run.pk)], cwd=CLONE, env=environment, stdout=said, stderr=said
        )
    run.refresh_from_db()
    return done.returncode


def test_a_log_that_cannot_be_written_holds_up_nothing(console, fault):
    plan = PLANS[GUIDED]
    with console() as before, fault("full disk of the log"):
        made = plan()
        run = submit(made, requester=ground.ME, reason="the log is full", seen_digest=made.digest)

        code = advance_in_a_process(run, processes.environment("project.settings"), log=Path("/dev/full"))

        assert (run.state, run.outcome, run.error) == ("done", "quarantined", "")
        assert code in (0, 120)  # Python says so itself, if its last words could not be written.
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_variables_of_libpq_that_a_url_outdoes_change_nothing(console, fault, tmp_path):
    """Those that would change something are refused at the start: tests/unit/test_settings.py."""
    hostile = {
        "PGHOST": "/nowhere", "PGPORT": "1", "PGUSER": "nobody", "PGDATABASE": "template1", "PGAPPNAME": "pg_dump",
        "PGCLIENTENCODING": "LATIN1", "PGCONNECT_TIMEOUT": "1", "PGTZ": "Asia/Tokyo",
        "PGGEQO": "off", "PGDATA": "/nowhere", "PGSYSCONFDIR": "/nowhere",
    }  # fmt: skip
    plan = PLANS[GUIDED]
    with console() as before, fault("PG* variables in the environment"):
        made = plan()
        run = submit(made, requester=ground.ME, reason="a shell full of variables", seen_digest=made.digest)

        code = advance_in_a_process(run, processes.environment("project.settings", **hostile), log=tmp_path / "log")

        assert code == 0, (tmp_path / "log").read_text()
        assert (run.state, run.outcome, run.error) == ("done", "quarantined", "")
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)
