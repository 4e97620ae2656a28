"""Backups that have had their time are deleted; never the last proof of anything, never one that somebody holds."""

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, connections, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from memops import demo
from memops.console.errors import (
    AlreadyHeld,
    ExpiryChanged,
    NothingExpired,
    NothingToHold,
    NothingToVerify,
    ReasonMissing,
)
from memops.console.models import AuditEvent, Backup, Hold, QuarantinedTable
from memops.console.pg import keptfile, manifest
from memops.console.runs import approvals, history, holds, retention
from memops.console.runs.plan import plan_backup, plan_purge, plan_rollback, plan_verify
from memops.console.runs.retention import expire, verdicts
from tests.postgres.people import ONE, PASSWORD, as_requester, ask_for, execute
from tests.postgres.test_commands import memops
from tests.postgres.test_console import text

SURE = ("--confirm", "default", "--reason", "the disk is full")


@pytest.fixture
def olga(console_db: str) -> User:
    return User.objects.create_superuser("olga", password=PASSWORD)


@pytest.fixture
def newest(olga, settings) -> Backup:
    """A verified backup of now; one is kept, and those of the last thirty days."""
    demo.load("default", rows=20, tenants=3)
    history.notice("default")
    settings.MEMOPS_BACKUPS_KEEP, settings.MEMOPS_BACKUPS_KEEP_FOR = 1, timedelta(days=30)
    return execute(plan_backup("default"), olga).backups.get()


@pytest.fixture
def old(newest) -> Backup:
    """One of a hundred days ago."""
    return copy_of(newest, days=100)


def copy_of(backup: Backup, *, days: int, **more) -> Backup:
    """The same backup, as one that was made so many days ago."""
    path, then = Path(backup.location), timezone.now() - timedelta(days=days)
    copy = path.with_name(f"{days}_days_old_{path.name}")
    shutil.copy2(path, copy)
    shutil.copy2(manifest.path_of(path), manifest.path_of(copy))
    fields = {
        field.name: getattr(backup, field.name) for field in Backup._meta.concrete_fields if not field.primary_key
    }
    times = {"started_at": then, "written_at": then, "verified_at": then}
    return Backup.objects.create(**fields | {"location": str(copy)} | times | more)


def files(backup: Backup) -> set[str]:
    path = Path(backup.location)
    return {one.name for one in (path, manifest.path_of(path)) if one.exists()}


def elsewhere(act) -> None:
    """Do something on a connection of its own."""

    def done():
        act()
        connections.close_all()

    with ThreadPoolExecutor() as pool:
        pool.submit(done).result()


def why(backup: Backup) -> str:
    [found] = [verdict for verdict in verdicts("default") if verdict.backup.pk == backup.pk]
    return "goes" if found.goes else found.why


def delete(*backups: Backup, olga: User) -> list[retention.Deleted]:
    return expire("default", requester=as_requester(olga), reason="it is full", seen=[backup.pk for backup in backups])


