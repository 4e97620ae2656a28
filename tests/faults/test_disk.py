"""Disks are full, folders vanish, rights are missing: the run ends with what happened, and leaves nothing behind."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connections

from memops.console.pg import manifest, restore
from memops.console.steps.examination import backup_folder
from project import embedded
from tests.faults import ground
from tests.faults.disturbed import (
    BACKUP,
    EMERGENCY,
    GUIDED,
    VERIFY,
    Fault,
    assert_the_same_succeeds,
    assert_told_and_harmless,
    newest_backup,
    when,
)
from tests.limits import largest_file, limit_server
from tests.postgres.conftest import children_of_ours

LOG_FILE_BYTES = 16 * 1024 * 1024


def folder() -> Path:
    return backup_folder(ground.TARGET)


@contextmanager
def full_disk() -> Iterator[None]:
    with largest_file(300_000):
        yield


@contextmanager
def folder_that_vanishes() -> Iterator[None]:
    with when("backup while", lambda: shutil.rmtree(folder())):
        yield


@contextmanager
def folder_that_is_replaced() -> Iterator[None]:
    """The archive is complete then, in a folder that nobody would look into."""
    aside = folder().with_name("aside")

    def replace() -> None:
        folder().rename(aside)
        folder().mkdir(mode=0o700)

    with when("backup while", replace):
        yield
    assert list(aside.iterdir()) == list(folder().iterdir()) == []
    aside.rmdir()


@contextmanager
def link_in_place_of_the_folder() -> Iterator[None]:
    """Put there after everything was checked. Where it leads nothing is written, and nothing removed."""
    aside, elsewhere = folder().with_name("aside"), folder().with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "a download.partial").write_text("of somebody else")

    def link() -> None:
        folder().rename(aside)
        folder().symlink_to(elsewhere)

    with when("backup before", link):
        yield
    assert [file.name for file in elsewhere.iterdir()] == ["a download.partial"]
    folder().unlink()
    aside.rename(folder())
    shutil.rmtree(elsewhere)


@contextmanager
def program_that_is_too_old() -> Iterator[None]:
    """Somebody changed the installation after everything was checked."""
    with tempfile.TemporaryDirectory() as place:
        program = Path(place) / "pg_dump"
        program.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 17.4'\n")
        program.chmod(0o755)
        before = settings.MEMOPS_PG_BIN
        try:
            with when("backup before", lambda: setattr(settings, "MEMOPS_PG_BIN", Path(place))):
                yield
        finally:
            settings.MEMOPS_PG_BIN = before


def program_that_gets(number: signal.Signals) -> Callable[[], object]:
    def send() -> None:
        [pid] = [pid for pid, name in children_of_ours().items() if name == "pg_dump"]
        os.kill(pid, number)

    return lambda: when("backup while", send)


@contextmanager
def temporary_folder_that_is_gone() -> Iterator[None]:
    """The password for pg_dump goes into a file there."""
    before = tempfile.tempdir
    entry = connections.databases[ground.TARGET]
    entry["PASSWORD"] = "s3cret"
    connections[ground.TARGET].close()
    try:
        with when("backup before", lambda: setattr(tempfile, "tempdir", "/nowhere/tmp")):
            yield
    finally:
        tempfile.tempdir, entry["PASSWORD"] = before, ""


DURING_THE_BACKUP = {
    "full disk during the dump": Fault(happens=full_disk, told=r"The disk of the backup folder \S+ is full"),
    "vanished folder": Fault(
        happens=folder_that_vanishes, told=r"folder \S+ cannot be used: No such file or directory", state="refused"
    ),
    "replaced folder": Fault(
        happens=folder_that_is_replaced, told="cannot be used: another one has taken its place", state="refused"
    ),
    "symlink in place of the folder": Fault(
        happens=link_in_place_of_the_folder, told="cannot be used: it is a symbolic link", state="refused"
    ),
    "too old pg_dump": Fault(
        happens=program_that_is_too_old, told=r"pg_dump 17\.4 is too old .* postgresql-client-18", state="refused"
    ),
    "SIGTERM to pg_dump": Fault(happens=program_that_gets(signal.SIGTERM), told="killed by SIGTERM|terminated by user"),
    "SIGSEGV to pg_dump": Fault(happens=program_that_gets(signal.SIGSEGV), told="killed by SIGSEGV"),
    "no folder for temporary files": Fault(
        happens=temporary_folder_that_is_gone, told=r"folder for temporary files /nowhere/tmp: No such file"
    ),
}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (GUIDED, list(DURING_THE_BACKUP)),
        (EMERGENCY, ["full disk during the dump", "too old pg_dump", "SIGTERM to pg_dump"]),
        (BACKUP, ["full disk during the dump", "replaced folder"]),
    ],
    ids=[GUIDED, EMERGENCY, BACKUP],
)
def test_a_fault_during_the_backup_is_told_and_leaves_nothing_behind(console, fault, kind, names):
    with console() as before:
        for name in names:
            with fault(name):
                assert_told_and_harmless(kind, DURING_THE_BACKUP[name], before)

        assert_the_same_succeeds(kind, before)


def in_place_of_the_folder(put: Callable[[Path, Path], object]) -> Callable[[], object]:
    """The folder is taken away between backup and proof, and something else may be put there instead."""

    @contextmanager
    def happens() -> Iterator[None]:
        aside = folder().with_name("aside")

        def take_away() -> None:
            folder().rename(aside)
            put(folder(), aside)

        with when("verify before", take_away):
            yield
        if os.path.lexists(folder()):
            folder().unlink()
        aside.rename(folder())

    return happens


def link_in_place_of(file_of: Callable[[Path], Path]) -> Callable[[], object]:
    """It leads to the very file that was there: what is reached through a link may be another the next time."""

    @contextmanager
    def happens() -> Iterator[None]:
        moved: list[tuple[Path, Path]] = []

        def link() -> None:
            file = file_of(Path(newest_backup().location))
            aside = folder().with_name(file.name)
            file.rename(aside)
            file.symlink_to(aside)
            moved.append((aside, file))

        with when("verify before", link):
            yield
        for aside, file in moved:
            aside.rename(file)

    return happens


@contextmanager
def archive_that_others_may_write() -> Iterator[None]:
    def chmod(mode: int) -> None:
        Path(newest_backup().location).chmod(mode)

    with when("verify before", lambda: chmod(0o620)):
        yield
    chmod(0o600)


BETWEEN_BACKUP_AND_PROOF = {
    "vanished folder before the proof": Fault(
        happens=in_place_of_the_folder(lambda folder, aside: None), told="manifest .* is missing", state="refused"
    ),
    "symlink in place of the folder before the proof": Fault(
        happens=in_place_of_the_folder(lambda folder, aside: folder.symlink_to(aside)),
        told="manifest .* lies in a folder that is a symbolic link",
        state="refused",
    ),
    "symlink in place of the manifest": Fault(
        happens=link_in_place_of(manifest.path_of), told="manifest .* is a symbolic link", state="refused"
    ),
    "symlink in place of the archive": Fault(
        happens=link_in_place_of(lambda archive: archive), told="Too many levels of symbolic links"
    ),
    "archive that others may write": Fault(
        happens=archive_that_others_may_write,
        told=r"was not opened: others may write it \(mode 620\)",
        state="refused",
    ),
}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (GUIDED, list(BETWEEN_BACKUP_AND_PROOF)),
        (VERIFY, ["vanished folder before the proof", "symlink in place of the archive"]),
    ],
    ids=[GUIDED, VERIFY],
)
def test_what_happens_to_the_files_between_backup_and_proof_is_told_and_harmless(console, fault, kind, names):
    with console() as before:
        if kind == VERIFY:
            assert_the_same_succeeds(BACKUP, before)
        for name in names:
            with fault(name):
                assert_told_and_harmless(kind, BETWEEN_BACKUP_AND_PROOF[name], before)

        assert_the_same_succeeds(kind, before)


def test_a_disk_that_is_full_when_the_manifest_is_written_leaves_no_archive_without_one(console, fault):
    with console():
        with connections[ground.TARGET].cursor() as cursor:
            cursor.execute("delete from public.memory_chunks where id <> (select id from public.memory_chunks limit 1)")
            cursor.execute("update public.memory_chunks set embedding = null")
        before = ground.look()
        room_for_the_archive = Fault(
            happens=lambda: largest_file(4500), told=r"The disk of the backup folder \S+ is full"
        )

        with fault("full disk during the manifest"):
            assert_told_and_harmless(GUIDED, room_for_the_archive, before)

        assert_the_same_succeeds(GUIDED, before)
        archive = Path(newest_backup().location)
        assert archive.stat().st_size < 4500 < manifest.path_of(archive).stat().st_size


@pytest.fixture(scope="session")
def cramped_server(embedded_server) -> Path:
    """A server on whose disk no file can grow beyond that of its log, 16 MB. Gives its home."""
    home = embedded_server / "cramped"
    with largest_file(LOG_FILE_BYTES):
        embedded.start(home)
    return home


@pytest.fixture
def proved_elsewhere(cramped_server, settings) -> Path:
    """Backups are proved on that server."""
    settings.MEMOPS_SCRATCH_URL = embedded.superuser_url(cramped_server)
    return cramped_server


def scratch_databases(home: Path) -> list[tuple[str]]:
    with psycopg.connect(embedded.superuser_url(home)) as server:
        return server.execute(r"select datname from pg_database where datname like 'memops\_scratch\_%'").fetchall()


def test_a_full_disk_of_the_scratch_server_says_nothing_against_the_backup_and_leaves_no_database(
    console, proved_elsewhere, fault
):
    postmaster = int((embedded.pgdata(proved_elsewhere) / "postmaster.pid").read_text().split()[0])
    with console():
        with connections[ground.TARGET].cursor() as cursor:
            cursor.execute(
                "update public.memory_chunks set text_cipher = %s"
                " where id = (select id from public.memory_chunks limit 1)",
                [os.urandom(LOG_FILE_BYTES + 2_000_000)],
            )
        before = ground.look()
        no_room = Fault(
            happens=nullcontext,
            told="no room to restore .* into a database on the scratch server: .*File too large.*Make room",
        )

        with fault("full disk of the scratch server"):
            assert_told_and_harmless(GUIDED, no_room, before)

        assert scratch_databases(proved_elsewhere) == []
        limit_server(postmaster, None)
        try:
            assert_the_same_succeeds(GUIDED, before)
        finally:
            limit_server(postmaster, LOG_FILE_BYTES)


def test_an_index_that_has_no_room_in_shared_memory_is_built_by_one_process(
    console, proved_elsewhere, fault, settings, monkeypatch
):
    """Shared memory is files, too: on that server a parallel build asks for more than there can be."""
    settings.MEMOPS_MAINTENANCE_WORK_MEM_BYTES = 2**28
    monkeypatch.setattr(restore, "SHM", Path("/nowhere"))
    monkeypatch.setattr(restore, "_without_shared_memory", set())
    with console() as before, fault("full /dev/shm of the scratch server"):
        assert_the_same_succeeds(GUIDED, before)

        if (os.cpu_count() or 1) > 1:
            assert len(restore._without_shared_memory) == 1
        assert scratch_databases(proved_elsewhere) == []


@contextmanager
def template_without_vector(home: Path) -> Iterator[None]:
    template = embedded.SCRATCH_TEMPLATE

    def change(statement: str) -> None:
        with psycopg.connect(embedded.superuser_url(home), autocommit=True) as server:
            server.execute(f"alter database {template} with allow_connections true")
            with psycopg.connect(embedded.superuser_url(home, template), autocommit=True) as inside:
                inside.execute(statement)
            server.execute(f"alter database {template} with allow_connections false")

    change("drop extension vector")
    try:
        yield
    finally:
        change("create extension vector schema public")


def test_a_scratch_server_without_the_extension_is_told(console, proved_elsewhere, fault):
    lacking = Fault(
        happens=lambda: template_without_vector(proved_elsewhere),
        told=r"cannot be proved.*a database on the scratch server lacks the extension vector \d",
        state="refused",
    )
    with console() as before:
        with fault("missing extension"):
            assert_told_and_harmless(GUIDED, lacking, before)

        assert scratch_databases(proved_elsewhere) == []
        assert_the_same_succeeds(GUIDED, before)
