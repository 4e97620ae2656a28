"""Rights on files: what memops makes is for its account alone, and where rights are missing the run says so."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from memops.console.errors import PlanRefused
from memops.console.models import Backup
from memops.console.runs.request import submit
from memops.console.steps.examination import backup_folder
from tests.faults import ground
from tests.faults.disturbed import (
    BACKUP,
    EMERGENCY,
    GUIDED,
    PLANS,
    VERIFY,
    Fault,
    advanced,
    assert_the_same_succeeds,
    assert_told_and_harmless,
    execute,
    newest_backup,
    when,
)
from tests.limits import give_to_whom_permissions_hold, permissions_count


def folder() -> Path:
    return backup_folder(ground.TARGET)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def ours(console) -> Iterator[ground.Before]:
    """A console that works with an account's rights: permissions count, whoever runs the tests."""
    place = Path(tempfile.mkdtemp(prefix="memops-test-"))
    with console() as before:
        settings.MEMOPS_BACKUP_DIR = place / "backups"
        settings.MEMOPS_ANCHORS = place / "anchors.jsonl"
        give_to_whom_permissions_hold(place)
        with permissions_count():
            yield before
    shutil.rmtree(place)


@contextmanager
def folder_with_mode(mode: int) -> Iterator[None]:
    folder().chmod(mode)
    yield
    folder().chmod(0o700)


def from_then_on(moment: str, mode: int) -> Callable[[], object]:
    @contextmanager
    def happens() -> Iterator[None]:
        with when(moment, lambda: folder().chmod(mode)):
            yield
        folder().chmod(0o700)

    return happens


DENIED = {
    "read-only folder before the precheck": Fault(
        happens=from_then_on("precheck before", 0o500), told=r"cannot be written \(Permission denied", state="refused"
    ),
    "read-only folder before the backup": Fault(
        happens=from_then_on("backup before", 0o500), told="cannot be used: Permission denied", state="refused"
    ),
    "closed folder before the proof": Fault(
        happens=from_then_on("verify before", 0o000),
        told=r"manifest .* cannot be read \(Permission denied\)",
        state="refused",
    ),
}


def test_a_folder_that_cannot_be_written_or_read_is_told_at_whatever_moment(ours, fault):
    assert PLANS[GUIDED]().is_possible
    with fault("read-only folder at planning"), folder_with_mode(0o500):
        with pytest.raises(PlanRefused, match=r"cannot be written \(Permission denied, EACCES\)"):
            execute(PLANS[GUIDED]())
        assert PLANS[GUIDED]().emergency_possible
    for name, one in DENIED.items():
        with fault(name):
            assert_told_and_harmless(GUIDED, one, ours)

    assert_the_same_succeeds(GUIDED, ours)


def test_what_a_read_only_folder_keeps_of_a_backup_is_told_and_removed_by_the_next(ours, fault):
    with fault("read-only folder during the dump"):
        with from_then_on("backup while", 0o500)():
            run = execute(PLANS[GUIDED]())

            assert (run.state, run.outcome) == ("refused", "nothing")
            assert "cannot be used: Permission denied" in run.error
            left = sorted(file.name for file in folder().iterdir())
        failed = Backup.objects.get()
        assert len(left) == 2
        assert failed.state == "failed"
        assert f"Left in {folder()} until the next backup removes it: " in failed.error
        assert all(name in failed.error for name in left)

        again = execute(PLANS[BACKUP]())

        assert (again.state, again.error) == ("done", "")
        failed.refresh_from_db()
        assert failed.location == ""
        assert all(f"Removed {name}, which the failed backup" in again.steps.get(name="backup").log for name in left)
        ground.assert_consistent(run, ours)


