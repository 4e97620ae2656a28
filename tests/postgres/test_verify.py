"""A backup counts as proved only if it is what was written and restores to what was there. Everything else is told."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import zstandard
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from memops import demo
from memops.console.errors import (
    ArchiveDamaged,
    BackupOpenToOthers,
    ManifestUnusable,
    NoScratch,
    RestoredDiffers,
    RestoreFailed,
)
from memops.console.pg import clients, dump, manifest, restore, scratch, session
from memops.console.pg.dump import Dumped
from memops.console.pg.manifest import Manifest
from memops.sql import index_ivfflat
from project import embedded
from tests.databases import alias_of, fresh_database
from tests.postgres.conftest import children_of_ours, until


def ignore(done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


def write(alias: str, folder: Path, **more) -> Dumped:
    options = {"schema": "public", "name": "memory_chunks", "stem": "one", "progress": ignore, "facts": {}}
    return dump.dump(alias, folder=folder, **{**options, **more})


def prove(alias: str, path: Path, described: Manifest | None = None, progress=ignore) -> restore.Verified:
    return restore.verify(
        path=path,
        manifest=described or manifest.read(path),
        alias=alias,
        scratch_place=scratch.place(alias),
        progress=progress,
    )


OPENED = {
    (lambda path: path.chmod(0o602)): r"others may write it \(mode 602\)",
    (lambda path: path.chmod(0o660)): r"others may write it \(mode 660\)",
}
if os.geteuid() == 0:  # Nobody else can give a file away.
    OPENED[lambda path: os.chown(path, 65534, 65534)] = r"it belongs to another account \(uid 65534\)"


def query(alias: str, statement: str) -> list[tuple]:
    with session.connect(alias) as connection:
        return connection.execute(statement).fetchall()


def scratch_databases(url: str) -> set[str]:
    with psycopg.connect(url, autocommit=True) as server:
        return {
            name
            for (name,) in server.execute("select datname from pg_database where datname ~ '^memops_scratch_[0-9]+_'")
        }


def forget_roles(home: Path, *names: str) -> None:
    with psycopg.connect(embedded.superuser_url(home), autocommit=True) as server:
        for name in names:
            server.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(name)))


@pytest.fixture
def nothing_left(settings, embedded_server):
    """Whatever a test does, no scratch database is left of it."""
    url = embedded.superuser_url(settings.MEMOPS_HOME)
    before = scratch_databases(url)
    yield
    # Those of another run of the tests come and go as well.
    made = scratch_databases(url) - before
    until(lambda: not made & scratch_databases(url))


@pytest.fixture(scope="module")
def small(template_database: str, django_db_blocker) -> Iterator[str]:
    """The alias of a target with 60 rows of demo data. The tests of this file share it."""
    with django_db_blocker.unblock(), fresh_database(template_database) as name, alias_of("small", NAME=name) as alias:
        demo.load(alias, rows=60, tenants=3)
        yield alias


@pytest.fixture(scope="module")
def written_once(small: str, tmp_path_factory: pytest.TempPathFactory) -> Dumped:
    return write(small, tmp_path_factory.mktemp("backups"))


@pytest.fixture
def backup(written_once: Dumped, tmp_path: Path, nothing_left) -> Dumped:
    """A backup of ``small`` that a test may damage."""
    for path in (written_once.path, manifest.path_of(written_once.path)):
        shutil.copy(path, tmp_path)
    return replace(written_once, path=tmp_path / written_once.path.name)


@pytest.fixture
def forge(backup: Dumped) -> Callable[[bytes], Manifest]:
    """Puts other bytes in the place of the archive, and a hash and size that fit them into the manifest."""

    def put(content: bytes, **more) -> Manifest:
        backup.path.write_bytes(content)
        return replace(backup.manifest, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), **more)

    return put


def unpacked(archive: Dumped) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(archive.path.read_bytes())).read()


class TestProved:
    def test_is_a_backup_of_what_is_there(self, filled, tmp_path, nothing_left):
        told = []
        written = write(filled, tmp_path)

        proved = prove(filled, written.path, progress=lambda done, total: told.append((done, total)))

        assert proved.fingerprint == written.fingerprint
        assert proved.fingerprint.rows == 700
        assert told[-1] == (written.size_bytes, written.size_bytes)

    @pytest.mark.parametrize("rows", [0, 1])
    def test_is_a_backup_of_few_rows(self, target, owner, tmp_path, nothing_left, rows):
        if rows:
            owner.execute(
                "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index)"
                " values (repeat('a', 64), '', '', 0)"
            )

        assert prove(target, write(target, tmp_path).path).fingerprint.rows == rows

    def test_is_a_backup_of_odd_rows(self, target, owner, tmp_path, nothing_left):
        owner.execute(
            "insert into public.memory_chunks (user_hash, doc_id, source, chunk_index, text_plain, text_cipher,"
            " embedding, created_at, updated_at, expires_at, tags) values"
            " (repeat('a', 64), '', '', 0, null, null, null, 'infinity', '-infinity', 'infinity', null),"
            " (repeat('a', 64), '', '', 0, '', '', array_fill(0, array[1536])::vector, '4713-01-01 BC',"
            "  '294276-12-31 23:59:59.999999', null, '{}'),"
            " (repeat('b', 64), E'\\\\.', E'\\\\N', -1, repeat(E'é\\n\\t\\\\', 250000),"
            "  decode(repeat('00ff', 3000), 'hex'), array_fill(1e-38, array[1536])::vector, now(), now(), now(),"
            "  array['a', null, '', 'NULL', '{x}'])"
        )

        assert prove(target, write(target, tmp_path).path).fingerprint.rows == 3

    def test_is_a_backup_of_a_quarantined_table(self, target, three_rows, tmp_path, nothing_left):
        call_command("migrate", "memops", "zero", database=target, verbosity=0)
        with session.connect(target) as connection:
            name = connection.execute(
                "select relname from pg_class where relnamespace = 'memops_quarantine'::regnamespace"
                " and relname like 'memory_chunks_2%' and relkind = 'r'"
            ).fetchall()[0][0]

        proved = prove(target, write(target, tmp_path, schema="memops_quarantine", name=name).path)

        assert proved.fingerprint.rows == 3

    def test_is_a_backup_of_a_table_that_another_role_owns(self, target, owner, dba, tmp_path, new_role, nothing_left):
        role = sql.Identifier(new_role("another owner"))
        dba.execute(sql.SQL("grant create on schema public to {}").format(role))
        dba.execute(sql.SQL("grant {} to memops_owner").format(role))
        dba.execute(sql.SQL("alter table public.memory_chunks owner to {}").format(role))

        assert prove(target, write(target, tmp_path).path).fingerprint.rows == 0

    def test_is_a_backup_of_a_table_with_every_odd_part_that_is_compared(
        self, target, owner, tmp_path, new_role, nothing_left
    ):
        owner.execute(
            sql.SQL(
                "alter table public.memory_chunks add column line int generated always as identity,"
                " add column doubled int generated always as (chunk_index * 2) stored,"
                ' alter model type varchar(100) collate "C", drop column char_start;'
                " create unique index on public.memory_chunks (lower(doc_id) desc nulls last) include (source);"
                " create policy reading on public.memory_chunks as restrictive for select to {0} using (source <> '');"
                " grant select (doc_id, source) on public.memory_chunks to {0};"
                " grant insert on public.memory_chunks to {0} with grant option;"
                " grant select on public.memory_chunks to public;"
                " insert into public.memory_chunks (user_hash, doc_id, source, chunk_index)"
                " values (repeat('a', 64), 'x', 'y', 1)"
            ).format(sql.Identifier(new_role("reader")))
        )
        owner.execute(index_ivfflat())

        assert prove(target, write(target, tmp_path).path).fingerprint.rows == 1

    def test_is_a_backup_though_the_role_is_hampered(self, target, three_rows, dba, tmp_path, new_role, nothing_left):
        role = new_role("hampered", "login bypassrls createdb in role memops_owner")
        for setting in ("statement_timeout = '500ms'", "maintenance_work_mem = '1MB'", "datestyle = 'German'"):
            dba.execute(sql.SQL("alter role {} set " + setting).format(sql.Identifier(role)))
        with alias_of("hampered", NAME=connections[target].settings_dict["NAME"], USER=role) as alias:
            assert prove(alias, write(alias, tmp_path).path).fingerprint.rows == 3

    def test_is_a_backup_whose_indexes_do_not_fit_into_shared_memory(self, small, backup, settings, monkeypatch):
        """As in a container with 64 MB of it, the server refuses the parallel build; one process then does it."""
        settings.MEMOPS_MAINTENANCE_WORK_MEM_BYTES = 2**40
        monkeypatch.setattr(restore, "SHM", Path("/nowhere"))
        monkeypatch.setattr(restore, "_without_shared_memory", set())

        assert prove(small, backup.path).fingerprint == backup.fingerprint
        if (os.cpu_count() or 1) > 1:
            assert len(restore._without_shared_memory) == 1


class TestDamaged:
    def test_by_one_bit_anywhere_is_not_even_opened(self, small, backup):
        content = bytearray(backup.path.read_bytes())
        place = scratch.place(small)
        for tenth in range(11):
            position = min(len(content) * tenth // 10, len(content) - 1)
            content[position] ^= 4
            backup.path.write_bytes(content)
            with pytest.raises(ArchiveDamaged, match="SHA-256"):
                restore.verify(
                    path=backup.path, manifest=backup.manifest, alias=small, scratch_place=place, progress=ignore
                )
            content[position] ^= 4

    @pytest.mark.parametrize("length", [0, 1, 100_000])
    def test_by_being_cut_off(self, small, backup, length):
        backup.path.write_bytes(backup.path.read_bytes()[:length])

        with pytest.raises(ArchiveDamaged, match=f"it has {length:,} bytes"):
            prove(small, backup.path)

    def test_by_bytes_behind_its_end(self, small, backup):
        backup.path.write_bytes(backup.path.read_bytes() + b"\0")

        with pytest.raises(ArchiveDamaged, match="were written"):
            prove(small, backup.path)

    def test_by_being_gone(self, small, backup):
        backup.path.unlink()

        with pytest.raises(ArchiveDamaged, match="No such file"):
            prove(small, backup.path, backup.manifest)

    def test_by_a_disk_that_does_not_give_it_back(self, small, backup):
        """The memory of a process reads as a file with an error on its first block."""
        with pytest.raises(ArchiveDamaged, match=r"it cannot be read \(Input/output error\)"):
            prove(small, Path(f"/proc/{os.getpid()}/mem"), replace(backup.manifest, size_bytes=0))

    def test_by_a_link_in_the_place_of_its_folder(self, small, backup, tmp_path):
        (tmp_path / "link").symlink_to(backup.path.parent)

        with pytest.raises(ArchiveDamaged, match="its folder is a symbolic link"):
            prove(small, tmp_path / "link" / backup.path.name, backup.manifest)

    @pytest.mark.parametrize(("change", "told"), OPENED.items(), ids=str)
    def test_by_being_open_to_others_is_not_even_opened(self, small, backup, change, told):
        change(backup.path)

        with pytest.raises(BackupOpenToOthers, match=told):
            prove(small, backup.path, backup.manifest)

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/hostname")])
    def test_by_being_something_else(self, small, backup, make):
        backup.path.unlink()
        make(backup.path)

        with pytest.raises(ArchiveDamaged, match=r"not a file|directory|symbolic"):
            prove(small, backup.path, backup.manifest)


class TestForged:
    """Somebody gave the manifest a hash that fits another archive."""

    def test_with_a_broken_compression(self, small, backup, forge):
        content = bytearray(backup.path.read_bytes())
        content[len(content) // 2] ^= 255

        with pytest.raises((ArchiveDamaged, RestoreFailed, RestoredDiffers)):
            prove(small, backup.path, forge(bytes(content)))

    @pytest.mark.parametrize("share", [0.5, 0.999])
    def test_with_a_compression_that_breaks_off(self, small, backup, forge, share):
        content = backup.path.read_bytes()

        with pytest.raises((ArchiveDamaged, RestoreFailed)):
            prove(small, backup.path, forge(content[: int(len(content) * share)]))

    def test_with_one_byte_of_a_value_changed(self, small, backup, forge):
        raw = bytearray(unpacked(backup))
        position = raw.index(b"\tnotes\t") + 1
        raw[position : position + 5] = b"noted"

        with pytest.raises(RestoredDiffers, match="fingerprint") as raised:
            prove(small, backup.path, forge(zstandard.ZstdCompressor().compress(bytes(raw))))

        assert "noted" not in str(raised.value)

    def test_with_an_archive_that_breaks_off(self, small, backup, forge):
        raw = unpacked(backup)
        shorter = raw[: len(raw) // 2]

        with pytest.raises(RestoreFailed, match="end of file"):
            prove(small, backup.path, forge(zstandard.ZstdCompressor().compress(shorter), raw_bytes=len(shorter)))

    @pytest.mark.parametrize("nonsense", [b"not an archive" * 1000, b"select 1;\n", b"--\n" * 5000, b"PGDMP", b"\n"])
    def test_with_no_archive_at_all(self, small, backup, forge, nonsense):
        with pytest.raises(RestoreFailed, match=r"does not restore into a database on the same server \(exit code 1\)"):
            prove(small, backup.path, forge(zstandard.ZstdCompressor().compress(nonsense), raw_bytes=len(nonsense)))

    def test_with_one_that_unpacks_to_more(self, small, backup, forge):
        with pytest.raises((ArchiveDamaged, RestoreFailed), match=r"unpacks to more|archive"):
            prove(small, backup.path, forge(zstandard.ZstdCompressor().compress(bytes(2**28)), raw_bytes=1000))

    def test_with_the_archive_of_another_table(self, small, backup, forge, tmp_path):
        with session.connect(small) as connection:
            connection.execute("create table public.another (a int)")
        other = write(small, tmp_path, name="another", stem="other")

        with pytest.raises(RestoredDiffers, match=r"there is no public\.memory_chunks"):
            prove(small, backup.path, forge(other.path.read_bytes(), raw_bytes=other.raw_bytes))

    def test_with_the_archive_of_the_same_table_before(self, small, backup, tmp_path):
        with session.connect(small) as connection:
            connection.execute(
                "delete from public.memory_chunks where id = (select id from public.memory_chunks limit 1)"
            )
        after = write(small, tmp_path, stem="after")
        shutil.copy(backup.path, after.path)

        with pytest.raises(ArchiveDamaged):
            prove(small, after.path)
        with pytest.raises(RestoredDiffers, match="60 rows"):
            prove(
                small,
                backup.path,
                replace(
                    after.manifest,
                    sha256=backup.sha256,
                    size_bytes=backup.size_bytes,
                    raw_bytes=backup.raw_bytes,
                ),
            )

    @pytest.mark.parametrize("seen", ["nothing", "a tenant"])
    def test_with_a_dump_that_row_level_security_has_cut(self, small, backup, forge, seen):
        """What pg_dump gives to a role for which it holds, if it is told to be content with that."""
        tenants = query(small, "select user_hash, count(*) from public.memory_chunks group by 1 order by 1")
        options, rows = ("", 0) if seen == "nothing" else (f"-c app.user_hash={tenants[0][0]}", tenants[0][1])
        program = clients.find("pg_dump", server_version=180000).path
        name = connections[small].settings_dict["NAME"]
        with (
            alias_of("app", NAME=name, USER=embedded.APP_ROLE) as alias,
            session.child_environment(session.libpq_params(alias), PGOPTIONS=options) as environment,
        ):
            raw = subprocess.run(
                [program, "-Fc", "-Z0", "--enable-row-security", "--table=public.memory_chunks"],
                env=environment,
                capture_output=True,
                check=True,
            ).stdout

        with pytest.raises(RestoredDiffers, match=f"it has {rows} rows .* dumped were 60"):
            prove(small, backup.path, forge(zstandard.compress(raw), raw_bytes=len(raw)))

    @pytest.mark.parametrize(
        ("part", "name", "told"),
        [
            ("policies", "memory_tenant_isolation", "policy memory_tenant_isolation"),
            ("indexes", "idx_memory_chunks_embedding_hnsw", "index idx_memory_chunks_embedding_hnsw"),
            ("constraints", "memory_chunks_pkey", "constraint memory_chunks_pkey"),
        ],
    )
    def test_with_a_catalogue_that_lacks_something(self, small, backup, part, name, told):
        path = manifest.path_of(backup.path)
        content = json.loads(path.read_text())
        del content["catalogue"][part][name]
        path.write_text(json.dumps(content))

        with pytest.raises(RestoredDiffers, match=told):
            prove(small, backup.path)

    def test_with_another_row_security(self, small, backup):
        described = {**backup.manifest.catalogue, "row_security": {"enabled": True, "forced": False}}

        with pytest.raises(RestoredDiffers, match=r"row security is .*'forced': True.*, not .*'forced': False"):
            prove(small, backup.path, replace(backup.manifest, catalogue=described))

    def test_without_its_content_in_the_message(self, target, owner, three_rows, tmp_path):
        owner.execute("update public.memory_chunks set created_at = 'infinity'")
        written = write(target, tmp_path)
        broken = unpacked(written).replace(b"\tinfinity\t", b"\ta-secret\t")
        packed = zstandard.compress(broken)
        written.path.write_bytes(packed)
        described = replace(
            written.manifest, sha256=hashlib.sha256(packed).hexdigest(), size_bytes=len(packed), raw_bytes=len(broken)
        )

        with pytest.raises(RestoreFailed, match="invalid input syntax for type timestamp") as failed:
            prove(target, written.path, described)

        assert "a-secret" not in str(failed.value)

    def test_with_a_catalogue_that_lacks_a_whole_part(self, small, backup):
        path = manifest.path_of(backup.path)
        content = json.loads(path.read_text())
        del content["catalogue"]["policies"]
        path.write_text(json.dumps(content))

        with pytest.raises(ManifestUnusable, match="whole table"):
            prove(small, backup.path)


class TestSomethingIsMissing:
    def test_a_role_on_the_same_server(self, target, owner, dba, tmp_path, new_role, nothing_left):
        role = new_role("reporting")
        owner.execute(sql.SQL("grant select on public.memory_chunks to {}").format(sql.Identifier(role)))
        written = write(target, tmp_path)
        dba.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(role)))

        with pytest.raises(NoScratch, match=role):
            prove(target, written.path)

    def test_a_newer_extension(self, small, backup):
        newer = replace(backup.manifest, extensions={"vector": "99.1"})

        with pytest.raises(NoScratch, match=r"older than the 99\.1"):
            prove(small, backup.path, newer)

    @pytest.mark.parametrize(
        "definition",
        ["create function public.f() returns int language sql return 1; create table public.smuggled ()", "nonsense"],
    )
    def test_a_function_that_cannot_be_made_is_named_and_nothing_else_is_executed(self, small, backup, definition):
        edited = replace(backup.manifest, functions={"public.f()": ["public", definition]})

        with pytest.raises(NoScratch, match=r"the table's function public\.f\(\) cannot be made"):
            prove(small, backup.path, edited)

    def test_roles_are_made_on_a_server_of_its_own(self, target, owner, tmp_path, new_role, guarded_server, settings):
        role = new_role("only here")
        owner.execute(sql.SQL("grant select on public.memory_chunks to {}").format(sql.Identifier(role)))
        written = write(target, tmp_path)
        settings.MEMOPS_SCRATCH_URL = embedded.superuser_url(guarded_server)
        try:
            proved = prove(target, written.path)
        finally:
            forget_roles(guarded_server, role)

        assert (proved.fingerprint.rows, proved.place) == (0, "a database on the scratch server")

    def test_roles_owner_and_schema_are_made_on_the_embedded_server(
        self, target, dba, three_rows, tmp_path, new_role, settings
    ):
        settings.MEMOPS_SCRATCH_URL = "embedded"
        role, reader = new_role("owner of this", "login bypassrls"), new_role("reader")
        dba.execute(
            sql.SQL(
                "create schema apart authorization {0}; alter table public.memory_chunks set schema apart;"
                " alter table apart.memory_chunks owner to {0}; grant select on apart.memory_chunks to {1}"
            ).format(sql.Identifier(role), sql.Identifier(reader))
        )
        try:
            with alias_of("modest", NAME=connections[target].settings_dict["NAME"], USER=role) as alias:
                proved = prove(alias, write(alias, tmp_path, schema="apart").path)
        finally:
            forget_roles(settings.MEMOPS_HOME / "scratch", role, reader)

        assert (proved.fingerprint.rows, proved.place) == (3, "a database on the embedded server")


class TestStopped:
    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    @pytest.mark.parametrize("after", [0, 1, 100_000])
    def test_while_it_restores_nothing_is_left(self, small, backup, error, after):
        def progress(done: int, total: int | None) -> None:
            if done >= after:
                raise error

        with pytest.raises(error):
            prove(small, backup.path, progress=progress)

        assert "pg_restore" not in children_of_ours().values()

    def test_by_the_loss_of_its_session(self, small, backup, settings):
        url = embedded.superuser_url(settings.MEMOPS_HOME)
        before, ended = scratch_databases(url), []

        def end(done: int, total: int | None) -> None:
            if done and not ended:
                with psycopg.connect(url, autocommit=True) as server:
                    ours = list(scratch_databases(url) - before)
                    ended.extend(
                        server.execute(
                            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = any(%s)",
                            [ours],
                        ).fetchall()
                    )

        with pytest.raises(RestoreFailed):
            prove(small, backup.path, progress=end)

        assert ended

    def test_by_the_death_of_pg_restore(self, small, backup):
        def kill(done: int, total: int | None) -> None:
            for pid, name in children_of_ours().items():
                if name == "pg_restore":
                    os.kill(pid, signal.SIGKILL)

        with pytest.raises(RestoreFailed, match="killed by SIGKILL"):
            prove(small, backup.path, progress=kill)
