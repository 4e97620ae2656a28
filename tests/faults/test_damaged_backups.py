"""Backups that are not what they were: each is told before anything is touched, and counts again when it is whole."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard
from django.db import connections

from memops.console.pg import clients, dump, manifest, session
from project import embedded
from tests.databases import alias_of, as_superuser, fresh_database
from tests.faults import ground
from tests.faults.disturbed import (
    BACKUP,
    GUIDED,
    PLANS,
    VERIFY,
    Fault,
    assert_the_same_succeeds,
    assert_told_and_harmless,
    execute,
    newest_backup,
    when,
)

Damage = Callable[[Path], object]
"""What is done to an archive, or to the manifest beside it."""

NOT_THE_SAME_BYTES = "its SHA-256 is not the one in its manifest"
EDITED = r"its manifest is not the one that was written with it: it differs in [a-z0-9 ,]+\. It was edited"
OF_ANOTHER_DATABASE = r"differs in [a-z0-9 ,]*server[a-z0-9 ,]*\. It belongs to a backup of another database"


def damaged(damage: Damage) -> Callable[[], object]:
    """The newest backup is damaged just before it is proved, and mended afterwards."""

    @contextmanager
    def happens() -> Iterator[None]:
        kept: dict[Path, bytes] = {}

        def strike() -> None:
            archive = Path(newest_backup().location)
            kept.update({file: file.read_bytes() for file in (archive, manifest.path_of(archive))})
            damage(archive)

        with when("verify before", strike):
            yield
        for file, content in kept.items():
            file.write_bytes(content)
            file.chmod(0o600)

    return happens


def flipped(content: bytes, position: int, bit: int) -> bytes:
    return content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :]


def bit_flip(share: float, *, bit: int = 2, of: Callable[[Path], Path] = lambda archive: archive) -> Damage:
    """In the middle of the file or wherever: 0 is its first byte, 1 its last."""

    def damage(archive: Path) -> None:
        content = of(archive).read_bytes()
        of(archive).write_bytes(flipped(content, int((len(content) - 1) * share), bit))

    return damage


def cut_to(share: float) -> Damage:
    return lambda archive: os.truncate(archive, int(archive.stat().st_size * share))


def edit_manifest(archive: Path, /, **changes: object) -> None:
    file = manifest.path_of(archive)
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def forge(archive: Path, raw: bytes) -> None:
    """Other content in the place of the archive, and a manifest that was made to fit it."""
    packed = zstandard.compress(raw)
    archive.write_bytes(packed)
    edit_manifest(archive, sha256=sha256(packed).hexdigest(), size_bytes=len(packed), raw_bytes=len(raw))


def pg_dump(alias: str, *arguments: str) -> bytes:
    program = clients.find("pg_dump", server_version=embedded.MAJOR * 10000).path
    with session.child_environment(session.libpq_params(alias)) as environment:
        done = subprocess.run(
            [program, "--format=custom", "--compress=none", *arguments],
            env=environment,
            capture_output=True,
            check=True,
        )
    return done.stdout


def forged_with_plain_sql(archive: Path) -> None:
    forge(archive, b"drop table public.memory_chunks;\n")


def forged_with_another_table(archive: Path) -> None:
    forge(archive, pg_dump(ground.TARGET, "--table=public.django_migrations"))


def forged_with_a_part_of_the_rows(archive: Path) -> None:
    """What pg_dump gives to a role for which row-level security holds, if it is told to be content with that."""
    name = connections.databases[ground.TARGET]["NAME"]
    with alias_of("app", NAME=name, USER=embedded.APP_ROLE) as alias:
        forge(archive, pg_dump(alias, "--enable-row-security", "--table=public.memory_chunks"))


def replaced_by_another_of_ours(archive: Path) -> None:
    """The first backup under the name of the newest: a whole one, and its manifest says that name."""
    [first] = [file for file in archive.parent.glob("*.zst") if file.name.endswith("_backup1.dump.zst")]
    archive.write_bytes(first.read_bytes())
    manifest.path_of(archive).write_bytes(manifest.path_of(first).read_bytes())
    edit_manifest(archive, archive=archive.name)


@dataclass
class OtherDatabase:
    """Another console's: the same table, in a database of its own."""

    alias: str

    def replaces(self, archive: Path) -> None:
        """Archive and manifest belong together, untouched, under these very names; but not to this record."""
        for file in (archive, manifest.path_of(archive)):
            file.unlink()
        dump.dump(
            self.alias,
            schema="public",
            name="memory_chunks",
            folder=archive.parent,
            stem=archive.name.partition(".")[0],
            progress=lambda done, total: None,
            facts=newest_backup().manifest["facts"],
        )