class TestWhatStays:
    def test_what_is_old_goes_when_enough_newer_ones_stay(self, newest, old):
        assert why(old) == "goes"
        assert why(newest) == "it is the last verified one of this target"

    def test_what_is_young_stays(self, newest):
        assert "yet (MEMOPS_BACKUPS_KEEP_DAYS)" in why(copy_of(newest, days=20))

    def test_what_is_among_the_newest_stays_whatever_its_age(self, newest, old, settings):
        settings.MEMOPS_BACKUPS_KEEP = 2

        assert why(old) == "it is among the newest 2 (MEMOPS_BACKUPS_KEEP)"
        assert why(copy_of(newest, days=200)) == "goes"

    def test_the_last_verified_one_stays_among_newer_ones_that_are_not(self, newest, old):
        Backup.objects.filter(pk=newest.pk).update(state="written")

        assert why(old) == "it is the last verified one of this target"

    def test_the_last_verified_one_that_is_in_its_place_stays_as_well(self, newest, old):
        Path(newest.location).unlink()

        assert why(old) == "it is the last verified one of this target whose file is in its place"
        assert "Was it moved, or is its disk not mounted?" in why(newest)

    def test_of_each_database_behind_an_alias_the_last_verified_one_stays(self, newest):
        assert why(copy_of(newest, days=100, server="7/7")) == "it is the last verified one of this target"

    def test_what_proves_a_table_in_quarantine_stays_until_the_table_is_gone(self, newest, olga, settings):
        table = execute(plan_rollback("default"), olga).quarantined_table
        then = timezone.now() - timedelta(days=100)
        Backup.objects.filter(pk=table.backup_id).update(written_at=then)
        assert table.name in why(table.backup)

        settings.MEMOPS_QUARANTINE_KEEP = timedelta(0)
        assert execute(plan_purge(table), olga).state == "done"

        assert why(table.backup) == "goes"

    def test_a_proof_stays_though_nobody_has_attached_it(self, newest, olga):
        table = execute(plan_rollback("default"), olga).quarantined_table
        then = timezone.now() - timedelta(days=100)
        Backup.objects.filter(pk=table.backup_id).update(written_at=then)
        QuarantinedTable.objects.update(backup=None)

        assert table.name in why(table.backup)

    def test_what_an_open_run_needs_stays(self, newest, old, olga, settings):
        settings.MEMOPS_APPROVALS = ONE
        run = ask_for(plan_verify(old), olga)

        assert why(old) == f"run {run.pk} needs it"
        approvals.withdraw(run, requester=as_requester(olga))
        assert why(old) == "goes"

    def test_what_somebody_holds_stays(self, old, olga):
        holds.put(old, kind=Hold.Kind.LEGAL, by=olga, reason="case 7")

        assert "case 7" in why(old)
        with pytest.raises(NothingExpired):
            delete(old, olga=olga)

    def test_other_targets_backups_are_not_looked_at(self, newest, old, filled):
        assert verdicts(filled) == []