@pytest.mark.parametrize("umask", [0o000, 0o777], ids=oct)
def test_whatever_the_umask_is_everything_is_for_its_owner_alone(console, fault, umask):
    with console() as before, fault(f"umask {umask:03o}"):
        place = Path(settings.MEMOPS_BACKUP_DIR).parent / "not" / "there"
        settings.MEMOPS_BACKUP_DIR = place / "backups"
        settings.MEMOPS_ANCHORS = place / "anchors" / "anchors.jsonl"
        was = os.umask(umask)
        try:
            assert_the_same_succeeds(BACKUP, before)
        finally:
            os.umask(was)

        made = [place.parent, *place.parent.rglob("*")]
        assert {mode_of(path) for path in made if path.is_dir()} == {0o700}
        assert {mode_of(path) for path in made if path.is_file()} == {0o600}
        assert len([path for path in made if path.is_file()]) == 3


def opened_to(mode: int, *, what: Callable[[], Path] = folder) -> Callable[[], object]:
    @contextmanager
    def happens() -> Iterator[None]:
        what().chmod(mode)
        yield
        what().chmod(0o700)

    return happens


def test_a_folder_that_is_open_to_others_is_refused_or_doubted_when_it_is_planned(console, fault):
    with console() as before, fault("backup folder open to others"):
        assert [finding.text for finding in PLANS[GUIDED]().findings if finding.code == "backup folder"] == []
        for mode in (0o777, 0o702, 0o1777):
            with opened_to(mode)():
                guided, emergency = PLANS[GUIDED](), PLANS[EMERGENCY]()
                assert [finding.code for finding in guided.refusals] == ["backup folder"]
                assert f"everybody on this machine may write to it (mode {mode:o}" in guided.refusals[0].text
                assert emergency.is_possible
        for mode, doubt in (
            (0o770, "the accounts of its group may remove and replace"),
            (0o755, "others may see which backups there are"),
        ):
            with opened_to(mode)():
                plan = PLANS[GUIDED]()
                assert plan.is_possible
                assert any(doubt in finding.text for finding in plan.findings)
        with opened_to(0o777, what=lambda: folder().parent)():
            assert any("put another folder in its place" in finding.text for finding in PLANS[GUIDED]().findings)
        opened_later = Fault(
            happens=from_then_on("precheck before", 0o777),
            told="is open to others: everybody on this machine may write to it",
            state="refused",
        )
        assert_told_and_harmless(GUIDED, opened_later, before)


def test_a_folder_that_is_a_link_or_has_lost_its_newest_backup_is_told_when_it_is_planned(console, fault):
    """A disk that is not mounted leaves an empty folder behind."""
    with console() as before:
        assert_the_same_succeeds(BACKUP, before)
        aside = folder().with_name("aside")
        with fault("symlink in place of the folder at planning"):
            folder().rename(aside)
            folder().symlink_to(aside)

            assert [finding.text for finding in PLANS[GUIDED]().refusals if "it is a symbolic link" in finding.text]

            folder().unlink()
        with fault("backup folder that is not mounted"):
            folder().mkdir(mode=0o700)

            plan = PLANS[GUIDED]()

            assert plan.is_possible
            [told] = [finding.text for finding in plan.findings if finding.code == "backup missing"]
            assert newest_backup().location in told
            assert "its disk not mounted" in told
            folder().rmdir()
            aside.rename(folder())
        assert PLANS[GUIDED]().findings == []


def test_what_does_not_change_a_backup_is_no_reason_to_refuse_it(console):
    with console() as before:
        assert_the_same_succeeds(BACKUP, before)
        archive = Path(newest_backup().location)
        snapshot = archive.parent.with_name("snapshot.zst")
        os.link(archive, snapshot)
        archive.chmod(0o644)

        run = execute(PLANS[VERIFY]())

        assert (run.state, run.outcome) == ("done", "verified")
        log = run.steps.get(name="verify").log
        assert f"Noticed: others may read {archive.name} (mode 644)" in log
        assert log.count("Noticed") == 1


def test_a_run_that_was_queued_before_the_folder_was_closed_says_so(ours, fault):
    """By the time that a worker takes it, everything may be another."""
    plan = PLANS[BACKUP]()
    run = submit(plan, requester=ground.ME, reason="tonight", seen_digest=plan.digest)
    with fault("closed folder before the run"), folder_with_mode(0o000):
        advanced(run)

        assert (run.state, run.outcome) == ("refused", "nothing")
        assert "Permission denied" in run.error
    ground.assert_consistent(run, ours)
