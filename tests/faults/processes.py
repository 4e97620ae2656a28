"""The console's own processes for a test: real workers and web servers, on the database that is ``default`` now."""

import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connections

from memops.console import supervisor
from memops.console.children import Child, start
from project import embedded
from tests import console_process
from tests.environment import CLONE
from tests.faults import ground


def environment(settings_module: str, **more: str) -> dict[str, str]:
    """Database, keys and folders of the test itself."""
    of_the_test = console_process.environment_of(connections.databases["default"]["NAME"])
    return of_the_test | {"DJANGO_SETTINGS_MODULE": settings_module} | more


def url_of(database: str) -> str:
    return embedded.url(settings.MEMOPS_HOME, database=database)


class Worker:
    """A real ``qcluster`` that is not as it should be; see ``strange_settings``."""

    def __init__(self, child: Child, folder: Path) -> None:
        self.child, self._folder = child, folder

    def has_said(self, what: str) -> bool:
        said = self._folder / "says"
        return said.exists() and what in said.read_text().splitlines()

    def go_on(self) -> None:
        (self._folder / "go on").touch()

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    @property
    def complaints(self) -> list[str]:
        return [line for line in self.log.splitlines() if re.search(r"\[(warning|error|critical) |Traceback", line)]

    @property
    def processes(self) -> list[psutil.Process]:
        """The main process, and those that it has started; the sentinel is the first of these."""
        main = psutil.Process(self.child.pid)
        return [main, *main.children(recursive=True)]

    def kill(self) -> None:
        """Every process of it at once."""
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.child.wait()


@contextmanager
def worker(
    place: Path, *, pause_at: str = "", strange: Mapping[str, Any] | None = None, **more: str
) -> Iterator[Worker]:
    """``place`` gets a folder for what it says; ``more`` goes into its environment."""
    folder = Path(tempfile.mkdtemp(prefix="worker ", dir=place))
    told = {"PAUSE_AT": pause_at, "SAYS": str(folder / "says"), "GO_ON": str(folder / "go on")}
    told |= {"STRANGE": json.dumps(strange or {})} | more
    with console_process.worker(environment("tests.faults.strange_settings", **told), folder / "log") as child:
        yield Worker(child, folder)


class Web:
    """A real gunicorn under the supervisor; see ``paused_web_settings``."""

    def __init__(self, supervisor: Child, address: str, folder: Path) -> None:
        self.address, self._supervisor, self._folder = address, supervisor, folder

    def pause_at(self, place: str) -> None:
        (self._folder / "says").unlink(missing_ok=True)
        (self._folder / "pause at").write_text(place)

    def has_said(self, place: str) -> bool:
        said = self._folder / "says"
        return said.exists() and place in said.read_text().splitlines()

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    @property
    def main(self) -> psutil.Process:
        [main] = psutil.Process(self._supervisor.pid).children()
        return main

    @property
    def server(self) -> psutil.Process:
        """The process that answers; the main one starts another when it ends."""
        [server] = self.main.children()
        return server

    def answers(self) -> bool:
        return supervisor.answers(self.address.removeprefix("http://"))


@contextmanager
def web(place: Path) -> Iterator[Web]:
    folder = Path(tempfile.mkdtemp(prefix="web ", dir=place))
    bind = f"127.0.0.1:{console_process.free_port()}"
    told = {"PAUSE_AT": str(folder / "pause at"), "SAYS": str(folder / "says"), "MEMOPS_BIND": bind}
    with (
        (folder / "log").open("ab") as log,
        start(
            [sys.executable, "-m", "tests.faults.supervised_web", bind],
            env=environment("tests.faults.paused_web_settings", **told),
            cwd=CLONE,
            stderr_copy=log,
            when_orphaned=signal.SIGTERM,
        ) as child,
    ):
        web = Web(child, f"http://{bind}", folder)
        ground.until(web.answers, "the web server answers")
        yield web
        child.terminate()
        child.wait()


def memops(*arguments: str) -> subprocess.CompletedProcess[str]:
    return manage("memops", *arguments)


def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command line of ``manage.py``, in a process of its own."""
    return subprocess.run(
        [sys.executable, str(CLONE / "manage.py"), *arguments],
        env=environment("project.settings"),
        cwd=CLONE,
        capture_output=True,
        text=True,
        check=False,
        timeout=ground.PATIENCE_SECONDS,
    )
