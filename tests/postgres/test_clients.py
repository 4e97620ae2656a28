"""Which pg_dump and pg_restore are taken: one that fits the server, or an error that says what to install."""

from collections.abc import Callable
from pathlib import Path

import pytest

from memops.console.errors import ClientMissing, ClientTooOld
from memops.console.pg import clients, session
from project import embedded


@pytest.fixture
def program(tmp_path: Path, settings) -> Callable[..., Path]:
    """Installs a program that says a version, in the folder that MEMOPS_PG_BIN names."""
    settings.MEMOPS_PG_BIN = str(tmp_path)

    def install(says: str, name: str = "pg_dump", *, mode: int = 0o755, status: int = 0) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
        path.chmod(mode)
        return path

    return install


@pytest.mark.parametrize("name", ["pg_dump", "pg_restore", "psql"])
def test_the_embedded_server_is_dumped_by_its_own_clients(target, settings, name):
    settings.MEMOPS_PG_BIN = None
    with session.connect(target) as connection:
        found = clients.find(name, server_version=connection.info.server_version)

    assert found.path == embedded.bin_dir(embedded.MAJOR) / name
    assert found.major == embedded.MAJOR


def test_a_folder_that_is_named_is_the_only_one(program):
    path = program("pg_dump (PostgreSQL) 18.4 (Debian 18.4-1.pgdg13+1)")

    found = clients.find("pg_dump", server_version=180004)

    assert (found.path, found.version, found.major) == (path, "18.4", 18)


@pytest.mark.parametrize("version", ["18beta1", "19.0", "20devel"])
def test_a_newer_client_is_as_good(program, version):
    program(f"pg_dump (PostgreSQL) {version}")

    assert clients.find("pg_dump", server_version=180000).version == version


def test_an_older_client_is_refused_with_what_to_install(program):
    program("pg_dump (PostgreSQL) 17.9")

    with pytest.raises(ClientTooOld, match=r"pg_dump 17\.9 is too old .* postgresql-client-18"):
        clients.find("pg_dump", server_version=180000)


def test_a_missing_client_is_refused_with_what_to_install(program):
    program("pg_dump (PostgreSQL) 18.1")

    with pytest.raises(ClientMissing, match=r"no pg_restore on this machine.*postgresql-client-16"):
        clients.find("pg_restore", server_version=160002)


@pytest.mark.parametrize(
    "broken", [{"says": "something else 18"}, {"mode": 0o644}, {"status": 1}, {"says": ""}], ids=str
)
def test_a_program_that_is_no_client_is_none(program, broken):
    program(**{"says": "pg_dump (PostgreSQL) 18.1", **broken})

    with pytest.raises(ClientMissing):
        clients.find("pg_dump", server_version=180000)


def test_an_upgraded_client_is_asked_again(program):
    program("pg_dump (PostgreSQL) 17.1")
    with pytest.raises(ClientTooOld):
        clients.find("pg_dump", server_version=180000)

    program("pg_dump (PostgreSQL) 18.1 ")

    assert clients.find("pg_dump", server_version=180000).version == "18.1"
