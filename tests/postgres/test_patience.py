"""A server that is there for TCP and says nothing is not waited for; one that is at work is, however long it takes.
One that has vanished is noticed by TCP."""

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from memops import sql
from memops.console.errors import TargetLost, TargetUnreachable
from memops.console.pg import change, restore, scratch, session
from memops.console.pg.change import Budget, Tell
from project.environment import CONNECTION
from tests.faults.line import COMMIT, DUMP, RESTORE, RUN, Line
from tests.postgres.conftest import until

SOON = timedelta(seconds=1)

SLOW_INDEX = """
create function public.slow(text) returns text immutable language plpgsql set search_path = pg_catalog as $$
begin
    if current_database() like 'memops\\_scratch\\_%' then perform pg_sleep(1); end if;
    return $1;
end $$;
create index slow on public.memory_chunks (public.slow(doc_id));
"""

LIMIT_SECONDS = CONNECTION["keepalives_idle"]
KEEPALIVE = 2
"""What the kernel calls a timer of a connection that will ask the other end whether it is still there."""


class TestQuestion:
    def test_that_is_not_answered_is_given_up_and_no_session_is_left(self, distant, owner, line):
        told = 'The connection to the target "distant" was lost: the server was silent'
        with pytest.raises(TargetLost, match=told), session.connect(distant, patience=SOON) as connection:
            pid = connection.info.backend_pid
            line.stall()
            connection.execute("select 1")

        until(lambda: not owner.execute("select from pg_stat_activity where pid = %s", [pid]).fetchall())

    def test_that_is_answered_bit_by_bit_may_take_longer(self, distant):
        with session.connect(distant, patience=2 * SOON) as connection:
            rows = connection.execute(
                "select repeat('x', 10000) from generate_series(1, 10) n, lateral pg_sleep(0.3 + 0 * n)"
            ).fetchall()

        assert len(rows) == 10

    def test_to_a_server_that_never_greets_is_given_up(self, distant, line):
        line.fall_silent()

        with pytest.raises(TargetUnreachable, match="no answer within 2 s"), session.connect(distant):
            pass


class TestLongWork:
    def test_is_waited_for_as_long_as_the_server_is_at_it(self, distant):
        with session.connect(distant, application_name="builds", patience=SOON, works_long=True) as connection:
            assert connection.execute("select 1 from pg_sleep(3)").fetchall() == [(1,)]

    def test_whose_answer_was_lost_is_given_up(self, distant, line):
        with (
            pytest.raises(TargetLost, match="silent"),
            session.connect(distant, application_name="builds", patience=SOON, works_long=True) as connection,
        ):
            line.stall()
            connection.execute("select 1")

    def test_of_a_server_that_is_silent_to_everybody_is_given_up(self, distant, line):
        with (
            pytest.raises(TargetLost, match="silent"),
            session.connect(distant, application_name="builds", patience=SOON, works_long=True) as connection,
        ):
            line.fall_silent()
            connection.execute("select 1 from pg_sleep(60)")

    def test_on_an_index_that_is_restored_does_not_end_the_proof(self, target, owner, three_rows, backup, settings):
        owner.execute(SLOW_INDEX)
        settings.MEMOPS_PATIENCE = SOON
        dumped = backup(target)

        proved = prove(target, dumped)

        assert proved.fingerprint == dumped.fingerprint
        assert proved.restoring > 3 * SOON


class TestVanishedServer:
    def test_is_noticed_by_every_kind_of_connection(self, distant, three_rows, backup, line):
        """The kernel has a timer for each that is not longer than what the settings say."""
        watched: dict[str, int] = {}

        def watch(name: str) -> None:
            until(
                lambda: all(
                    kind == KEEPALIVE and to_go <= CONNECTION["keepalives_idle"] for kind, to_go in timers(line)
                )
            )
            watched[name] = len(timers(line))

        line.when(*DUMP, at="answer", then=lambda: watch("dump"))
        dumped = backup(distant)
        line.when(*RESTORE, at="answer", then=lambda: watch("restore"))
        prove(distant, dumped)
        line.when(RUN, COMMIT, at="question", then=lambda: watch("change"))
        take_away(distant)

        assert watched.keys() == {"dump", "restore", "change"}
        assert min(watched.values()) >= 2

    def test_is_noticed_while_something_is_on_its_way_to_it(self, distant):
        with (
            session.connect(distant) as connection,
            socket.socket(fileno=socket.dup(connection.fileno())) as ours,
        ):
            limit = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

        assert limit == CONNECTION["tcp_user_timeout"]

    def test_notices_that_we_have_vanished_as_well(self, target):
        with session.connect(target) as connection:
            answer = connection.execute(
                "select name from pg_settings where source = 'session' and name ~ '^(tcp|client_conn)' order by 1"
            ).fetchall()

        assert [name for (name,) in answer] == [
            "client_connection_check_interval",
            "tcp_keepalives_count",
            "tcp_keepalives_idle",
            "tcp_keepalives_interval",
            "tcp_user_timeout",
        ]


def prove(alias: str, dumped) -> restore.Verified:
    return restore.verify(
        path=dumped.path,
        manifest=dumped.manifest,
        alias=alias,
        scratch_place=scratch.place(alias),
        progress=lambda done, total: None,
    )


def take_away(alias: str) -> None:
    def work(connection) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql.down())

    change.commit_within_budget(
        alias,
        work,
        key="run 8",
        relation_oid=None,
        budget=Budget(lock_timeout=timedelta(milliseconds=200), total=timedelta(seconds=10)),
        tell=Tell(line=lambda text: None, xid=lambda xid: None),
    )


def timers(line: Line) -> list[tuple[int, float]]:
    """What the kernel waits for on each connection of the line's clients: the kind of timer, and how many seconds."""
    port = f":{int(line.address['PORT']):04X}"
    found = []
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, state, _, timer, *_ = row.split()
        if remote.endswith(port) and state == "01":
            kind, to_go = timer.split(":")
            found.append((int(kind), int(to_go, 16) / 100))
    return found