class TestDeletion:
    def test_archive_and_manifest_go_and_the_record_stays(self, newest, old, olga):
        [deleted] = delete(old, olga=olga)

        old.refresh_from_db()
        assert set(deleted.files) == {Path(old.location).name, manifest.path_of(Path(old.location)).name}
        assert files(old) == set()
        assert len(files(newest)) == 2
        assert (old.state, old.deleted_by_name, old.deleted_reason) == ("deleted", "olga", "it is full")
        assert (old.sha256, old.rows, old.size_bytes) == (newest.sha256, newest.rows, newest.size_bytes)
        assert old.deleted_at is not None

    def test_the_trail_has_it_before_and_after(self, newest, old, olga):
        delete(old, olga=olga)

        told = AuditEvent.objects.filter(action__startswith="backup.delete", object_id=str(old.pk)).order_by("sequence")
        assert [(one.action, one.actor) for one in told] == [
            ("backup.delete_begun", "olga"),
            ("backup.deleted", "olga"),
        ]
        details = json.loads(told[1].details)
        assert (details["sha256"], details["rows"], len(details["files"])) == (old.sha256, 20, 2)

    def test_what_was_not_shown_is_not_deleted(self, newest, old, olga):
        with pytest.raises(ExpiryChanged):
            delete(olga=olga)
        with pytest.raises(ExpiryChanged):
            delete(old, newest, olga=olga)
        with pytest.raises(ReasonMissing):
            expire("default", requester=as_requester(olga), reason=" ", seen=[old.pk])
        assert len(files(old)) == 2

    def test_a_hold_that_is_put_meanwhile_keeps_it(self, newest, old, olga, monkeypatch):
        look = retention.verdicts
        looks = []

        def verdicts_then_hold(alias):
            found = look(alias)
            looks.append(found)
            if len(looks) == 2:  # Within the transaction that is going to say that it is deleted.
                elsewhere(lambda: holds.put(old, kind=Hold.Kind.MANUAL, by=olga, reason="wait"))
            return found

        monkeypatch.setattr(retention, "verdicts", verdicts_then_hold)

        [kept] = delete(old, olga=olga)

        old.refresh_from_db()
        assert ("it stays" in kept.problem, old.state, len(files(old))) == (True, "verified", 2)

    def test_one_that_is_interrupted_is_finished_by_reconcile(self, newest, old, olga, monkeypatch):
        def interrupted(*paths):
            paths[0].unlink()
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(keptfile, "remove", interrupted)
            with pytest.raises(KeyboardInterrupt):
                delete(old, olga=olga)
        old.refresh_from_db()
        assert (old.state, len(files(old))) == ("deleting", 1)
        with pytest.raises(NothingToVerify):
            plan_verify(old)

        settled = memops("reconcile", "--json")

        old.refresh_from_db()
        assert (settled.code, settled.data["deleted_backups"][0]["id"]) == (0, old.pk)
        assert (old.state, files(old)) == ("deleted", set())
        assert AuditEvent.objects.get(action="backup.deleted").actor == "olga"

    def test_a_link_in_the_place_of_the_archive_is_not_touched(self, newest, old, olga, tmp_path):
        elsewhere, path = tmp_path / "elsewhere", Path(old.location)
        path.rename(elsewhere)
        path.symlink_to(elsewhere)

        assert "it is a link, or no file" in why(old)
        with pytest.raises(NothingExpired):
            delete(old, olga=olga)
        assert (path.is_symlink(), elsewhere.exists()) == (True, True)

    def test_a_link_that_comes_after_the_look_is_not_followed(self, newest, old, olga, tmp_path, monkeypatch):
        elsewhere, path, remove = tmp_path / "elsewhere", Path(old.location), keptfile.remove

        def replaced(*paths):
            path.rename(elsewhere)
            path.symlink_to(elsewhere)
            return remove(*paths)

        monkeypatch.setattr(keptfile, "remove", replaced)

        [kept] = delete(old, olga=olga)

        assert "it is a link, or no file" in kept.problem
        assert (path.is_symlink(), elsewhere.exists()) == (True, True)

    def test_a_folder_that_became_a_link_is_not_followed(self, newest, old, olga, tmp_path, monkeypatch):
        folder, elsewhere, remove = Path(old.location).parent, tmp_path / "elsewhere", keptfile.remove

        def replaced(*paths):
            folder.rename(elsewhere)
            folder.symlink_to(elsewhere)
            return remove(*paths)

        monkeypatch.setattr(keptfile, "remove", replaced)

        [kept] = delete(old, olga=olga)

        assert "symbolic link" in kept.problem
        assert (elsewhere / Path(old.location).name).exists()

    def test_another_file_of_the_same_name_is_not_deleted(self, newest, old, olga):
        Path(old.location).write_bytes(b"somebody else's")

        assert "bytes, and" in why(old)
        with pytest.raises(NothingExpired):
            delete(old, olga=olga)

    def test_other_files_in_the_folder_stay(self, newest, old, olga):
        path = Path(old.location)
        other = path.with_name(f"{path.name}.note")
        other.write_text("mine")

        delete(old, olga=olga)

        assert other.read_text() == "mine"

    @pytest.mark.parametrize("change", [{"state": "verified"}, {"sha256": "0" * 64}, {"rows": 1}])
    def test_what_is_kept_of_it_is_not_changed(self, newest, old, olga, change):
        delete(old, olga=olga)

        with pytest.raises(IntegrityError), transaction.atomic():
            Backup.objects.filter(pk=old.pk).update(**change)


