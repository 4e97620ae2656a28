"""Somebody holds the table: the run waits within its budget, holds up nobody, and names who is in the way."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from threading import Thread

import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connections

from memops import sql
from memops.console.models import Run
from memops.console.pg import session
from memops.console.runs import history
from project import embedded
from tests import holders
from tests.databases import fresh_database
from tests.environment import CLONE
from tests.faults import beside, ground

TRY = timedelta(milliseconds=100)
BUDGET = timedelta(seconds=4)


@pytest.fixture
def short_budget(settings) -> None:
    settings.MEMOPS_LOCK_TIMEOUT, settings.MEMOPS_LOCK_BUDGET = TRY, BUDGET


@pytest.fixture
def long_budget(settings) -> None:
    """A slow machine does not spend it before the test has let go of the table."""
    settings.MEMOPS_LOCK_BUDGET = timedelta(minutes=5)


@contextmanager
def superuser() -> Iterator[psycopg.Connection]:
    name = connections["default"].settings_dict["NAME"]
    with psycopg.connect(embedded.superuser_url(django_settings.MEMOPS_HOME, name), autocommit=True) as connection:
        yield connection


def let_go_when_tried(run: Run, other: holders.Other, *, times: int) -> None:
    """Let go of the table while the run tries for the third time, say: it stores each try's transaction beforehand."""
    tries: set[str] = set()

    def has_tried() -> bool:
        run.refresh_from_db()
        tries.add(run.xid)
        return len(tries - {""}) >= times

    ground.until(has_tried, f"try {times}")
    other.rollback()


@pytest.mark.parametrize("kind", ["idle transaction", "long reader", "prepared transaction"])
def test_who_is_in_the_way_until_the_end_is_named_without_the_query_while_readers_go_on_reading(
    console, fault, short_budget, kind
):
    with console() as before, fault(f"lock: {kind}"):
        with ExitStack() as held:
            hold = holders.active if kind == "long reader" else holders.idle
            other = held.enter_context(hold("default", application_name="nightly report"))
            named = f"pid {other.pid} of memops_owner ('nightly report'), "
            named += "active, for " if kind == "long reader" else "idle in transaction, for "
            reads = held.enter_context(beside.readers())
            run = ground.ask_for_rollback(emergency=True)
            with beside.at_work(run, other):
                if kind == "prepared transaction":
                    other.execute("prepare transaction 'left behind'")
                    named = "prepared transaction 'left behind' of memops_owner, for "
        if kind == "prepared transaction":
            with superuser() as dba:
                dba.execute("rollback prepared 'left behind'")

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert named in run.error
        assert "Nothing was changed" in run.error
        assert holders.SECRET not in beside.everything_said(run)
        assert [error for one in reads for error in one.errors] == []
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_an_autovacuum_is_not_in_the_way(console, fault, short_budget):
    with console(), fault("lock: running autovacuum"), superuser() as dba:
        with holders.busy_autovacuum(dba):
            ground.until(lambda: holders.autovacuums(dba), "an autovacuum works on the table")
            before = ground.look()
            run = ground.ask_for_rollback(emergency=True)

            beside.carry_out(run)

        assert (run.state, run.outcome) == ("done", "quarantined"), run.error
        dba.close()
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_a_table_that_is_free_at_the_third_try_is_taken_then(console, fault, long_budget, settings):
    settings.MEMOPS_LOCK_TIMEOUT = timedelta(seconds=1)
    with console() as before, fault("lock released on the third try"):
        with holders.idle("default") as other:
            run = ground.ask_for_rollback(emergency=True)
            with beside.at_work(run, other):
                let_go_when_tried(run, other, times=3)

        assert (run.state, run.outcome) == ("done", "quarantined"), run.error
        tries = run.saw("reverse")["tries"]
        assert tries >= 3
        said = beside.log_of(run)
        assert f"Try 1: the table is in use by pid {other.pid} of memops_owner ('reporting')" in said
        assert f" ms at try {tries}: the table is now memops_quarantine." in said
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


# A second runner


