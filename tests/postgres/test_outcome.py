"""What happened is read from the target: it is known to have happened, known not to have, or not known."""

from datetime import timedelta
from threading import Event, Thread

import pytest

from memops import sql
from memops.console.errors import ConnectionLost, OutcomeUnknown
from memops.console.pg import change, outcome, session
from memops.console.pg.change import Budget, Change, Tell
from tests.databases import alias_of
from tests.faults.line import COMMIT, RUN

KEY = "run 8"
SOON = timedelta(milliseconds=300)
BUDGET = Budget(lock_timeout=timedelta(milliseconds=200), total=timedelta(seconds=10))


def take_away(connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.down())


def commit(alias: str, xids: list[str]) -> Change:
    return change.commit_within_budget(
        alias,
        take_away,
        key=KEY,
        relation_oid=None,
        budget=BUDGET,
        tell=Tell(line=lambda text: None, xid=xids.append),
    )


class TestLostConnection:
    def test_a_commit_whose_answer_was_lost_is_found(self, distant, owner, three_rows, line):
        line.when(RUN, COMMIT, at="answer", then=line.interrupt)
        xids: list[str] = []

        done = commit(distant, xids)

        assert line.has_happened.is_set()
        assert (done.entry.action, done.entry.run_id, done.entry.xid) == ("quarantine", KEY, xids[0])
        assert owner.execute("select to_regclass('public.memory_chunks')").fetchone() == (None,)

    def test_a_commit_that_never_arrived_is_known_not_to_have_happened(self, distant, owner, three_rows, line):
        line.when(RUN, COMMIT, at="question", then=line.interrupt)

        with pytest.raises(ConnectionLost, match="Nothing was changed"):
            commit(distant, [])

        assert line.has_happened.is_set()
        assert owner.execute("select count(*) from public.memory_chunks").fetchone() == (3,)


class TestSilentServer:
    """TCP finds both ends alive, and nothing arrives any more."""

    @pytest.fixture(autouse=True)
    def impatient(self, settings) -> None:
        settings.MEMOPS_PATIENCE = timedelta(seconds=2)

    def test_it_is_hung_up_on_and_a_commit_that_it_has_answered_is_found(self, distant, owner, three_rows, line):
        line.when(RUN, COMMIT, at="answer", then=line.stall)

        done = commit(distant, [])

        assert line.has_happened.is_set()
        assert (done.entry.action, done.entry.run_id) == ("quarantine", KEY)
        assert owner.execute("select to_regclass('public.memory_chunks')").fetchone() == (None,)

    @pytest.mark.parametrize("last", [RUN, COMMIT], ids=["at the first question", "at the last"])
    def test_it_is_hung_up_on_and_a_commit_that_never_arrived_is_known(self, distant, owner, three_rows, line, last):
        line.when(last, at="question", then=line.stall)

        with pytest.raises(ConnectionLost, match="Nothing was changed"):
            commit(distant, [])

        assert line.has_happened.is_set()
        assert owner.execute("select count(*) from public.memory_chunks").fetchone() == (3,)

    def test_as_long_as_it_stays_silent_nothing_is_known(self, distant, owner, three_rows, line):
        line.when(RUN, COMMIT, at="answer", then=line.fall_silent)

        with pytest.raises(OutcomeUnknown, match="memops reconcile"):
            commit(distant, [])

        assert owner.execute("select to_regclass('public.memory_chunks')").fetchone() == (None,)


class TestRead:
    def test_a_committed_change_is_known_by_its_journal_entry(self, target, owner):
        with owner.transaction():
            owner.execute("select set_config('memops.run_id', %s, true)", [KEY])
            owner.execute(sql.down())
            xid = owner.execute("select pg_current_xact_id()::text").fetchone()[0]

        found = outcome.read(target, key=KEY, xid=xid)

        assert found.known
        assert (found.entry.action, found.entry.xid) == ("drop", xid)

    def test_another_runs_change_is_not_taken_for_it(self, target, owner):
        with owner.transaction():
            owner.execute("set local memops.run_id = 'run 9'")
            owner.execute(sql.down())

        assert outcome.read(target, key=KEY, xid="") == outcome.Outcome(entry=None, known=True)

    def test_an_aborted_change_is_known_not_to_have_happened(self, target, owner):
        with owner.transaction(force_rollback=True):
            xid = owner.execute("select pg_current_xact_id()::text").fetchone()[0]

        assert outcome.read(target, key=KEY, xid=xid) == outcome.Outcome(entry=None, known=True)

    def test_another_database_proves_nothing_by_not_having_heard_of_it(self, target):
        identity = "another server/16384"

        found = outcome.read(target, key=KEY, xid="", server=identity, patience=SOON)

        assert found == outcome.Outcome(entry=None, known=False)

    def test_a_change_that_goes_on_is_not_known(self, target, owner):
        with owner.transaction(force_rollback=True):
            xid = owner.execute("select pg_current_xact_id()::text").fetchone()[0]

            assert outcome.read(target, key=KEY, xid=xid, patience=SOON) == outcome.Outcome(entry=None, known=False)

    def test_a_change_that_ends_while_it_is_waited_for_is_known(self, target, owner):
        with owner.transaction():
            owner.execute("select set_config('memops.run_id', %s, true)", [KEY])
            owner.execute(sql.down())
            xid = owner.execute("select pg_current_xact_id()::text").fetchone()[0]
            answers: list[outcome.Outcome] = []
            reader = Thread(target=lambda: answers.append(outcome.read(target, key=KEY, xid=xid)))
            reader.start()
            reader.join(timeout=0.5)
            assert answers == []
        reader.join()

        assert answers[0].known
        assert answers[0].entry.xid == xid

    def test_of_a_target_that_does_not_answer_nothing_is_known(self, target):
        with alias_of("away", HOST="/nowhere") as alias:
            assert outcome.read(alias, key=KEY, xid="7", patience=SOON) == outcome.Outcome(entry=None, known=False)

    def test_a_session_that_is_ended_while_it_reads_is_not_taken_for_an_answer(self, target, owner, dba):
        """The journal is locked until the reader waits for it, and is ended; the next look gets the answer."""
        ended = Event()

        def end() -> None:
            waiting = (
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database()"
                " and application_name = 'memops reads an outcome' and wait_event_type = 'Lock'"
            )
            while not dba.execute(waiting).fetchall():
                pass
            ended.set()
            owner.rollback()

        owner.autocommit = False
        owner.execute("lock table memops_quarantine.journal in access exclusive mode")
        thread = Thread(target=end)
        thread.start()
        try:
            found = outcome.read(target, key=KEY, xid="")
        finally:
            thread.join()

        assert ended.is_set()
        assert found == outcome.Outcome(entry=None, known=True)

    def test_without_a_journal_nothing_was_changed(self, target):
        with session.connect(target) as connection:
            connection.execute("drop schema memops_quarantine cascade")

        assert outcome.read(target, key=KEY, xid="") == outcome.Outcome(entry=None, known=True)
