"""Other programs: how they end is known, what they said last is kept, and none outlives its parent."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from memops.console import children

CLONE = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CLONE)}
SECOND = timedelta(seconds=1)

PARENT = """
import os, sys, threading, time
from memops.console import children

def begin():
    child = children.start([sys.executable, "-c", "import time; time.sleep(60)"], env=dict(os.environ))
    print(child.pid, flush=True)
    {ending}

{call}
time.sleep(60)
"""


def python(code, **options):
    return children.start([sys.executable, "-c", code], **{"env": ENVIRONMENT, **options})


def is_running(pid):
    """A zombie is not running, but it is not gone either: see ``exists``."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def exists(pid):
    return Path(f"/proc/{pid}").exists()


def eventually(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_exit_code_is_known(code):
    with python(f"raise SystemExit({code})") as child:
        ended = child.wait()

    assert (ended.returncode, ended.signal, ended.well) == (code, None, code == 0)


def test_the_signal_that_ended_it_has_its_name():
    with python("import os; os.kill(os.getpid(), 15)") as child:
        ended = child.wait()

    assert (ended.returncode, ended.signal, str(ended)) == (None, "SIGTERM", "killed by SIGTERM")


def test_what_goes_in_comes_out():
    with children.start(["cat"], env=ENVIRONMENT, stdin=children.PIPE, stdout=children.PIPE) as child:
        child.stdin.write(b"memories")
        child.stdin.close()

        assert child.stdout.read() == b"memories"
        assert child.wait().well


def test_without_a_pipe_there_is_nothing_to_read_and_nowhere_to_write():
    with python("import sys; print('lost'); sys.exit(len(sys.stdin.read()))") as child:
        assert child.wait(10 * SECOND).well


def test_only_the_given_environment_arrives(monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c row_security=on")

    with python("import os; print(sorted(os.environ))", stdout=children.PIPE) as child:
        assert b"PGOPTIONS" not in child.stdout.read()


def test_the_last_8_kib_of_its_errors_are_kept_and_a_flood_does_not_stop_it():
    flood = "import sys; sys.stderr.write('x' * 1_000_000 + 'the end\\n')"

    with python(flood) as child:
        ended = child.wait(20 * SECOND)

    assert ended.well
    assert ended.stderr.endswith("xthe end")
    assert len(ended.stderr) == children.STDERR_TAIL_BYTES - 1


def test_its_errors_are_copied_as_they_come():
    copy = io.BytesIO()

    with python("import sys; sys.stderr.write('not UTF-8: ' + chr(0xdcff))", stderr_copy=copy) as child:
        child.wait()

    assert copy.getvalue() != b""


def test_errors_that_are_no_text_are_kept_readable():
    with python("import os; os.write(2, b'bad \\xff byte')") as child:
        assert child.wait().stderr == "bad \N{REPLACEMENT CHARACTER} byte"


def test_a_wait_that_is_too_long_leaves_it_running():
    with python("import time; time.sleep(60)") as child:
        with pytest.raises(TimeoutError, match="python"):
            child.wait(timedelta(milliseconds=100))

        assert child.poll() is None
        assert is_running(child.pid)


def test_leaving_the_block_ends_it_and_leaves_no_zombie():
    with python("import time; time.sleep(60)") as child:
        pass

    assert not exists(child.pid)
    assert child.wait().signal == "SIGKILL"


def test_leaving_the_block_ends_what_it_started_itself(tmp_path):
    with children.start(["sh", "-c", "sleep 60 & echo $!; wait"], env=ENVIRONMENT, stdout=children.PIPE) as child:
        grandchild = int(child.stdout.readline())
        assert is_running(grandchild)

    eventually(lambda: not is_running(grandchild))


def test_what_it_leaves_behind_ends_with_it():
    with children.start(["sh", "-c", "sleep 60 & echo $!"], env=ENVIRONMENT, stdout=children.PIPE) as child:
        grandchild = int(child.stdout.readline())
        assert child.wait(10 * SECOND).well

        eventually(lambda: not is_running(grandchild))


def test_unread_input_of_an_ended_child_is_no_error():
    with children.start(["true"], env=ENVIRONMENT, stdin=children.PIPE) as child:
        child.wait()
        child.stdin.write(b"too late")


def test_a_program_that_is_not_there_is_an_error_at_once():
    with pytest.raises(FileNotFoundError):
        children.start(["/nowhere/pg_dump"], env=ENVIRONMENT)


@pytest.mark.parametrize("call", ["begin()", "threading.Thread(target=begin).start()"])
def test_a_killed_parent_takes_its_child_along(call):
    code = PARENT.format(call=call, ending="time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=ENVIRONMENT) as parent:
        child = int(parent.stdout.readline())
        assert is_running(child)

        parent.send_signal(signal.SIGKILL)

        eventually(lambda: not is_running(child))


def test_a_parent_that_exits_takes_its_child_along():
    code = PARENT.format(call="begin()", ending="sys.exit()")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=ENVIRONMENT) as parent:
        child = int(parent.stdout.readline())
        assert parent.wait(10) == 0

        eventually(lambda: not is_running(child))


def test_a_child_outlives_the_thread_that_started_it():
    started = []
    thread = threading.Thread(target=lambda: started.append(python("import time; time.sleep(60)")))
    thread.start()
    thread.join()

    with started[0] as child:
        time.sleep(0.2)
        assert child.poll() is None


def start_one_in_a_fork(answers):
    with python("raise SystemExit(7)") as child:
        answers.put(child.wait(10 * SECOND).returncode)


def test_a_forked_worker_starts_children_too():
    with python("pass") as child:  # The forking thread is running when the fork happens.
        child.wait()
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    worker = fork.Process(target=start_one_in_a_fork, args=[answers])

    worker.start()

    assert answers.get(timeout=10) == 7
    worker.join(10)
    assert worker.exitcode == 0


def test_many_threads_may_start_children_at_once():
    ended = []

    def one(number):
        with python(f"raise SystemExit({number})") as child:
            ended.append(child.wait().returncode)

    threads = [threading.Thread(target=one, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ended) == list(range(8))


def test_one_thread_may_kill_what_another_waits_for():
    ended = []
    with python("import time; time.sleep(60)") as child:
        waiting = threading.Thread(target=lambda: ended.append(child.wait()))
        waiting.start()

        child.kill()

        waiting.join(10)
    assert [one.signal for one in ended] == ["SIGKILL"]


def test_a_child_may_be_asked_to_end():
    with children.start(["sleep", "60"], env=ENVIRONMENT) as child:
        child.terminate()

        assert child.wait(10 * SECOND).signal == "SIGTERM"
        child.terminate()