@pytest.fixture
def other_console(template_database, tmp_path, settings) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Begins the rollback of the present console's target as another console does, with records of its own."""
    begun: list[subprocess.Popen[str]] = []
    with ExitStack() as databases:

        def roll_back() -> subprocess.Popen[str]:
            name, home = databases.enter_context(fresh_database(template_database)), settings.MEMOPS_HOME
            target = embedded.url(home, database=connections["default"].settings_dict["NAME"])
            environment = {
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "DATABASE_URL": embedded.url(home, database=name),
                "MEMOPS_TARGETS": f"shared={target}",
                "MEMOPS_HOME": str(home),
                "MEMOPS_BACKUP_DIR": str(tmp_path / name),
                "MEMOPS_ANCHORS": str(tmp_path / f"{name}.jsonl"),
                "MEMOPS_APPROVALS": "*/*=0",
                "MEMOPS_SECOND_FACTOR": "off",
                "MEMOPS_PG_BIN": str(embedded.bin_dir(embedded.MAJOR)),
                "MEMOPS_LOCK_BUDGET_SECONDS": "300",
            }
            asked = ["rollback", "--emergency", "--target", "shared", "--confirm", "shared", "--reason", "x", "--json"]
            command = [sys.executable, str(CLONE / "manage.py"), "memops", *asked]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            begun.append(subprocess.Popen(command, env=environment, cwd=CLONE, **pipes))
            return begun[-1]

        yield roll_back
        for process in begun:
            process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, Run]:
    """The exit code, and the run as it was printed."""
    said, errors = process.communicate(timeout=ground.PATIENCE_SECONDS)
    assert said, errors
    return process.returncode, json.loads(said)["run"]


def test_while_a_run_is_at_work_another_consoles_is_refused(console, fault, long_budget, other_console):
    with console() as before, fault("second runner: another console"):
        with holders.idle("default") as other:
            run = ground.ask_for_rollback(emergency=True)
            with beside.at_work(run, other):
                code, refused = ended(other_console())
                other.rollback()

        assert (code, refused["state"], refused["outcome"]) == (3, "refused", "nothing")
        assert "Another process works on the target" in refused["error"]
        assert (run.state, run.outcome) == ("done", "quarantined"), run.error
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_of_two_other_consoles_at_once_one_moves_the_table_and_ours_can_undo_it(console, fault, other_console):
    with console() as before, fault("second runner: two consoles at once"):
        with holders.idle("default") as other:
            both = [other_console(), other_console()]
            ground.until(lambda: any(process.poll() is not None for process in both), "one of them gives up")
            other.rollback()

        outcomes = sorted((code, run["state"], run["outcome"]) for code, run in map(ended, both))

        assert outcomes == [(0, "done", "quarantined"), (3, "refused", "nothing")]
        assert ground.is_quarantined(before)
        [noticed] = [run for run in history.notice("default") if run.kind == "rollback"]
        assert "another memops console" in noticed.reason
        ground.assert_the_way_back(before)


def by_hand() -> None:
    with psycopg.connect(**session.libpq_params("default"), autocommit=True) as connection:
        connection.execute(sql.rollback_by_hand())


@pytest.mark.parametrize("by", ["bare migrate memops zero", "pasted SQL"])
def test_what_is_done_by_hand_beside_a_run_moves_the_table_once(console, fault, executor, long_budget, by):
    with console() as before, fault(f"second runner: {by}"):
        with holders.idle("default") as other:
            run = ground.ask_for_rollback(emergency=True)
            with beside.at_work(run, other):
                hand = Thread(target=by_hand)
                if by == "pasted SQL":
                    hand.start()
                else:
                    executor.begin("migrate memops zero")
                ground.until(waits_for_the_table, "somebody waits behind the one who holds the table")
                other.rollback()
        if by == "pasted SQL":
            hand.join()
        else:
            assert executor.end() == "0"

        moved = [run.outcome, *(noticed.outcome for noticed in history.notice("default"))]
        assert sorted(moved) in (["nothing", "quarantined"], ["quarantined"])
        assert run.state == ("done" if run.outcome == "quarantined" else "refused"), run.error
        assert ground.is_quarantined(before)
        ground.assert_the_way_back(before)


def waits_for_the_table() -> bool:
    """For longer than a try of the run does, which gives up the lock in between: it is somebody else."""
    with superuser() as dba:
        waiting = (
            "select from pg_locks where not granted and relation = 'public.memory_chunks'::regclass"
            " and clock_timestamp() - waitstart > %s"
        )
        return bool(dba.execute(waiting, [2 * django_settings.MEMOPS_LOCK_TIMEOUT]).fetchall())


def test_a_table_that_somebody_took_away_by_hand_before_the_run_could_is_told(console, fault, long_budget):
    with console() as before, fault("second runner: was first"):
        with holders.idle("default") as other:
            run = ground.ask_for_rollback(emergency=True)
            with beside.at_work(run, other):
                other.execute(f"{sql.down()} {sql.forget_history()}")
                other.commit()

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert "somebody else took the table away" in run.error
        [noticed] = history.notice("default")
        assert (noticed.origin, noticed.outcome) == ("by hand", "quarantined")
        assert ground.is_quarantined(before)
        ground.assert_the_way_back(before)
