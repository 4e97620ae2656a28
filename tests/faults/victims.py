"""What is killed or ended while a run is at work; each says whether there was something to hit."""

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import psycopg
from django.conf import settings
from django.db import connections

from project import embedded
from tests.environment import CLONE
from tests.faults import ground


def the_process(executor, chance: random.Random) -> bool:
    return executor.kill()


def its_program(executor, chance: random.Random) -> bool:
    """pg_dump or pg_restore, where one is at work; it is the process's business to notice."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(executor.pid).children(recursive=True):
            child.kill()
            return True
    return False


def a_session(executor, chance: random.Random) -> bool:
    pids = backends()
    return bool(pids) and terminate_backend(chance.choice(pids))


def every_session(executor, chance: random.Random) -> bool:
    ended = [terminate_backend(pid) for pid in backends()]
    return any(ended)


def a_backend(executor, chance: random.Random) -> bool:
    """The server takes it for a crash, ends every session, and recovers."""
    pids = backends()
    try:
        pid = chance.choice(pids)
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, IndexError):
        return False
    # Until the server has noticed, it answers as if nothing had happened.
    ground.until(lambda: not psutil.pid_exists(pid), "the server notices the death of its process")
    wait_for_server()
    return True


def the_server(executor, chance: random.Random) -> bool:
    """Every process of it at once, as when the machine loses power; then it is started again."""
    connections.close_all()
    postmaster = psutil.Process(int((embedded.pgdata(settings.MEMOPS_HOME) / "postmaster.pid").read_text().split()[0]))
    for process in [postmaster, *postmaster.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs([postmaster], timeout=ground.PATIENCE_SECONDS)
    # By a process of its own: this one believes that it runs.
    start = "import sys; from pathlib import Path; from project import embedded; embedded.start(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", start, str(settings.MEMOPS_HOME)], cwd=CLONE, check=True)
    wait_for_server()
    return True


def backends(*, application_name: str = "%") -> list[int]:
    """The server's processes that work for the console's database, none of them for this process."""
    connections.close_all()
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME)) as server:
        found = server.execute(
            "select pid from pg_stat_activity where datname = %s and application_name like %s",
            [connections.databases[ground.TARGET]["NAME"], application_name],
        ).fetchall()
    return [pid for (pid,) in found]


def terminate_backend(pid: int) -> bool:
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME), autocommit=True) as server:
        answer = server.execute("select pg_terminate_backend(%s)", [pid]).fetchone()
    return answer == (True,)


def wait_for_server() -> None:
    connections.close_all()
    ground.until(_server_answers, "the server is back")


def _server_answers() -> bool:
    try:
        psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME)).close()
    except psycopg.OperationalError:
        return False
    return True
