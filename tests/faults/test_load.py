"""Load: many watch a run, and each of them gets every answer; worker and console stay as small as they were.

How fast it is, `python -m tests.bench load` measures.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest
from django.conf import settings
from django.utils import timezone

from memops import demo
from memops.console import supervisor
from memops.console.audit import anchors
from memops.console.models import Run
from memops.console.pg import claims
from memops.console.runs import history, queue
from memops.console.runs.plan import plan_backup, plan_undo
from memops.console.runs.request import submit
from project import embedded
from tests import console_process, operators
from tests.faults import ground
from tests.postgres.people import person

PEOPLE = 50
ROWS = 2000
RUNS = int(os.environ.get("LOAD_RUNS", "60"))
"""`make test-faults` does 200."""

EVERY = 20
"""Runs between two looks at the worker's processes."""

WARM = 5
"""Runs after which a process has everything imported, and has its pools of memory."""

FIRST_ANSWERS, ANSWERS = 500, 2500
START_PAGES, SESSIONS_OF_A_START_PAGE = 50, 4
WORKER_GROWTH_BYTES, WEB_GROWTH_BYTES = 6 * 2**20, 2 * 2**20
"""What a warm process may grow by: as much as a hundred runs of 60 kB each, or as 2,500 answers of 0.8 kB each, if they
were kept. Nothing is, Python has as many objects as before; but the pools of libc and Python, which several threads
use, were seen to grow by three megabytes in a hundred runs, and by half of one in 2,500 answers."""

SMALL_SERVER = 25
"""Connections of the smallest servers that one can rent."""

WEB = "web of the test"
"""What the console's web process calls its sessions in pg_stat_activity."""

COMMAND = supervisor.web_command("127.0.0.1:8000")
THREADS = int(COMMAND[COMMAND.index("--threads") + 1])
"""Of the web process: each has one session, which it keeps."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a process holds, after so many runs."""

    runs: int
    memory_bytes: int
    descriptors: int
    threads: int


@dataclass
class Sessions:
    """Sessions on the console's database: the most that were there at once, by the name that they give themselves and
    in all."""

    database: str
    most: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    idle: list[int] = field(default_factory=list)

    def look(self) -> Counter[str]:
        with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME)) as server:
            found = server.execute(
                "select application_name, count(*) from pg_stat_activity where datname = %s group by 1", [self.database]
            ).fetchall()
        now = Counter(dict(found))
        self.most |= now
        self.at_once = max(self.at_once, now.total())
        return now

    def opened(self) -> int:
        """How many there have ever been."""
        with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME)) as server:
            found = server.execute("select sessions from pg_stat_database where datname = %s", [self.database])
            [(number,)] = found.fetchall()
        return int(number)


@pytest.fixture
def sessions(console_db) -> Sessions:
    return Sessions(console_db)


@pytest.fixture
def environment_of_web(environment) -> dict[str, str]:
    name = WEB.replace(" ", "%20")
    return environment | {"DATABASE_URL": f"{environment['DATABASE_URL']}&application_name={name}"}


@contextmanager
def worker(environment: Mapping[str, str], log: Path) -> Iterator[psutil.Process]:
    with console_process.worker(environment, log) as child:
        ground.until(queue.worker_is_alive, "the worker is up")
        yield psutil.Process(child.pid)


def load_table(rows: int) -> ground.Before:
    demo.load("default", rows=rows, tenants=4)
    history.notice("default")
    anchors.anchor()
    return ground.look()


def test_fifty_people_watch_a_run_and_each_of_them_gets_every_answer(
    environment, environment_of_web, sessions, tmp_path
):
    before = load_table(ROWS)
    people = [person(f"person {number}", "executor") for number in range(PEOPLE)]
    with console_process.web(environment_of_web, tmp_path / "web.log") as address:
        crowd = operators.come(address, people)
        run = ground.ask_for_rollback()
        with (
            # They are there before the work begins, and see all of it.
            operators.watching(crowd, run.get_absolute_url()) as somebody_waits,
            worker(environment, tmp_path / "worker.log"),
        ):
            for step in ("backup", "verify", "compare"):
                ground.until(lambda step=step: sessions.look() and has_begun(run, step), f"it comes to {step}")
            ground.until(lambda: sessions.look() and is_ended(run), "it ends")
            ground.until(lambda: not somebody_waits(), "everybody sees the end")
        afterwards = [one.ask("/admin/") for one in crowd]

    assert [one.problems for one in crowd if one.problems] == []
    assert {answer.status for one in crowd for answer in one.seen} == {200, operators.STOP_POLLING}
    assert set(operators.words(crowd)) == {"Queued", "Running", "Done"}
    assert [one.seen[-1].body for one in crowd if not {"Running", "Done"} <= set(operators.words([one]))] == []
    logs = {str(step.position): step.log for step in run.steps.all()}
    assert [one.logs for one in crowd if any(one.logs[step] != logs[step] for step in one.read_to_the_end)] == []
    assert all(user.username in answer.body for user, answer in zip(people, afterwards, strict=True))
    assert sessions.most[WEB] <= THREADS
    assert sessions.at_once < SMALL_SERVER
    assert run.state == Run.State.DONE, run.error
    ground.assert_consistent(run, before)


