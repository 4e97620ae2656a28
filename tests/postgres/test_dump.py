"""A backup is one table as one snapshot shows it, whole and proved by its manifest, or there is no file at all."""

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest
import zstandard
from django.db import connections
from psycopg.sql import SQL, Identifier

from memops import sql
from memops.console.errors import (
    BackupDiskFull,
    BackupFolderUnusable,
    BackupNameTaken,
    BackupUnderRowSecurity,
    DumpFailed,
    TableGone,
    TargetUnreachable,
)
from memops.console.pg import catalogue, clients, fingerprint, manifest, session
from project import embedded
from tests.databases import alias_of, fresh_database
from tests.limits import largest_file
from tests.postgres.conftest import children_of_ours, until

INSERT = (
    "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index) values (repeat('a', 64), %s, 's', 0)"
)


class Stopped(Exception):
    """What a progress callback raises to stop the work."""


@pytest.fixture(scope="module")
def shared(filled_template: str, django_db_blocker) -> Iterator[str]:
    """The alias of a target with 700 rows, which the tests of this file only read."""
    with django_db_blocker.unblock(), fresh_database(filled_template) as name, alias_of("shared", NAME=name) as alias:
        yield alias


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def slow_table(owner: psycopg.Connection) -> str:
    """A table that is dumped at once, and takes a minute to fingerprint."""
    owner.execute(
        "create type public.pair as (a int, b int);"
        " create function public.slowly(public.pair) returns text language sql volatile"
        " begin atomic select pg_sleep(60)::text; end;"
        " create cast (public.pair as text) with function public.slowly;"
        " create table public.slow (v public.pair); insert into public.slow values (row(1, 2))"
    )
    return "slow"


def print_of(alias: str, *, name: str = "memory_chunks"):
    with session.connect(alias) as connection:
        return fingerprint.of(connection, schema="public", name=name, algorithm="fp1-md5")


def nothing_left(folder: Path) -> bool:
    return not list(folder.iterdir()) and not any(name.startswith("pg_") for name in children_of_ours().values())


