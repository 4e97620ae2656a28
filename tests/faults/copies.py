"""Physical copies of the server of the tests, as a standby is one: same files, same identity, and running."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.conf import settings

from project import embedded
from tests.faults import ground

numbers = itertools.count(1)

SWITCHES = 2
"""Each to another file of 16 MB, of which a copy writes less than one when it is started."""


class Copy:
    """A running server of its own, below the home of the one it was copied from."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @property
    def socket(self) -> Path:
        return embedded.socket_dir(self.home) / embedded.SOCKET_NAME

    @property
    def address(self) -> dict[str, str]:
        """The settings of a database alias that leads to it."""
        return {"HOST": str(self.socket.parent), "PORT": ""}

    def catch_up(self) -> None:
        """Come as far as the server is now."""
        with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME)) as server:
            answer = server.execute("select pg_current_wal_lsn()::text").fetchone()
        assert answer is not None
        ground.until(
            lambda: self._say("select pg_last_wal_replay_lsn() >= %s::pg_lsn", *answer), "the standby catches up"
        )

    def stand_still(self) -> None:
        """Follow no more."""
        self._say("select pg_wal_replay_pause()")

    def go_on(self) -> None:
        self._say("select pg_wal_replay_resume()")

    def promote(self) -> None:
        assert self._say("select pg_promote()")

    def _say(self, question: str, *parameters: str) -> object:
        with psycopg.connect(embedded.superuser_url(self.home), autocommit=True) as server:
            answer = server.execute(question, parameters).fetchone()
        return answer and answer[0]


@contextmanager
def copied(*, is_standby: bool) -> Iterator[Copy]:
    """A standby that follows the server; or a copy that was simply started, as one of a virtual machine is."""
    home = Path(settings.MEMOPS_HOME) / f"copy_{os.getpid()}_{next(numbers)}"
    data = embedded.pgdata(home)
    home.mkdir(mode=0o711)
    try:
        bin_dir = embedded.bin_dir(embedded.MAJOR)
        assert bin_dir is not None
        source = embedded.superuser_url(settings.MEMOPS_HOME)
        subprocess.run(
            [bin_dir / "pg_basebackup", f"--dbname={source}", f"--pgdata={data}", "--checkpoint=fast", "--no-sync"]
            + ["--write-recovery-conf"] * is_standby,
            check=True,
        )
        # What lies there of the server that runs: the copy has its own socket.
        (data / f"{embedded.SOCKET_NAME}.lock").unlink(missing_ok=True)
        if os.geteuid() == 0:
            for path in (data, *data.rglob("*")):
                shutil.chown(path, embedded.SYSTEM_USER, embedded.SYSTEM_USER)
        embedded.start(home)
        yield Copy(home)
    finally:
        embedded.stop(home)
        shutil.rmtree(home)


def leave_behind() -> None:
    """Let the server come further than copies that do not follow it."""
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME), autocommit=True) as server:
        for _ in range(SWITCHES):
            server.execute("select pg_logical_emit_message(false, 'tests', 'x')")
            server.execute("select pg_switch_wal()")
