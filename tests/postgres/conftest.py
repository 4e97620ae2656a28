"""Plain psycopg connections to the database of ``target``, for tests of the SQL itself."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connections
from psycopg import sql

from memops import demo
from memops.console.models import Run
from memops.console.pg import dump
from memops.console.pg.dump import Dumped
from memops.console.runs import signing
from memops.console.runs.plan import plan_rollback
from project import embedded
from project.environment import CONNECTION
from tests.databases import alias_of, default_database, fresh_database
from tests.faults.line import Line
from tests.postgres.people import SIGNED_BY_PEOPLE, execute, person

PASSWORD = "s3cret: with\\signs"


@pytest.fixture
def distant(target: str, line: Line) -> Iterator[str]:
    """Another alias of the target, over a line."""
    changes = line.address | {
        "NAME": connections[target].settings_dict["NAME"],
        "OPTIONS": CONNECTION | {"connect_timeout": 2},
    }
    with alias_of("distant", **changes) as alias:
        yield alias


@pytest.fixture
def owner(target: str, settings) -> Iterator[psycopg.Connection]:
    """The owner role, in autocommit."""
    url = embedded.url(settings.MEMOPS_HOME, database=connections[target].settings_dict["NAME"])
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def dba(target: str, settings) -> Iterator[psycopg.Connection]:
    """The superuser, in autocommit."""
    url = embedded.superuser_url(settings.MEMOPS_HOME, connections[target].settings_dict["NAME"])
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def tamperer(console_db, settings):
    """The superuser on the console's database, for whom the triggers are switched off."""
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME, console_db), autocommit=True) as connection:
        yield connection


@pytest.fixture
def ann(console_db) -> User:
    """She asks, starts, signs and closes."""
    return person("ann", "executor", "requester")


@pytest.fixture
def rolled_back(ann) -> Run:
    """The rollback that takes least time: of an empty table, which is dropped, without a backup."""
    return execute(plan_rollback("default", emergency=True), ann)


@pytest.fixture
def settled(rolled_back, ann) -> Run:
    """Everything on its checklist is signed; nobody has closed it."""
    for number in SIGNED_BY_PEOPLE:
        signing.sign(rolled_back, number, by=ann)
    return rolled_back


@pytest.fixture
def notices(owner: psycopg.Connection) -> list[str]:
    """What the server told the owner beside its answers."""
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(f"{notice.severity}: {notice.message_primary}"))
    return told


@pytest.fixture
def new_role(dba: psycopg.Connection) -> Iterator[Callable[..., str]]:
    """Makes a role of this run's own, which is dropped at the end with whatever it owns. Gives its name."""
    made: list[str] = []

    def make(name: str, attributes: str = "login") -> str:
        full_name = f"{name} {os.getpid()}"
        dba.execute(sql.SQL(f"create role {{}} {attributes}").format(sql.Identifier(full_name)))
        made.append(full_name)
        return full_name

    yield make
    for role in made:
        if dba.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone():
            dba.execute(sql.SQL("drop owned by {0} cascade; drop role {0}").format(sql.Identifier(role)))


@pytest.fixture
def three_rows(owner: psycopg.Connection) -> None:
    owner.execute(
        "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index)"
        " select repeat('a', 64), 'doc ' || n, 'notes', n from generate_series(1, 3) n"
    )


@pytest.fixture(scope="session")
def filled_template(template_database: str, django_db_blocker) -> Iterator[str]:
    """The name of a database whose memory_chunks has 700 rows of demo data; nobody may be connected to it."""
    with fresh_database(template_database) as name:
        with django_db_blocker.unblock(), default_database(name):
            demo.load("default", rows=700, tenants=5)
        yield name


@pytest.fixture
def filled(filled_template: str, settings, django_db_blocker) -> Iterator[str]:
    """The alias of a target with 700 rows of demo data, as the owner role."""
    with django_db_blocker.unblock(), fresh_database(filled_template) as name, alias_of("filled", NAME=name) as alias:
        settings.MEMOPS_TARGETS = [*settings.MEMOPS_TARGETS, alias]
        yield alias


@pytest.fixture(scope="session")
def guarded_server(embedded_server: Path) -> Path:
    """A second server, which asks everybody but its superuser for ``PASSWORD``. Gives its home; runs share it."""
    home = embedded_server / "guarded"
    embedded.start(home)
    (embedded.pgdata(home) / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    with psycopg.connect(embedded.superuser_url(home), autocommit=True) as server:
        server.execute(sql.SQL("alter role memops_owner password {}").format(sql.Literal(PASSWORD)))
        server.execute("select pg_reload_conf()")
    until(lambda: not _lets_in(embedded.url(home)))
    return home


def _lets_in(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def backup(tmp_path: Path) -> Callable[..., Dumped]:
    """Dumps public.memory_chunks of a target into a folder of the test's own."""

    def take(alias: str, **options: Any) -> Dumped:
        defaults = {
            "schema": "public",
            "name": "memory_chunks",
            "folder": tmp_path / "backups",
            "stem": "backup",
            "progress": lambda done, total: None,
            "facts": {},
        }
        return dump.dump(alias, **{**defaults, **options})

    return take


def children_of_ours() -> dict[int, str]:
    """Our child processes: pid and program."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, _, rest = (folder / "stat").read_text().partition(" (")[2].rpartition(") ")
            if int(rest.split()[1]) == os.getpid():
                found[int(folder.name)] = name
    return found


def until(happened: Callable[[], object], *, within_seconds: float = 20) -> None:
    """Wait for something that the server does in its own time. Fails the test if it does not."""
    deadline = time.monotonic() + within_seconds
    while not happened():
        assert time.monotonic() < deadline, "It did not happen."
        time.sleep(0.01)
