"""Does a long history slow anything down, and do many who watch slow the work down?

Every page and verb with a thousand runs and a million audit events behind it, beside the same with five runs. And a
backup that nobody watches, one person, and fifty: how long it takes, and how long they wait for each answer.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from memops.console import children
from memops.console.audit import anchors, configuration
from memops.console.models import Run
from memops.console.runs.plan import plan_backup, plan_rollback, plan_undo
from tests import console_process, databases, operators
from tests.bench import figures, ground, rollbacks
from tests.environment import CLONE
from tests.postgres.people import person

ROWS = (5_000,)
"""Of the table whose backup is watched."""

ROUNDS = 5
LONG, SHORT = (1_000, 1_000_000), (5, 200)
"""Runs and events."""

WATCHERS = (0, 1, 50)


def run(sizes: tuple[int, ...], rounds: int) -> None:
    _compare_histories(rounds)
    for rows in sizes:
        _compare_watchers(rows, rounds)


@dataclass(kw_only=True)
class Console:
    """A copy of a console, with one who may see everything."""

    database: str
    anchors: Path
    client: Client
    last: Run
    """The newest guided rollback that is done."""

    @contextmanager
    def chosen(self) -> Iterator[None]:
        usual = settings.MEMOPS_ANCHORS
        with databases.default_database(self.database):
            settings.MEMOPS_ANCHORS = self.anchors
            try:
                yield
            finally:
                settings.MEMOPS_ANCHORS = usual


def _compare_histories(rounds: int) -> None:
    took = defaultdict[tuple[str, str], list[float]](list)
    with ExitStack() as stack:
        consoles = {
            name: stack.enter_context(_console(name, ground.lived_in(runs=runs, events=events)))
            for name, (runs, events) in (("long", LONG), ("short", SHORT))
        }
        for number in range(-1, rounds):
            for name, console in consoles.items() if number % 2 else reversed(consoles.items()):
                with console.chosen():
                    for what, act in _acts(console).items():
                        seconds = _timed(act)
                        if number >= 0:  # The first round reads the pages from the disk, and compiles the templates.
                            took[what, name].append(seconds)

    figures.heading(f"{LONG[0]:,} runs and {LONG[1]:,} events, beside {SHORT[0]} runs (goal for a page: 300 ms)")
    for what in dict.fromkeys(what for what, _ in took):
        long, short = took[what, "long"], took[what, "short"]
        figures.line(f"{what}: long", figures.spread([1000 * one for one in long], "ms", 0))
        figures.line(f"{what}: short", figures.spread([1000 * one for one in short], "ms", 0))
        figures.line(f"{what}: long / short", figures.spread(figures.ratios(long, short)))


@contextmanager
def _console(name: str, template: str) -> Iterator[Console]:
    kept = settings.MEMOPS_HOME / f"{name}.jsonl"
    with ground.copy_of(template) as database:
        settings.MEMOPS_ANCHORS.rename(kept)
        client = Client(SERVER_NAME="localhost")
        client.force_login(User.objects.create_superuser("olga"))
        last = Run.objects.filter(kind=Run.Kind.ROLLBACK, emergency=False, state=Run.State.DONE).first()
        assert last is not None
        yield Console(database=database, anchors=kept, client=client, last=last)
    kept.unlink(missing_ok=True)


def _acts(console: Console) -> dict[str, Callable[[], object]]:
    """What a person does at night, by name."""
    runs, trail = "/admin/memops_console/run/", "/admin/memops_console/auditevent/"
    one, day = f"{runs}{console.last.pk}/", f"{datetime.now(UTC) - timedelta(days=183):%Y-%m-%d}"
    pages = {
        "start page": "/admin/",
        "history": runs,
        "history, words": f"{runs}?q=recall",
        "page of a run": f"{one}change/",
        "its live fragment": f"{one}live/",
        "audit, newest": trail,
        "audit, by actor": f"{trail}?actor=person-1",
        "audit, by run": f"{trail}?run={console.last.pk}",
        "audit, by words that nobody wrote": f"{trail}?words=nowhere",
        "audit, a day half a year ago": f"{trail}?since={day}&until={day}",
    }
    verbs = {
        "memops status": ["status"],
        "memops runs": ["runs"],
        "memops run": ["run", str(console.last.pk)],
        "memops audit verify": ["audit", "verify"],
    }
    return {
        **{what: partial(_get, console.client, page) for what, page in pages.items()},
        **{what: partial(_call, console, arguments) for what, arguments in verbs.items()},
        "the gate before a run": _gate,
        "an emergency rollback": lambda: rollbacks.done(plan_rollback("default", emergency=True)),
        "its undo": lambda: rollbacks.done(plan_undo(Run.objects.filter(kind=Run.Kind.ROLLBACK)[0])),
    }


def _get(client: Client, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code in (200, operators.STOP_POLLING), answer.status_code


def _call(console: Console, arguments: list[str]) -> None:
    """A process of its own, as at a shell."""
    argv = [sys.executable, "manage.py", "memops", *arguments]
    environment = rollbacks.environment(console.database) | {"MEMOPS_ANCHORS": str(console.anchors)}
    with children.start(argv, env=environment, cwd=CLONE) as verb:
        assert (ended := verb.wait()).returncode in (0, 1), ended.stderr


def _gate() -> None:
    """As in a process that has not met this console yet."""
    configuration._noticed.clear()
    configuration.notice()
    anchors.demand_unbroken()


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _compare_watchers(rows: int, rounds: int) -> None:
    template = ground.filled(rows)
    backup, waited = defaultdict[int, list[float]](list), defaultdict[int, list[list[float]]](list)
    for number in range(rounds):
        for watchers in WATCHERS if number % 2 else reversed(WATCHERS):
            with ground.copy_of(template) as database:
                run, crowd = _watched_backup(database, watchers)
                assert run.took is not None
                backup[watchers].append(run.took.total_seconds())
                waited[watchers].append([answer.seconds * 1000 for one in crowd for answer in one.polls])

    few, many = WATCHERS[1:]
    figures.heading(f"A backup of {rows:,} rows that people watch")
    for watchers in WATCHERS:
        figures.line(f"it takes, watched by {watchers}", figures.spread(backup[watchers], "s"))
        if watchers:
            figures.line(
                f"watched by {watchers} / by nobody", figures.spread(figures.ratios(backup[watchers], backup[0]))
            )
    for watchers in (few, many):
        every = [one for answers in waited[watchers] for one in answers]
        figures.line(f"an answer to {watchers} ({len(every):,} of them)", figures.spread(every, "ms", 0))
    middle = {watchers: [statistics.median(answers) for answers in waited[watchers]] for watchers in (few, many)}
    figures.line(f"the middle answer to {many} / to {few}", figures.spread(figures.ratios(middle[many], middle[few])))


def _watched_backup(database: str, watchers: int) -> tuple[Run, list[operators.Operator]]:
    """By a process that is ready; the web server is there in any case."""
    environment = rollbacks.environment(database) | {"MEMOPS_SECOND_FACTOR": "off"}
    people = [person(f"person {number}", "executor") for number in range(watchers)]
    with (
        console_process.web(environment, settings.MEMOPS_HOME / "web.log") as address,
        rollbacks.ready_process(database) as execute,
    ):
        crowd = operators.come(address, people)
        run = rollbacks.requested(plan_backup("default"))
        with operators.watching(crowd, run.get_absolute_url()) as somebody_waits:
            execute(run)
            rollbacks.wait_for(lambda: Run.objects.filter(pk=run.pk, state=Run.State.DONE).exists())
            rollbacks.wait_for(lambda: not somebody_waits())
    run.refresh_from_db()
    assert [one.problems for one in crowd if one.problems] == []
    return run, crowd
