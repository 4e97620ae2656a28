"""Worker and web in the foreground: restarted when they die, told about, and none left behind at the end."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from memops.console import errors, supervisor

CLONE = Path(__file__).resolve().parent.parent.parent

# Two programs that start a child each and write both pids into a folder; then whatever the test wants.
SUPERVISE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
from memops.console import errors, supervisor
folder = sys.argv[1]
program = "sleep 60 & echo $$ $! >> {{}}; {ending}"
files = {{name: os.path.join(folder, name) for name in ("one", "two")}}
programs = [supervisor.Program(name=name, argv=["sh", "-c", program.format(file)]) for name, file in files.items()]
ready = lambda: all(os.path.exists(file) for file in files.values())
try:
    supervisor.supervise(programs, is_ready={ready}, banner="all ready", announce=lambda line: print(line, flush=True))
except errors.ProgramKeepsEnding as error:
    print(error)
    sys.exit(1)
"""

UP = """
import sys
import django
django.setup()
from memops.console import errors, supervisor
try:
    supervisor.run_in_foreground(
        bind=sys.argv[1], demo_banner="demo is up", announce=lambda line: print(line, flush=True)
    )
except errors.PortInUse as error:
    sys.exit(str(error))
"""


def is_running(pid):
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def eventually(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def pids_in(file, *, at_least=2):
    """Of a program and what it has started, as soon as both have been written down."""
    until = time.monotonic() + 20
    while len(file.read_text().split()) < at_least and time.monotonic() < until:
        time.sleep(0.02)
    return [int(pid) for pid in file.read_text().split()]


def descendants(pid):
    """Every process that this one, or a process that it started, has started."""
    return [process.pid for process in psutil.Process(pid).children(recursive=True)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def supervised(tmp_path):
    """Start a supervisor of two small programs; whatever happens, it ends with the test."""
    started = []

    def start(ending="wait", ready="ready"):
        code = SUPERVISE.format(ending=ending, ready=ready)
        arguments = [sys.executable, "-c", code, str(tmp_path)]
        started.append(subprocess.Popen(arguments, cwd=CLONE, stdout=subprocess.PIPE, text=True))
        return started[0]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("asking", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_programs_and_what_they_started(supervised, tmp_path, asking):
    process = supervised()
    assert process.stdout.readline() == "all ready\n"
    pids = pids_in(tmp_path / "one") + pids_in(tmp_path / "two")
    assert len(pids) == 4

    process.send_signal(asking)

    assert process.wait(20) == 0
    assert process.stdout.readline().startswith("Stopping.")
    eventually(lambda: not any(map(is_running, pids)))


def test_a_second_ctrl_c_does_not_wait_for_a_program_that_does_not_end(supervised, tmp_path):
    process = supervised(ending="trap '' TERM; while true; do sleep 1; done")
    assert process.stdout.readline() == "all ready\n"
    began = time.monotonic()

    process.send_signal(signal.SIGINT)
    assert process.stdout.readline().startswith("Stopping.")
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 0
    assert time.monotonic() - began < supervisor.GRACE.total_seconds() / 2
    eventually(lambda: not any(map(is_running, pids_in(tmp_path / "one"))))


def test_a_program_that_dies_is_started_again_and_that_is_said(supervised, tmp_path):
    process = supervised()
    assert process.stdout.readline() == "all ready\n"
    first = pids_in(tmp_path / "one")

    os.kill(first[0], signal.SIGKILL)

    assert process.stdout.readline() == "The one has ended (killed by SIGKILL). It is started again in 0.5 s.\n"
    eventually(lambda: len(pids_in(tmp_path / "one")) == 4)
    eventually(lambda: not is_running(first[1]))
    assert all(map(is_running, pids_in(tmp_path / "one")[2:] + pids_in(tmp_path / "two")))


def test_a_program_that_cannot_work_stops_everything_with_what_it_said(supervised, tmp_path):
    process = supervised(ending="echo no such table >&2; exit 7", ready="lambda: False")

    output, _ = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "ended 3 times before everything was ready, the last time with exit code 7" in output
    assert "It said: no such table" in output
    eventually(lambda: not any(map(is_running, pids_in(tmp_path / "one") + pids_in(tmp_path / "two"))))


def test_a_killed_supervisor_takes_its_programs_along(supervised, tmp_path):
    process = supervised(ending="trap 'kill $!; exit' TERM; wait")
    assert process.stdout.readline() == "all ready\n"

    process.kill()

    eventually(lambda: not any(map(is_running, pids_in(tmp_path / "one") + pids_in(tmp_path / "two"))))


def test_a_taken_port_is_an_error_that_says_what_to_do():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        bind = f"127.0.0.1:{listener.getsockname()[1]}"

        with pytest.raises(errors.PortInUse, match=f"cannot listen on {bind}: address already in use.*MEMOPS_BIND"):
            supervisor.run_in_foreground(bind=bind, demo_banner=None, announce=print)


def worker_processes(pid):
    """The cluster first, then its sentinel, and the processes of that."""
    return [child for child in descendants(pid) if b"qcluster" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_worker_and_web_come_up_survive_a_crash_and_leave_nothing_behind(environment):
    bind = f"127.0.0.1:{free_port()}"
    arguments = [sys.executable, "-c", UP, bind]
    with subprocess.Popen(arguments, cwd=CLONE, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "demo is up\n"
            assert supervisor.answers(bind)
            eventually(lambda: len(worker_processes(process.pid)) >= 4)
            worker = worker_processes(process.pid)

            os.kill(worker[0], signal.SIGKILL)

            assert process.stdout.readline().startswith("The worker has ended (killed by SIGKILL).")
            eventually(lambda: not any(map(is_running, worker)))
            eventually(lambda: len(descendants(process.pid)) >= 6)
            everything = descendants(process.pid)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
    eventually(lambda: not any(map(is_running, everything)))