class TestWhatIsWritten:
    def test_archive_and_manifest_are_ours_alone_and_nothing_else_is_there(self, shared, backup, folder):
        backup(shared)

        assert sorted(path.name for path in folder.iterdir()) == ["backup.dump.zst", "backup.json"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_the_manifest_says_what_where_and_what_it_comes_to(self, shared, backup):
        dumped = backup(shared, facts={"run": 7})

        found = manifest.read(dumped.path)
        content = dumped.path.read_bytes()
        raw = zstandard.ZstdDecompressor().stream_reader(content).read()
        with session.connect(shared) as connection:
            relation = catalogue.relation(connection, "public", "memory_chunks")
            server = catalogue.server(connection)
        assert found == dumped.manifest
        assert (found.sha256, found.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
        assert found.raw_bytes == len(raw) == dumped.raw_bytes
        assert raw.startswith(b"PGDMP")
        assert found.expected == print_of(shared) == dumped.fingerprint
        assert found.rows == 700
        assert found.catalogue == json.loads(json.dumps(relation.catalogue()))
        assert (found.schema, found.name, found.table_oid) == ("public", "memory_chunks", relation.oid)
        assert found.server["system_identifier"] == server.system_identifier
        assert found.server["database"] == connections[shared].settings_dict["NAME"]
        assert found.versions["server"] == server.version
        assert set(found.extensions) >= {"vector", "plpgsql"}
        assert (found.target, found.facts) == (shared, {"run": 7})
        assert datetime.fromisoformat(found.started_at) <= datetime.fromisoformat(found.ended_at)

    def test_neither_password_nor_address_is_in_the_files_names_or_processes(self, shared, backup, folder):
        shown = []

        def look(done: int, total: int | None) -> None:
            for pid in children_of_ours():
                shown.extend(Path(f"/proc/{pid}/{file}").read_bytes() for file in ("cmdline", "environ"))

        # Where everybody is trusted, a password is handed on all the same.
        name = connections[shared].settings_dict["NAME"]
        with alias_of("secretive", NAME=name, PASSWORD="pass-word") as alias:
            dumped = backup(alias, progress=look)
            address = session.libpq_params(alias)["host"]

        assert any(b"pg_dump" in one for one in shown)
        assert not any(b"pass-word" in one for one in shown)
        for text in (manifest.path_of(dumped.path).read_text(), *map(str, folder.iterdir())):
            assert "pass-word" not in text
            assert address not in text
            assert "postgresql://" not in text

    @pytest.mark.parametrize("rows", [0, 1])
    def test_a_table_of_hardly_anything_is_dumped_too(self, target, owner, backup, rows):
        for number in range(rows):
            owner.execute(INSERT, [str(number)])

        assert backup(target).manifest.rows == rows

    def test_progress_goes_up_to_the_bytes_that_pg_dump_wrote(self, shared, backup):
        told = []

        dumped = backup(shared, progress=lambda done, total: told.append((done, total)))

        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert told[-1] == (dumped.raw_bytes, dumped.raw_bytes)

    def test_the_archive_restores_by_hand_with_stock_tools(self, shared, backup, tmp_path):
        dumped = backup(shared)

        plain = tmp_path / "plain.dump"
        with dumped.path.open("rb") as packed, plain.open("wb") as unpacked:
            zstandard.ZstdDecompressor().copy_stream(packed, unpacked)
        with fresh_database(embedded.SCRATCH_TEMPLATE) as name, alias_of("by_hand", NAME=name) as alias:
            with session.child_environment(session.libpq_params(alias)) as environment:
                program = clients.find("pg_restore", server_version=180000).path
                subprocess.run([program, "--exit-on-error", "-d", name, plain], env=environment, check=True)

            assert print_of(alias) == dumped.fingerprint

    def test_a_quarantined_table_is_dumped_under_its_name(self, filled, backup):
        before = print_of(filled)
        with connections[filled].cursor() as cursor:
            cursor.execute(sql.down())
        with session.connect(filled) as connection:
            [kept] = catalogue.quarantined(connection)

        dumped = backup(filled, schema=kept.schema, name=kept.name)

        assert dumped.fingerprint == before
        assert (dumped.manifest.schema, dumped.manifest.name) == ("memops_quarantine", kept.name)

    def test_only_the_named_table_is_dumped_however_hostile_its_name(self, target, owner, backup, tmp_path):
        hostile = 'Memory*"?|(x).%s chunks'
        for name in (hostile, "memory", "chunks"):
            owner.execute(SQL("create table public.{} (a int)").format(Identifier(name)))

        dumped = backup(target, name=hostile)

        raw = zstandard.ZstdDecompressor().stream_reader(dumped.path.read_bytes()).read()
        program = clients.find("pg_restore", server_version=180000).path
        listed = subprocess.run([program, "--list"], input=raw, capture_output=True, check=True).stdout.decode()
        tables = [line for line in listed.splitlines() if " TABLE public " in line]
        assert len(tables) == 1
        assert hostile in tables[0]


class TestOneSnapshot:
    def test_rows_and_fingerprint_are_of_the_same_moment_while_others_write(self, filled, backup):
        writing, stop = Event(), Event()

        def write() -> None:
            with psycopg.connect(**session.libpq_params(filled), autocommit=True) as connection:
                number = 0
                while not stop.is_set():
                    connection.execute(INSERT, [str(number)])
                    connection.execute(
                        "update public.memory_chunks set source = %s where doc_id = %s", ["x", str(number)]
                    )
                    connection.execute("delete from public.memory_chunks where doc_id = %s", [str(number - 5)])
                    number += 1
                    writing.set()

        writer = Thread(target=write)
        writer.start()
        try:
            assert writing.wait(20)
            dumped = backup(filled)
        finally:
            stop.set()
            writer.join()

        raw = zstandard.ZstdDecompressor().stream_reader(dumped.path.read_bytes()).read()
        with fresh_database(embedded.SCRATCH_TEMPLATE) as name, alias_of("copied", NAME=name) as alias:
            with session.child_environment(session.libpq_params(alias)) as environment:
                program = clients.find("pg_restore", server_version=180000).path
                subprocess.run([program, "--exit-on-error", "-d", name], input=raw, env=environment, check=True)
            assert print_of(alias) == dumped.fingerprint
        assert print_of(filled) != dumped.fingerprint

    def test_nobody_waits_for_the_dump_and_it_waits_for_no_writer(self, shared, backup):
        with psycopg.connect(**session.libpq_params(shared)) as other:
            other.execute(INSERT, ["not committed"])

            dumped = backup(shared)

        assert dumped.manifest.rows == 700


class TestNothingIsLeft:
    def test_when_pg_dump_is_killed(self, shared, backup, folder):
        def kill(done: int, total: int | None) -> None:
            for pid, name in children_of_ours().items():
                if name == "pg_dump":
                    os.kill(pid, signal.SIGKILL)

        with pytest.raises(DumpFailed, match="killed by SIGKILL"):
            backup(shared, progress=kill)

        assert nothing_left(folder)

    def test_when_progress_raises(self, shared, backup, folder):
        def stop(done: int, total: int | None) -> None:
            raise Stopped

        with pytest.raises(Stopped):
            backup(shared, progress=stop)

        assert nothing_left(folder)
        with session.connect(shared) as connection:
            until(
                lambda: connection.execute(
                    "select count(*) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                ).fetchone() == (0,)
            )  # fmt: skip

    def test_when_the_disk_is_full(self, shared, backup, folder):
        with largest_file(100_000), pytest.raises(BackupDiskFull, match=r"The disk of the backup folder .* is full"):
            backup(shared)

        assert nothing_left(folder)

    def test_when_the_disk_is_full_by_the_time_of_the_manifest(self, target, backup, folder):
        with largest_file(4500), pytest.raises(BackupDiskFull, match=r"The disk of the backup folder .* is full"):
            backup(target)

        assert nothing_left(folder)
        archive = backup(target).path
        assert archive.stat().st_size < 4500 < manifest.path_of(archive).stat().st_size

    def test_when_another_folder_takes_the_place_of_its_own(self, shared, backup, folder, tmp_path):
        def replace(done: int, total: int | None) -> None:
            if not (tmp_path / "aside").exists():
                folder.rename(tmp_path / "aside")
                folder.mkdir()

        with pytest.raises(BackupFolderUnusable, match="another one has taken its place"):
            backup(shared, progress=replace)

        assert nothing_left(folder)
        assert nothing_left(tmp_path / "aside")

    def test_when_the_folder_vanishes(self, shared, backup, folder):
        with pytest.raises(BackupFolderUnusable, match="No such file"):
            backup(shared, progress=lambda done, total: shutil.rmtree(folder, ignore_errors=True))

        assert not folder.exists()

    def test_when_the_session_is_ended_that_fingerprints(self, target, slow_table, backup, folder):
        def end(done: int, total: int | None) -> None:
            with session.connect(target) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                    " where datname = current_database() and application_name = 'memops fingerprints'"
                )

        with pytest.raises(DumpFailed, match="terminating connection"):
            backup(target, name=slow_table, progress=end)

        assert nothing_left(folder)

    def test_when_progress_raises_while_the_fingerprint_goes_on(self, target, slow_table, backup, folder):
        calls = []

        def stop(done: int, total: int | None) -> None:
            calls.append(done)
            if len(calls) == 3:
                raise Stopped

        began = time.monotonic()
        with pytest.raises(Stopped):
            backup(target, name=slow_table, progress=stop)

        assert time.monotonic() - began < 20
        assert nothing_left(folder)

    def test_of_a_table_that_is_not_there(self, target, owner, backup, folder):
        owner.execute("drop table public.memory_chunks")

        with pytest.raises(TableGone, match=r'no table public\.memory_chunks on the target "target"'):
            backup(target)

        assert nothing_left(folder)

    def test_of_a_schema_that_is_not_there(self, target, backup, folder):
        with pytest.raises(TableGone):
            backup(target, schema="nowhere")

        assert nothing_left(folder)

    def test_of_a_target_that_does_not_answer(self, target, backup, folder):
        with alias_of("away", HOST="/nowhere") as alias, pytest.raises(TargetUnreachable):
            backup(alias)

        assert not folder.exists() or nothing_left(folder)

    def test_under_row_level_security(self, shared, backup, folder):
        name = connections[shared].settings_dict["NAME"]
        with alias_of("app", NAME=name, USER=embedded.APP_ROLE) as alias, pytest.raises(BackupUnderRowSecurity):
            backup(alias)

        assert nothing_left(folder)


class TestFolder:
    def test_one_that_cannot_be_made_is_refused(self, target, backup, tmp_path):
        (tmp_path / "file").touch()

        with pytest.raises(BackupFolderUnusable, match="Not a directory"):
            backup(target, folder=tmp_path / "file" / "backups")

    def test_one_that_cannot_be_written_is_refused(self, target, backup):
        with pytest.raises(BackupFolderUnusable, match="/proc/self/task"):
            backup(target, folder=Path("/proc/self/task"))

    def test_a_symbolic_link_is_refused(self, target, backup, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

        with pytest.raises(BackupFolderUnusable, match="symbolic link"):
            backup(target, folder=tmp_path / "link")

        assert not list((tmp_path / "elsewhere").iterdir())

    @pytest.mark.parametrize("mode", [0o777, 0o702, 0o1777], ids=oct)
    def test_one_that_everybody_may_write_to_is_refused(self, target, backup, folder, mode):
        folder.mkdir()
        folder.chmod(mode)

        with pytest.raises(BackupFolderUnusable, match=rf"everybody on this machine may write to it \(mode {mode:o}\)"):
            backup(target)

        assert nothing_left(folder)

    def test_nothing_is_removed_behind_a_symbolic_link(self, target, backup, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "a download.partial").write_text("of somebody else")
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

        with pytest.raises(BackupFolderUnusable):
            backup(target, folder=tmp_path / "link")

        assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["a download.partial"]

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids=oct)
    def test_one_that_is_made_and_those_above_it_are_ours_alone_whatever_the_umask(
        self, target, backup, tmp_path, umask
    ):
        before = os.umask(umask)
        try:
            dumped = backup(target, folder=tmp_path / "a" / "b" / "backups")
        finally:
            os.umask(before)

        made = [tmp_path / "a", *(tmp_path / "a").rglob("*")]
        assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
        assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}
        assert manifest.read(dumped.path) == dumped.manifest

    def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(self, target, backup, folder):
        folder.mkdir()
        (folder / "old.dump.zst.partial").write_bytes(b"half")
        inner = []

        def look(done: int, total: int | None) -> None:
            if not inner:
                inner.append(True)
                inner[0] = backup(target, stem="inner")

        outer = backup(target, stem="outer", progress=look)

        assert sorted(path.name for path in folder.iterdir()) == [
            "inner.dump.zst", "inner.json", "outer.dump.zst", "outer.json"
        ]  # fmt: skip
        assert manifest.read(outer.path).expected == manifest.read(inner[0].path).expected


class TestName:
    @pytest.mark.parametrize("taken", ["backup.dump.zst", "backup.json"])
    def test_one_that_is_taken_is_never_overwritten(self, target, backup, folder, taken):
        folder.mkdir()
        (folder / taken).write_text("another's")

        with pytest.raises(BackupNameTaken, match=f"{taken}: it is there already"):
            backup(target)

        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(taken, "another's")]

    @pytest.mark.parametrize("taken", ["backup.dump.zst", "backup.json"])
    def test_one_that_is_taken_meanwhile_is_left_to_its_owner(self, target, backup, folder, taken):
        def take(done: int, total: int | None) -> None:
            (folder / taken).write_text("another's")

        with pytest.raises(BackupNameTaken):
            backup(target, progress=take)

        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(taken, "another's")]

    def test_a_dangling_link_of_that_name_is_not_followed(self, target, backup, folder, tmp_path):
        folder.mkdir()
        (folder / "backup.dump.zst").symlink_to(tmp_path / "elsewhere")

        with pytest.raises(BackupNameTaken):
            backup(target)

        assert not (tmp_path / "elsewhere").exists()

    @pytest.mark.parametrize("stem", ["", "../up", "a/b", ".hidden", "a.b", "-rf", "a b", "x" * 200, "a\n"])
    def test_one_that_is_a_path_or_an_option_is_refused(self, target, backup, folder, stem):
        with pytest.raises(BackupNameTaken, match="is not a name for a file"):
            backup(target, stem=stem)

        assert not folder.exists()