class TestHoldsOnBackups:
    def test_one_is_put_and_lifted(self, old, olga):
        holds.put(old, kind=Hold.Kind.MANUAL, by=olga, reason="wait")
        with pytest.raises(AlreadyHeld):
            holds.put(old, kind=Hold.Kind.MANUAL, by=olga, reason="wait")

        holds.lift(old, kind=Hold.Kind.MANUAL, by=olga, reason="over")

        assert why(old) == "goes"
        assert AuditEvent.objects.filter(object_type="backup", action__startswith="hold.").count() == 5

    def test_what_is_deleted_is_not_held(self, newest, old, olga):
        delete(old, olga=olga)
        old.refresh_from_db()

        with pytest.raises(NothingToHold, match="is deleted"):
            holds.put(old, kind=Hold.Kind.MANUAL, by=olga, reason="wait")

    def test_the_database_deletes_none_that_is_held(self, old, olga):
        holds.put(old, kind=Hold.Kind.MANUAL, by=olga, reason="wait")

        with pytest.raises(IntegrityError), transaction.atomic():
            Backup.objects.filter(pk=old.pk).update(state="deleting", deleted_by_name="olga")


class TestTheDoors:
    @pytest.fixture
    def operating(self, olga) -> Client:
        client = Client()
        client.force_login(olga)
        return client

    @pytest.fixture
    def page(self) -> str:
        return reverse("admin:memops_console_target_expire", args=["default"])

    def test_the_list_says_what_goes_and_why_and_deletes_nothing(self, newest, old, operating, page):
        shown = text(operating.get(page))

        assert "Backups that go: 1 of 2" in shown
        assert "it is the last verified one of this target" in shown
        assert len(files(old)) == 2

    def test_the_targets_name_deletes_what_was_shown(self, newest, old, operating, page):
        sent = {"shown": str(old.pk), "typed_name": "defalt", "reason": "it is full"}
        assert "To go on, type the target's name" in text(operating.post(page, sent))
        assert "Read the list again" in text(operating.post(page, sent | {"typed_name": "default", "shown": ""}))
        assert len(files(old)) == 2

        done = operating.post(page, sent | {"typed_name": "default"}, follow=True)

        assert f"Backup {old.pk} is deleted. Its record stays." in text(done)
        assert files(old) == set()
        assert "olga deleted archive and manifest" in text(operating.get(old.get_absolute_url()))

    def test_it_takes_the_permission(self, newest, old, page):
        vera = User.objects.create_user("vera", is_staff=True)
        vera.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        viewing = Client()
        viewing.force_login(vera)

        assert "Delete is off" in text(viewing.get(page))
        sent = {"shown": str(old.pk), "typed_name": "default", "reason": "x"}
        assert viewing.post(page, sent).status_code == 403
        assert len(files(old)) == 2

    def test_a_hold_is_put_on_the_backups_page(self, old, operating):
        put = operating.post(
            reverse("admin:memops_console_backup_hold", args=[old.pk]),
            {"kind": "manual", "reason": "wait"},
            follow=True,
        )

        assert f"There is a manual hold on Backup {old.pk} now" in text(put)
        assert "wait" in why(old)

    def test_the_verb_lists_and_deletes_only_when_it_is_told_to(self, newest, old):
        listed = memops("expire-backups", "--json")
        assert (listed.code, [one["goes"] for one in listed.data["backups"]]) == (0, [False, True])
        assert memops("expire-backups", "--delete").code == 2
        assert memops("expire-backups", "--delete", "--confirm", "x", "--reason", "x").code == 2
        assert len(files(old)) == 2

        deleted = memops("expire-backups", "--delete", *SURE, "--json")

        assert (deleted.code, deleted.data["deleted"][0]["state"]) == (0, "deleted")
        assert files(old) == set()
        nothing = memops("expire-backups", "--delete", *SURE)
        assert (nothing.code, "No backup of the target" in nothing.err) == (3, True)

    def test_a_hold_by_its_number(self, old, monkeypatch):
        for verb, code in (("hold", 0), ("hold", 3), ("lift", 0)):
            monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
            done = memops(verb, "--backup", str(old.pk), "--reason", "x", "--as", "olga", "--password-stdin")
            assert done.code == code, done.err
        assert memops("hold", "--reason", "x", "--as", "olga").code == 2
        assert memops("hold", "x", "--backup", "1", "--reason", "x", "--as", "olga").code == 2
