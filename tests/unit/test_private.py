"""Folders that memops makes are for its own account, whatever the umask of whoever started it."""

import os
import stat

import pytest

from project.private import make_folder


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777], ids=oct)
def test_a_folder_and_those_above_it_are_made_for_their_owner_alone(tmp_path, umask):
    folder = tmp_path / "a" / "b" / "c"
    before = os.umask(umask)
    try:
        make_folder(folder)
    finally:
        os.umask(before)

    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents[:2])} == {0o700}


def test_one_that_is_there_is_left_as_it_is(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o750)

    make_folder(folder / "inside")

    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


@pytest.mark.parametrize("in_the_way", ["folder", "above"])
def test_a_file_in_its_place_is_an_error(tmp_path, in_the_way):
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(OSError, match=r"exists|Not a directory"):
        make_folder(file if in_the_way == "folder" else file / "inside")
