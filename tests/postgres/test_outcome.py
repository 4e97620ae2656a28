"""What happened is read from the target: it is known to have happened, known not to have, or not known."""

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from django.db import connections

from memops import sql
from memops.console.errors import ConnectionLost
from memops.console.pg import change, outcome, session
from memops.console.pg.change import Budget, Change, Tell
from project import embedded
from tests.databases import alias_of

KEY = "run 8"
SOON = timedelta(milliseconds=300)
BUDGET = Budget(lock_timeout=timedelta(milliseconds=200), total=timedelta(seconds=10))


class Line:
    """A connection between a client and the server that is cut, once, when ``where`` passes on its way."""

    def __init__(self, folder: Path, server: str, *, where: str) -> None:
        self.folder, self.server, self.where = folder, server, where
        self.is_cut = Event()
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(folder / embedded.SOCKET_NAME))
        self.listening.listen()
        self.ends: list[socket.socket] = []
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._shut(self.listening, *self.ends)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.server)
                self.ends += [client, server]
                Thread(target=self._pass_on, args=[client, server], daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                for end in select.select([client, server], [], [])[0]:
                    data = end.recv(65536)
                    passes = b"COMMIT" in data and self.where == ("the question" if end is client else "the answer")
                    if not data or (passes and not self.is_cut.is_set()):
                        if data:
                            self.is_cut.set()
                        self._shut(client, server)
                        return
                    (server if end is client else client).sendall(data)

    @staticmethod
    def _shut(*sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def cut_at(target: str, settings, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Gives an alias of the target, over a line that is cut when the question to commit passes, or its answer."""
    lines, aliases = [], []

    def cut(where: str) -> str:
        server = embedded.socket_dir(settings.MEMOPS_HOME) / embedded.SOCKET_NAME
        lines.append(Line(tmp_path, str(server), where=where))
        alias = alias_of("cut", NAME=connections[target].settings_dict["NAME"], HOST=str(tmp_path), OPTIONS={})
        aliases.append(alias)
        return alias.__enter__()

    yield cut
    for alias in aliases:
        alias.__exit__(None, None, None)
    for line in lines:
        assert line.is_cut.is_set()
        line.close()


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
    def test_a_commit_whose_answer_was_lost_is_found(self, target, owner, three_rows, cut_at):
        xids: list[str] = []

        done = commit(cut_at("the answer"), xids)

        assert (done.entry.action, done.entry.run_id, done.entry.xid) == ("quarantine", KEY, xids[0])
        assert owner.execute("select to_regclass('public.memory_chunks')").fetchone() == (None,)

    def test_a_commit_that_never_arrived_is_known_not_to_have_happened(self, target, owner, three_rows, cut_at):
        with pytest.raises(ConnectionLost, match="Nothing was changed"):
            commit(cut_at("the question"), [])

        assert owner.execute("select count(*) from public.memory_chunks").fetchone() == (3,)


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