@pytest.fixture
def other_database(filled_console, django_db_blocker) -> Iterator[OtherDatabase]:
    with fresh_database(filled_console[0]) as name, alias_of("other", NAME=name) as alias:
        yield OtherDatabase(alias)


ARCHIVE = {
    "bit flip": [(bit_flip(share), NOT_THE_SAME_BYTES) for share in (0, 0.00001, 0.3, 0.7, 1)],
    "truncation": [(cut_to(share), r"it has [\d,]+ bytes, and [\d,]+ were written") for share in (0.5, 0.999)],
    "empty file": [(cut_to(0), "it has 0 bytes")],
    "missing archive": [(lambda archive: archive.unlink(), "No such file or directory")],
    "plain SQL": [(lambda archive: archive.write_bytes(b"drop table public.memory_chunks;\n"), "it has 33 bytes")],
}
FORGED = {
    "plain SQL with a manifest that fits": forged_with_plain_sql,
    "another table's dump": forged_with_another_table,
    "dump taken under row-level security": forged_with_a_part_of_the_rows,
    "manifest edited": lambda archive: edit_manifest(archive, snapshot="1-1-1"),
    "another backup of the same table": replaced_by_another_of_ours,
}
MANIFEST_BITS = [(number / 7, number) for number in range(8)]


def assert_told(kind: str, told: str, damage: Damage, before: ground.Before, *, state: str = "failed") -> None:
    assert_told_and_harmless(kind, Fault(happens=damaged(damage), told=told, state=state), before)
    backup = newest_backup()
    assert (backup.state, backup.verification["ok"]) == ("written", False)


def test_a_damaged_backup_is_refused_by_a_verification_and_counts_again_when_it_is_whole(
    console, fault, other_database
):
    with console() as before:
        for _ in range(2):
            assert_the_same_succeeds(BACKUP, before)
        for name, damages in ARCHIVE.items():
            for damage, told in damages:
                with fault(name):
                    assert_told(VERIFY, told, damage, before)
        for share, bit in MANIFEST_BITS:
            with fault("bit flip in the manifest"):
                damage = bit_flip(share, bit=bit, of=manifest.path_of)
                assert_told(VERIFY, "manifest", damage, before, state="refused")
        for name, damage in FORGED.items():
            with fault(name):
                assert_told(VERIFY, EDITED, damage, before, state="refused")
        with fault("another database's dump"):
            assert_told(VERIFY, OF_ANOTHER_DATABASE, other_database.replaces, before, state="refused")

        assert_the_same_succeeds(VERIFY, before)


def test_a_guided_rollback_does_not_happen_with_a_backup_that_was_damaged_before_its_proof(
    console, fault, other_database
):
    with console() as before:
        for name in ("bit flip", "truncation"):
            damage, told = ARCHIVE[name][-1]
            with fault(name):
                assert_told(GUIDED, told, damage, before)
        with fault("bit flip in the manifest"):
            assert_told(GUIDED, "manifest", bit_flip(0.5, of=manifest.path_of), before, state="refused")
        for name in ("plain SQL with a manifest that fits", "dump taken under row-level security"):
            with fault(name):
                assert_told(GUIDED, EDITED, FORGED[name], before, state="refused")
        with fault("another database's dump"):
            assert_told(GUIDED, OF_ANOTHER_DATABASE, other_database.replaces, before, state="refused")

        assert_the_same_succeeds(GUIDED, before)


def test_a_role_that_vanishes_between_backup_and_proof_is_named_and_nothing_is_touched(console, fault):
    role = f"memops_test_reader_{os.getpid()}"
    as_superuser("create role {}", role)
    with console(), fault("missing role"):
        with connections[ground.TARGET].cursor() as cursor:
            cursor.execute(f"grant select on public.memory_chunks to {role}")

            def drop() -> None:
                cursor.execute(f"revoke all on public.memory_chunks from {role}")
                as_superuser("drop role {}", role)

            with when("verify before", drop):
                run = execute(PLANS[GUIDED]())

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert f"the archive names roles that the server does not have: {role}" in run.error
        before = ground.look()
        ground.assert_consistent(run, before)
        assert_the_same_succeeds(GUIDED, before)