def test_the_queue_is_as_small_after_many_runs_as_after_a_few(environment, sessions, tmp_path):
    load_table(rows=20)
    looks: list[dict[int, Size]] = []
    with worker(environment, tmp_path / "worker.log") as main:
        for number in range(1, RUNS + 1):
            run = ask_for_the_next(number)
            ground.until(lambda run=run: is_ended(run), "the run ends")
            assert run.state == Run.State.DONE, run.error
            if number % EVERY == 0:
                ground.until(lambda: sessions.look().keys() <= {"memops", ""}, "the sessions of the run end")
                done = Counter(
                    int(name.split()[-1]) for name in Run.objects.exclude(worker="").values_list("worker", flat=True)
                )
                processes = [main, *main.children(recursive=True)]
                looks.append({process.pid: size(process, runs=done[process.pid]) for process in processes})
                sessions.idle.append(sessions.look().total())

    last = looks[-1]
    assert looks[0].keys() == last.keys(), "A process was replaced: what it held is not known"
    assert sum(found.runs for found in last.values()) == RUNS
    first = {pid: warm for pid in last if (warm := first_warm([look[pid] for look in looks])) is not None}
    assert grown(first, last, by_bytes=WORKER_GROWTH_BYTES) == []
    assert sum(last[pid].runs - first[pid].runs for pid in first) >= RUNS / 2
    assert sessions.idle[-1] <= sessions.idle[0]


def test_the_console_is_as_small_after_thousands_of_answers_as_after_a_few(environment_of_web, sessions, tmp_path):
    load_table(rows=20)
    with (
        at_work() as run,
        console_process.web(environment_of_web, tmp_path / "web.log") as address,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        [one] = operators.come(address, [person("ann", "executor")])
        page = run.get_absolute_url()
        polled = [page.replace("change/", "live/"), page.replace("change/", "step/1/log/?from=0")]
        pages = [*polled * 10, page, "/admin/memops_console/run/"]

        def ask(times: int) -> dict[int, Size]:
            # The start page looks at the target, with a session of its own.
            asked_for = [*(pages[number % len(pages)] for number in range(times)), *["/admin/"] * START_PAGES]
            assert {answer.status for answer in threads.map(one.ask, asked_for)} == {200}
            sessions.look()
            return {process.pid: size(process) for process in web_processes(address)}

        first, opened = ask(FIRST_ANSWERS), sessions.opened()
        last = ask(ANSWERS)

        assert sessions.opened() - opened < START_PAGES * SESSIONS_OF_A_START_PAGE + ANSWERS / 25
    assert first.keys() == last.keys()
    assert grown(first, last, by_bytes=WEB_GROWTH_BYTES) == []
    assert sessions.most[WEB] <= THREADS


def ask_for_the_next(number: int) -> Run:
    """An emergency rollback, which takes every kind of step, and its undo, by turns."""
    if number % 2:
        return ground.ask_for_rollback(emergency=True)
    plan = plan_undo(Run.objects.filter(kind=Run.Kind.ROLLBACK)[0])
    return submit(plan, requester=ground.ME, reason="it was a drill", seen_digest=plan.digest)


@contextmanager
def at_work() -> Iterator[Run]:
    """A run that a process holds, and whose first step takes as long as the test."""
    plan = plan_backup("default")
    run = submit(plan, requester=ground.ME, reason="it takes long", seen_digest=plan.digest)
    Run.objects.filter(pk=run.pk).update(state="running", claimed_at=timezone.now())
    run.steps.filter(position=1).update(state="running", started_at=timezone.now(), log="12:00:00 It has begun\n" * 100)
    with claims.hold_run("default", run.pk):
        yield run


def web_processes(address: str) -> list[psutil.Process]:
    """gunicorn's main process and its worker, which listen at that address."""
    port = int(address.rpartition(":")[2])
    children = psutil.Process().children(recursive=True)
    return [one for one in children if any(found.laddr.port == port for found in one.net_connections("tcp"))]


def size(process: psutil.Process, *, runs: int = 0) -> Size:
    """Resident memory, and not what is the process's alone: that grows in a forked one whenever it touches a page."""
    memory, descriptors, threads = process.memory_info().rss, process.num_fds(), process.num_threads()
    return Size(runs=runs, memory_bytes=memory, descriptors=descriptors, threads=threads)


def first_warm(looks: list[Size]) -> Size | None:
    """The first look after a few runs; for a process that does no run, the first. None: it came too late to work."""
    return next((look for look in looks if look.runs >= WARM or looks[-1].runs == 0), None)


def grown(first: dict[int, Size], last: dict[int, Size], *, by_bytes: int) -> list[tuple[Size, Size]]:
    """Processes that hold more than they did."""
    return [
        (before, now)
        for before, now in ((first[pid], last[pid]) for pid in first)
        if now.memory_bytes - before.memory_bytes > by_bytes
        or now.descriptors > before.descriptors
        or now.threads > before.threads
    ]


def has_begun(run: Run, step: str) -> bool:
    return run.steps.filter(name=step, started_at__isnull=False).exists()


def is_ended(run: Run) -> bool:
    run.refresh_from_db()
    return run.ended_at is not None
