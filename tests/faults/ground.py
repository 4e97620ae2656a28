"""Where faults are injected: a console with a filled target, what may be true of it afterwards, and the way back."""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone

from memops.console.audit import checking
from memops.console.models import Backup, QuarantinedTable, Run
from memops.console.models.plans import Plan
from memops.console.pg import catalogue, manifest, session, staging
from memops.console.pg.standing import Choice
from memops.console.runs import history, reconcile
from memops.console.runs.advance import advance
from memops.console.runs.plan import (
    plan_backup,
    plan_purge,
    plan_restore,
    plan_rollback,
    plan_undo,
    plan_verify,
)
from memops.console.runs.request import Requester, submit
from project import embedded
from tests.prints import print_of

ME = Requester(name="on-call", origin=Run.Origin.COMMAND)
TARGET = DEFAULT_DB_ALIAS
PUBLIC = "public.memory_chunks"
SETTLED = {"done", "failed", "interrupted", "refused"}
IN_PUBLIC = {
    "rollback": {"nothing"},
    "undo": {"restored"},
    "backup": {"nothing", "backed up"},
    "verify": {"nothing", "verified"},
    "restore": {"nothing", "recovered"},
}
IN_QUARANTINE = {"rollback": {"quarantined"}, "undo": {"nothing"}, "purge": {"nothing"}}
"""What a run of a kind may say has happened, where the table is in public, or in quarantine."""
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Before:
    """What the table was before the fault: every row, and everything that its security hangs on."""

    fingerprint: str
    catalogue: dict[str, object]


