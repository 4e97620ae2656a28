"""What a lost worker has left on the disk and on the scratch server is removed by reconcile, and nothing else is."""

from django.db import connections
from django.utils import timezone

from memops.console.models import Backup, Run
from memops.console.pg import dump
from memops.console.runs import reconcile
from memops.console.runs.advance import advance
from memops.console.steps.examination import backup_folder
from tests.databases import as_superuser
from tests.faults import ground


def test_what_a_lost_worker_left_behind_is_removed_and_told_and_nothing_else(console):
    with console():
        run = ground.ask_for_rollback()
        Run.objects.filter(pk=run.pk).update(state="running")
        run.steps.filter(name__in=["backup", "verify"]).update(started_at=timezone.now())
        folder = backup_folder("default")
        stem = f"20260101_000000_default_public_memory_chunks_run{run.pk}_backup1"
        backup = Backup.objects.create(
            run=run,
            target_id="default",
            relation=ground.PUBLIC,
            table_oid=1,
            location=str(folder / f"{stem}.dump.zst"),
        )
        left = [
            folder / f"{stem}.dump.zst",
            folder / f"{stem}.json.partial",
            folder / "x_run7_backup7.dump.zst.partial",
        ]
        others = [folder / f"{stem}0.dump.zst", folder / "notes.txt"]
        for file in left + others:
            file.write_bytes(b"" if file == left[1] else b"rows")
        scratch_name = "memops_scratch_1_0000000f"
        as_superuser("create database {} owner {}", scratch_name, "memops_owner")

        [settled] = reconcile.reconcile(requester=ground.ME)

        assert sorted(folder.iterdir()) == sorted(others)
        removed = [
            *(f"the unfinished backup file {file.name}" for file in left),
            f"the scratch database {scratch_name}",
        ]
        assert sorted(settled.removed) == sorted(removed)
        assert f"removed: the unfinished backup file {left[0].name}" in settled.text
        with connections["default"].cursor() as cursor:
            cursor.execute("select from pg_database where datname = %s", [scratch_name])
            assert cursor.fetchall() == []
        backup.refresh_from_db()
        assert (backup.state, backup.error, backup.location) == (
            "failed", "The worker was lost while it was written.", ""
        )  # fmt: skip


def test_a_backup_that_was_taken_for_lost_is_not_kept_when_its_worker_ends_after_all(console, monkeypatch):
    """Its record was closed while it was written: a file that no list shows would stay for ever."""
    complete = dump.dump

    def settled_meanwhile(*arguments, **options):
        done = complete(*arguments, **options)
        Backup.objects.update(state="failed")
        return done

    monkeypatch.setattr(dump, "dump", settled_meanwhile)
    with console() as before:
        run = ground.ask_for_rollback()

        advance(run.pk)

        assert Backup.objects.get().state == "failed"
        assert list(backup_folder("default").iterdir()) == []
        ground.settle(run)
        assert run.state == "interrupted"
        ground.assert_consistent(run, before)
