"""Databases for the tests, all on one embedded server of the tests' own.

``template_database`` is migrated once a run; a test's database is a copy of it, made in a twentieth of a second and
dropped afterwards.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connections

from project import embedded
from tests import console_process
from tests.databases import (
    alias_of,
    as_superuser,
    clone_database,
    database_name,
    default_database,
    drop_database,
    drop_left_behind,
    fresh_database,
)
from tests.faults.line import Line

CLONE = Path(__file__).resolve().parent.parent
# A red unit test is read first; the slow ones come last.
ORDER = ("unit", "postgres", "worker", "browser", "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(CLONE / "tests").parts[0]
        return ORDER.index(folder) if folder in ORDER else len(ORDER)

    items.sort(key=place)


@pytest.fixture(scope="session")
def embedded_server() -> Path:
    """The server of the tests; gives its home. It stops when the last run that uses it ends."""
    home: Path = django_settings.MEMOPS_HOME
    embedded.start(home)
    # What is killed here are processes: what they have written stays, though it has not reached the disk. Thousands of
    # databases are made and dropped.
    for setting in ("fsync", "full_page_writes"):
        as_superuser("alter system set {} = off", setting)
    as_superuser("select pg_reload_conf()")
    drop_left_behind()
    return home


@pytest.fixture(scope="session")
def template_database(embedded_server: Path, django_db_blocker: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a database with every migration applied and without rows; nobody may be connected to it."""
    name = database_name("template")
    clone_database(name, embedded.SCRATCH_TEMPLATE)
    with django_db_blocker.unblock(), default_database(name):
        call_command("migrate", verbosity=0)
    yield name
    drop_database(name)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(template_database: str) -> None:
    """pytest-django's own database (fixture ``db``, mark ``django_db``) is such a copy too."""
    test = connections.databases["default"]["TEST"]
    test["NAME"], test["TEMPLATE"] = database_name("django"), template_database


@pytest.fixture
def target(template_database: str, settings, django_db_blocker) -> Iterator[str]:
    """The alias of a target with an empty memory_chunks, as the owner role. Commits are real, in every thread."""
    with (
        django_db_blocker.unblock(),
        fresh_database(template_database) as name,
        alias_of("target", NAME=name) as alias,
    ):
        settings.MEMOPS_TARGETS = [*settings.MEMOPS_TARGETS, alias]
        yield alias


@pytest.fixture
def line(embedded_server: Path) -> Iterator[Line]:
    """A line to the server of the tests, which can be cut."""
    line = Line(embedded.socket_dir(embedded_server) / embedded.SOCKET_NAME)
    yield line
    line.close()


@pytest.fixture
def app_role(target: str) -> Iterator[str]:
    """An alias of the same database for the application's role, which row-level security holds for."""
    with alias_of("app", NAME=connections.databases[target]["NAME"], USER=embedded.APP_ROLE) as alias:
        yield alias


@pytest.fixture
def console_db(template_database: str, settings, tmp_path: Path, django_db_blocker) -> Iterator[str]:
    """``default`` is a database of the test's own, with real commits that a worker process sees. Gives its name."""
    settings.MEMOPS_BACKUP_DIR = tmp_path / "backups"
    settings.MEMOPS_ANCHORS = tmp_path / "anchors.jsonl"
    with django_db_blocker.unblock(), fresh_database(template_database) as name, default_database(name):
        yield name


@pytest.fixture
def environment(console_db: str) -> dict[str, str]:
    """The environment in which ``manage.py`` works on the same database, keys and backup folder as the test itself."""
    return console_process.environment_of(console_db)


@pytest.fixture
def manage() -> list[str]:
    """What a command line of ``manage.py`` begins with."""
    return [sys.executable, str(CLONE / "manage.py")]