def until(happens: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happens():
        assert time.monotonic() < deadline, f"It did not happen in time: {what}"
        time.sleep(0.02)


def ask_for_rollback(*, emergency: bool = False, target: str = TARGET) -> Run:
    return submitted(plan_rollback(target, emergency=emergency))


def ask_for(what: str) -> Run:
    """A run of any kind, with what it is about: guided, emergency, undo, backup, verify, purge or restore.

    A restore is merged with the rows that stand there, which are those of the backup: whatever becomes of it, the table
    in public has the same rows.
    """
    if what in ("guided", "emergency"):
        return ask_for_rollback(emergency=what == "emergency")
    if what == "undo":
        call_command("migrate", "memops", "zero", verbosity=0)
        by_hand = history.notice(TARGET)[-1]
        return submitted(plan_undo(by_hand))
    if what == "purge":
        return submitted(plan_purge(_quarantined_long_ago()))
    backup = submitted(plan_backup(TARGET))
    if what == "backup":
        return backup
    advance(backup.pk)
    if what == "restore":
        return submitted(plan_restore(backup.backups.get(), rows=Choice.MERGE))
    return submitted(plan_verify(backup.backups.get()))


def _quarantined_long_ago() -> QuarantinedTable:
    """A table with a verified backup, whose time in quarantine is over."""
    rollback = ask_for_rollback(emergency=True)
    advance(rollback.pk)
    then = timezone.now() - timedelta(days=400)
    Run.objects.filter(pk=rollback.pk).update(requested_at=then, claimed_at=then, ended_at=then)
    QuarantinedTable.objects.filter(run=rollback).update(since=then)
    return QuarantinedTable.objects.get(run=rollback)


def submitted(plan: Plan) -> Run:
    """A run of this plan, which nobody has to approve."""
    return submit(plan, requester=ME, reason="it has to survive this", seen_digest=plan.digest)


def look() -> Before:
    return Before(fingerprint=print_of(), catalogue=_catalogue())


def settle(run: Run) -> Run:
    """What whoever is on call does: reconcile, until nothing is lost or unknown."""
    until(lambda: not _processes_of_runs(), "the processes of the run end")
    reconcile.reconcile(requester=ME)
    if run.state == Run.State.QUEUED:
        run.refresh_from_db()
        if run.state == Run.State.QUEUED:
            advance(run.pk)
    run.refresh_from_db()
    return run


def assert_consistent(run: Run, before: Before, *, outcome: str | None = None) -> None:
    """The run says what the database says; no row is lost; nothing is left behind. ``outcome`` is what the run
    has to say where it leaves the table in its place."""
    assert run.state in SETTLED, f"{run.state}: {run.error}"
    assert not run.steps.filter(state="running").exists()
    with session.connect(TARGET) as connection:
        public = catalogue.relation(connection, "public", "memory_chunks")
        kept = catalogue.quarantined(connection)
        applied = catalogue.migrations(connection, "memops")
    if public is not None:
        made_room = [table.name for table in kept] if run.outcome == "recovered" else []
        assert [table.name for table in kept] == made_room
        for name in made_room:
            assert print_of(f"memops_quarantine.{name}") == before.fingerprint
        assert [table.name for table in QuarantinedTable.objects.filter(state="kept")] == made_room
        assert len(made_room) == (run.outcome == "recovered")
        assert run.outcome in ({outcome} if outcome else IN_PUBLIC[run.kind])
        assert (public.rls_enabled, public.rls_forced, len(public.policies)) == (True, True, 1)
        assert applied == ["0001_memory_chunks"]
        assert look() == before
    elif run.kind == "purge" and not kept:
        assert (run.outcome, applied) == ("purged", [])
        table = QuarantinedTable.objects.get()
        assert (table.state, table.fingerprint, table.backup.state) == ("purged", before.fingerprint, "verified")
    else:
        assert run.outcome in IN_QUARANTINE[run.kind]
        assert applied == []
        [table] = kept
        assert print_of(f"memops_quarantine.{table.name}") == before.fingerprint
        assert QuarantinedTable.objects.get(state="kept").name == table.name
    if run.outcome in ("backed up", "verified"):
        assert (run.subject or run.backups.get()).state == "verified"
    _assert_backups_are_what_their_records_say(before)
    _assert_nothing_is_left()
    checked = checking.whole([])
    assert checked.holds, checked.sentences


def assert_secured(before: Before) -> None:
    """Wherever the table is, it has all its rows, its row-level security and its policy."""
    with session.connect(TARGET) as connection:
        public = catalogue.relation(connection, "public", "memory_chunks")
        names = [f"memops_quarantine.{table.name}" for table in catalogue.quarantined(connection)]
        [where] = names + [PUBLIC] * (public is not None)
        found = public or catalogue.relation(connection, *where.split("."))
    assert found is not None
    assert (found.rls_enabled, found.rls_forced, len(found.policies)) == (True, True, 1)
    assert print_of(where) == before.fingerprint


def is_quarantined(before: Before) -> bool:
    assert_secured(before)
    with session.connect(TARGET) as connection:
        applied = catalogue.migrations(connection, "memops")
        return not applied and catalogue.relation(connection, "public", "memory_chunks") is None


def assert_the_way_back(before: Before) -> None:
    """What was not done can be done again, what was done can be undone, and the table is what it was. What was dropped
    for good is in a backup that still restores."""
    if QuarantinedTable.objects.filter(state="purged").exists():
        proof = submitted(plan_verify(QuarantinedTable.objects.get().backup))
        advance(proof.pk)
        proof.refresh_from_db()
        assert (proof.state, proof.outcome) == ("done", "verified"), proof.error
        return
    kept = QuarantinedTable.objects.filter(state="kept").first()
    if kept is None or _stands():
        again = ask_for_rollback(emergency=True)
        advance(again.pk)
        again.refresh_from_db()
        assert (again.state, again.outcome) == ("done", "quarantined"), again.error
    undo = submitted(plan_undo((kept or QuarantinedTable.objects.get(state="kept")).run))
    advance(undo.pk)
    undo.refresh_from_db()
    assert undo.state == "done", undo.error
    assert look() == before


def _stands() -> bool:
    with session.connect(TARGET) as connection:
        return catalogue.relation(connection, "public", "memory_chunks") is not None


def _catalogue() -> dict[str, object]:
    with session.connect(TARGET) as connection:
        found = catalogue.relation(connection, "public", "memory_chunks")
    assert found is not None
    return found.catalogue()


def _assert_backups_are_what_their_records_say(before: Before) -> None:
    expected = set()
    for backup in Backup.objects.all():
        assert backup.state in ("written", "verified", "failed")
        if backup.state != "failed":
            archive = Path(backup.location)
            assert hashlib.sha256(archive.read_bytes()).hexdigest() == backup.sha256
            assert str(manifest.read(archive).fingerprint) == backup.fingerprint == before.fingerprint
            expected |= {archive, manifest.path_of(archive)}
    found = {file for file in Path(settings.MEMOPS_BACKUP_DIR).rglob("*") if file.is_file()}
    assert found == expected


def _assert_nothing_is_left() -> None:
    with session.connect(TARGET) as connection:
        assert staging.left_behind(connection) == []
    connections[TARGET].close()
    until(lambda: not _sessions(), "the sessions of the run end")
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME)) as server:
        scratch = server.execute(r"select datname from pg_database where datname like 'memops\_scratch\_%'").fetchall()
        assert scratch == []
        assert server.execute("select gid from pg_prepared_xacts").fetchall() == []


def _sessions() -> list[tuple[object, ...]]:
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME)) as server:
        return server.execute(
            "select pid, application_name from pg_stat_activity"
            " where application_name like 'memops%%' and datname = %s",
            [connections.databases[TARGET]["NAME"]],
        ).fetchall()


def _processes_of_runs() -> list[psutil.Process]:
    """pg_dump and pg_restore that work for this run of the tests, whoever their parent is now."""
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] in ("pg_dump", "pg_restore"):
            with suppress(psutil.Error):
                if process.environ().get("PGDATABASE", "").startswith("memops_test_") or "memops" in " ".join(
                    process.cmdline()
                ):
                    found.append(process)
    return found
