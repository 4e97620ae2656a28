"""The command line beside a real worker process: who does the work, and what becomes of it when somebody dies."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import psutil
import psycopg
import pytest

from memops import demo
from memops.console.models import Run
from memops.console.pg import session
from memops.console.runs import history, queue, reconcile
from memops.console.runs.plan import plan_rollback, plan_undo
from memops.console.runs.request import Requester, submit
from tests import console_process
from tests.environment import CLONE
from tests.prints import print_of

ME = Requester(name="on-call", origin=Run.Origin.COMMAND)
PATIENCE_SECONDS = 60


@pytest.fixture
def default(console_db: str) -> str:
    demo.load("default", rows=200, tenants=5)
    history.notice("default")
    return "default"


@pytest.fixture
def worker(default: str, environment, tmp_path) -> Iterator[None]:
    with console_process.worker(environment, tmp_path / "worker.log"):
        until(queue.worker_is_alive)
        yield


@pytest.fixture
def memops(manage, environment) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*manage, "memops", *arguments], env=environment, cwd=CLONE, capture_output=True, text=True, check=False
        )

    return run


def until(happens: Callable[[], object]) -> None:
    """Wait for something that other processes do."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happens():
        assert time.monotonic() < deadline, "It did not happen in time"
        time.sleep(0.1)


@contextmanager
def table_in_use() -> Iterator[None]:
    """Somebody's idle transaction holds the table: a rollback waits for it, within its budget."""
    with psycopg.connect(**session.libpq_params("default")) as connection:
        connection.execute("select count(*) from public.memory_chunks")
        yield
        connection.rollback()


def ask(plan) -> Run:
    return submit(plan, requester=ME, reason="x", seen_digest=plan.digest)


def is_reversing(run: Run) -> bool:
    return run.steps.filter(name="reverse", state="running").exists()


def test_a_rollback_and_its_undo_by_a_worker_leave_every_row_as_it_was(worker, memops):
    before = print_of()

    done = memops("rollback", "--confirm", "default", "--reason", "INC-1", "--json")

    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    assert run["quarantined_table"]["fingerprint"] == before
    assert print_of(f"memops_quarantine.{run['quarantined_table']['name']}") == before
    assert str(os.getpid()) not in Run.objects.get(pk=run["id"]).worker

    undone = memops("undo", str(run["id"]), "--confirm", "default", "--reason", "INC-1 over")

    assert undone.returncode == 0, undone.stderr
    assert "No worker is alive" not in undone.stdout
    assert print_of() == before


def test_without_a_worker_the_command_does_the_work_and_says_so(default, memops):
    done = memops("rollback", "--emergency", "--confirm", "default", "--reason", "x")

    assert done.returncode == 0, done.stderr
    assert "No worker is alive: this command does the work itself." in done.stdout


def test_work_goes_on_when_whoever_read_its_output_has_gone(default, manage, environment):
    command = subprocess.Popen(
        [*manage, "memops", "rollback", "--confirm", "default", "--reason", "x"],
        env=environment,
        cwd=CLONE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    command.stdout.readline()
    command.stdout.close()

    told = command.stderr.read()
    command.stderr.close()

    assert (command.wait(PATIENCE_SECONDS), told) == (0, "")
    assert Run.objects.get(kind="rollback").state == "done"


def test_a_worker_that_is_killed_is_seen_at_once_and_the_target_tells_what_it_did(default, environment, tmp_path):
    with table_in_use():
        with console_process.worker(environment, tmp_path / "worker.log") as child:
            run = ask(plan_rollback(default, emergency=True))
            until(lambda: is_reversing(run))
            for process in psutil.Process(child.pid).children(recursive=True):
                process.kill()
            child.kill()
        run.refresh_from_db()
        until(lambda: reconcile.is_lost(run))

    [settled] = reconcile.reconcile(requester=ME)

    assert (settled.run.state, settled.run.outcome) == ("interrupted", "nothing")
    assert print_of().startswith("fp1-md5:200:")
    assert plan_rollback(default).is_possible


def test_a_command_that_is_interrupted_leaves_an_interrupted_run_and_no_process(default, manage, environment):
    with table_in_use():
        command = subprocess.Popen(
            [*manage, "memops", "rollback", "--emergency", "--confirm", "default", "--reason", "x"],
            env=environment,
            cwd=CLONE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Tests that are started in the background of a shell ignore it, and so would whatever they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        until(lambda: (run := Run.objects.filter(kind="rollback").first()) and is_reversing(run))
        command.send_signal(signal.SIGINT)
        said, _ = command.communicate(timeout=PATIENCE_SECONDS)

    run = Run.objects.get(kind="rollback")
    assert command.returncode == 4, said
    assert "Traceback" not in said
    assert (run.state, run.outcome) == ("interrupted", "nothing")
    assert print_of().startswith("fp1-md5:200:")


def test_a_detached_run_is_done_by_the_worker_that_comes_later(default, memops, environment, tmp_path):
    queued = json.loads(memops("backup", "--detach", "--json").stdout)["run"]

    with console_process.worker(environment, tmp_path / "worker.log"):
        followed = memops("run", str(queued["id"]), "--follow")

    assert followed.returncode == 0, followed.stderr
    assert "Verified backup made" in followed.stdout


def test_up_serves_the_console_and_leaves_no_process_behind(default, manage, environment):
    bind = f"127.0.0.1:{console_process.free_port()}"
    command = subprocess.Popen(
        [*manage, "memops", "up", "--bind", bind],
        env=environment,
        cwd=CLONE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert command.stdout is not None
    said = next(line for line in command.stdout if bind in line)
    started = psutil.Process(command.pid).children(recursive=True)
    with urlopen(f"http://{bind}/admin/login/") as page:
        assert "memops" in page.read().decode()
    until(queue.worker_is_alive)
    run = ask(plan_undo(ask_and_wait(plan_rollback(default, emergency=True))))
    until(lambda: Run.objects.filter(pk=run.pk, state="done").exists())

    command.send_signal(signal.SIGINT)
    command.wait(timeout=PATIENCE_SECONDS)

    assert re.search(r"http://", said)
    assert command.returncode == 0
    assert [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []


def ask_and_wait(plan) -> Run:
    run = ask(plan)
    until(lambda: Run.objects.filter(pk=run.pk, state="done").exists())
    return Run.objects.get(pk=run.pk)


def test_a_port_that_is_taken_is_told_before_anything_is_started(default, memops):
    with console_process.socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        refused = memops("up", "--bind", f"127.0.0.1:{taken.getsockname()[1]}")

    assert refused.returncode == 3
    assert "Traceback" not in refused.stderr
