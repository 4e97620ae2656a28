"""A console as users have it: a worker and a web server, started as ``memops up`` starts them, and a browser for it."""

import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from memops.console import children, supervisor
from project import embedded

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",  # Chromium refuses to be sandboxed as root, which tests in a container are.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LONGEST_START_SECONDS = 60


def environment_of(database: str) -> dict[str, str]:
    """The environment in which ``manage.py`` works on this database, and on the present keys and folders."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    return {
        **inherited,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "MEMOPS_HOME": str(settings.MEMOPS_HOME),
        "MEMOPS_BACKUP_DIR": str(settings.MEMOPS_BACKUP_DIR),
        "MEMOPS_ANCHORS": str(settings.MEMOPS_ANCHORS),
        "MEMOPS_APPROVALS": "*/*=0",
        "MEMOPS_SECOND_FACTOR": "off",
        "MEMOPS_PG_BIN": str(embedded.bin_dir(embedded.MAJOR)),
        "DATABASE_URL": embedded.url(settings.MEMOPS_HOME, database=database),
    }


def chromium() -> str | None:
    """The path of an installed Chromium."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def worker(environment: Mapping[str, str], log: Path) -> Iterator[children.Child]:
    """A real ``qcluster``."""
    with (
        log.open("ab") as copy,
        children.start(supervisor.worker_command(), env=environment, stderr_copy=copy) as child,
    ):
        yield child
        child.terminate()
        child.wait()


@contextmanager
def web(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """A real gunicorn; gives its address."""
    bind = f"127.0.0.1:{free_port()}"
    argv = supervisor.web_command(bind)
    with (
        log.open("ab") as copy,
        children.start(argv, env={**environment, "MEMOPS_BIND": bind}, stderr_copy=copy) as child,
    ):
        until = time.monotonic() + LONGEST_START_SECONDS
        while not supervisor.answers(bind):
            assert time.monotonic() < until, f"The web server does not answer: {child.poll()}"
            time.sleep(0.1)
        yield f"http://{bind}"
        child.terminate()
        child.wait()
