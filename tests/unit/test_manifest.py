"""Only the manifest says what has to be in an archive: one that is not as memops wrote it is refused, unopened."""

import json
from pathlib import Path

import pytest

from memops.console.errors import BackupOpenToOthers, ManifestUnusable
from memops.console.pg import manifest
from memops.console.pg.manifest import Manifest

CATALOGUE = {
    "owner": "memops_owner",
    "persistence": "p",
    "row_security": {"enabled": True, "forced": True},
    "columns": [["id", "uuid", True, None]],
    "policies": {"isolation": [True, ["memops_app"], "all", "true", "true"]},
    "constraints": {},
    "indexes": {},
    "triggers": {},
    "grants": [["memops_app", "select", False, ""]],
}
WRITTEN = Manifest(
    archive="one.dump.zst",
    format="archive",
    sha256="0" * 64,
    size_bytes=7,
    raw_bytes=70,
    schema="public",
    name="memory_chunks",
    table_oid=16400,
    fingerprint=f"fp1-md5:3:{'0' * 64}",
    catalogue=CATALOGUE,
    server={"system_identifier": "1", "database": "memops", "database_oid": 5, "role": "memops_owner"},
    versions={"memops": "1", "server": "18.4", "client": "18.4"},
    extensions={"vector": "0.8.5"},
    functions={"public.touch()": ["public", "create function public.touch() ..."]},
    target="default",
    snapshot="1-2-3",
    started_at="2026-01-01T00:00:00+00:00",
    ended_at="2026-01-01T00:00:01+00:00",
    facts={"run": 1},
)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The path of an archive; its manifest lies beside it."""
    path = tmp_path / WRITTEN.archive
    manifest.path_of(path).write_text(WRITTEN.as_text())
    return path


def rewrite(path: Path, /, **changes: object) -> None:
    content = json.loads(WRITTEN.as_text())
    manifest.path_of(path).write_text(json.dumps({**content, **changes}))


def test_what_was_written_is_read_again(archive):
    assert manifest.read(archive) == WRITTEN
    assert WRITTEN.rows == 3


def test_one_that_is_missing_is_told(archive):
    manifest.path_of(archive).unlink()

    with pytest.raises(ManifestUnusable, match=r"manifest one\.json is missing"):
        manifest.read(archive)


@pytest.mark.parametrize("left", [0, 1, 100, -3])
def test_one_that_was_cut_off_is_refused(archive, left):
    manifest.path_of(archive).write_text(WRITTEN.as_text()[:left])

    with pytest.raises(ManifestUnusable, match="is not JSON"):
        manifest.read(archive)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_one_of_another_version_is_refused(archive, version):
    rewrite(archive, memops_manifest=version)

    with pytest.raises(ManifestUnusable, match="is not a manifest of version 1"):
        manifest.read(archive)


def test_one_of_another_file_is_refused(archive):
    manifest.path_of(archive).rename(archive.with_name("two.json"))

    with pytest.raises(ManifestUnusable, match="belongs to another file"):
        manifest.read(archive.with_name("two.dump.zst"))


@pytest.mark.parametrize(
    "edit",
    [
        {"sha256": "0"}, {"sha256": 7}, {"size_bytes": "7"}, {"size_bytes": True}, {"size_bytes": -1},
        {"size_bytes": 0},
        {"fingerprint": "fp9:1:0"}, {"fingerprint": f"fp1-md5:-3:{'0' * 64}"}, {"archive": "../one.dump.zst"},
        {"catalogue": {}}, {"catalogue": []}, {"more": 1}, {"format": "nothing"}, {"versions": {}},
        {"versions": {"memops": 1, "server": 18, "client": 18}}, {"name": None}, {"facts": []},
        {"functions": []}, {"functions": {"f()": "create"}}, {"functions": {"f()": ["public", 7]}},
        {"catalogue": {**CATALOGUE, "policies": {"isolation": [True]}}}, {"catalogue": {**CATALOGUE, "columns": [7]}},
    ],
    ids=str,
)  # fmt: skip
def test_one_that_was_edited_is_refused(archive, edit):
    rewrite(archive, **edit)

    with pytest.raises(ManifestUnusable):
        manifest.read(archive)


@pytest.mark.parametrize("part", CATALOGUE)
def test_a_part_of_the_catalogue_that_is_left_out_is_not_passed_over(archive, part):
    rewrite(archive, catalogue={key: value for key, value in CATALOGUE.items() if key != part})

    with pytest.raises(ManifestUnusable, match="its catalogue was edited"):
        manifest.read(archive)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[]", b"null", b'"text"', b"[" * 100_000, b" " * 2_000_000, b"1" * 10_000], ids=len
)
def test_one_that_is_something_else_is_refused(archive, content):
    manifest.path_of(archive).write_bytes(content)

    with pytest.raises(ManifestUnusable):
        manifest.read(archive)


def test_a_link_is_not_followed(archive, tmp_path):
    path = manifest.path_of(archive)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ManifestUnusable, match="symbolic link"):
        manifest.read(archive)


def test_a_link_in_the_place_of_its_folder_is_not_followed(archive, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(archive.parent)

    with pytest.raises(ManifestUnusable, match="lies in a folder that is a symbolic link"):
        manifest.read(link / archive.name)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666], ids=oct)
def test_one_that_others_may_write_is_not_opened(archive, mode):
    manifest.path_of(archive).chmod(mode)

    with pytest.raises(BackupOpenToOthers, match=rf"one\.json was not opened: others may write it \(mode {mode:o}\)"):
        manifest.read(archive)


def test_a_folder_is_told(archive):
    manifest.path_of(archive).unlink()
    manifest.path_of(archive).mkdir()

    with pytest.raises(ManifestUnusable):
        manifest.read(archive)
