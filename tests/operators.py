"""People before a run's page: each signed in, each asking once a second for what the page asks for."""

import html
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.test import Client

INTERVAL_SECONDS = 1.0
"""As in templates/memops_console/run/page.html: every 1s."""

LONGEST_ANSWER_SECONDS = 60
STOP_POLLING = 286
LIVE = re.compile(r'hx-get="([^"]+/live/[^"]*)"')
TAIL = re.compile(r'hx-get="([^"]+/step/(\d+)/log/\?from=\d+)"')
MORE = '<span id="log-more-'
WORD = re.compile(r'id="run-state" data-title="([^:]+):')


@dataclass(frozen=True, kw_only=True)
class Answer:
    path: str
    status: int
    body: str
    headers: dict[str, str]
    seconds: float


@dataclass
class Operator:
    """One person, with one browser. A request has a connection of its own, which is more than a browser needs."""

    address: str
    session: str
    seen: list[Answer] = field(default_factory=list)
    """Every answer to a poll."""
    problems: list[str] = field(default_factory=list)
    """What a person would not have got an answer to."""
    logs: dict[str, str] = field(default_factory=dict)
    """What has come of each step's log, by its position."""
    read_to_the_end: set[str] = field(default_factory=set)

    @property
    def polls(self) -> list[Answer]:
        """Answers with the fragment of a run that is open. The last one, with the checklist in it, is no such."""
        return [answer for answer in self.seen if "/live/" in answer.path and answer.status != STOP_POLLING]

    def ask(self, path: str) -> Answer:
        """Raises OSError, HTTPException."""
        connection = HTTPConnection(urlsplit(self.address).netloc, timeout=LONGEST_ANSWER_SECONDS)
        began = time.perf_counter()
        try:
            connection.request("GET", path, headers={"Cookie": f"sessionid={self.session}"})
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        took = time.perf_counter() - began
        return Answer(path=path, status=answer.status, body=body, headers=dict(answer.headers), seconds=took)

    def watch(self, page: str, over: threading.Event) -> None:
        """What the page does until the run has ended, or until it is ``over``."""
        live, tails = "", dict[str, str]()
        while not over.is_set():
            began = time.monotonic()
            try:
                if not live:
                    live = self._open(page)
                if live:
                    live = self._poll(live, tails)
            except (OSError, HTTPException) as error:
                self.problems.append(repr(error))
            if not live:
                return
            over.wait(max(0.0, INTERVAL_SECONDS - (time.monotonic() - began)))

    def _open(self, page: str) -> str:
        answer = self.ask(page)
        self.seen.append(answer)
        found = LIVE.search(answer.body)
        return found[1] if found else ""

    def _poll(self, live: str, tails: dict[str, str]) -> str:
        answer = self.ask(live)
        self.seen.append(answer)
        if answer.status == STOP_POLLING or answer.headers.get("HX-Refresh"):
            return ""
        for path, step in TAIL.findall(answer.body):
            tails.setdefault(step, path)
        for step, path in [*tails.items()]:
            more = self.ask(path)
            self.seen.append(more)
            self.logs[step] = self.logs.get(step, "") + html.unescape(more.body.partition(MORE)[0])
            if found := TAIL.search(more.body):
                tails[step] = found[1]
            else:
                self.read_to_the_end.add(step)
                del tails[step]
        return live


def come(address: str, people: Sequence[User]) -> list[Operator]:
    """Sign people in, each with a session in the console's database."""
    crowd = []
    for person in people:
        client = Client()
        client.force_login(person)
        crowd.append(Operator(address=address, session=client.cookies["sessionid"].value))
    return crowd


@contextmanager
def watching(crowd: Sequence[Operator], page: str) -> Iterator[Callable[[], bool]]:
    """All of them, each in a thread, who come one after the other. Gives what tells whether somebody still waits for
    the end of the run; the end of the block sends everybody home."""
    over = threading.Event()
    threads = [threading.Thread(target=one.watch, args=[page, over], daemon=True) for one in crowd]
    for thread in threads:
        thread.start()
        time.sleep(INTERVAL_SECONDS / len(threads))
    try:
        yield lambda: any(thread.is_alive() for thread in threads)
    finally:
        over.set()
        for thread in threads:
            thread.join(LONGEST_ANSWER_SECONDS)


def words(crowd: Sequence[Operator]) -> Counter[str]:
    """What they have read of the run's state, and how often."""
    return Counter(word for one in crowd for answer in one.seen for word in WORD.findall(answer.body))
