"""Look afterwards: is it what was planned, all of it, and nothing else?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from memops.console.errors import PostcheckFailed
from memops.console.models import QuarantinedTable, Run
from memops.console.pg import catalogue, migrations, session, staging
from memops.console.pg.relation import Relation, differences
from memops.console.steps import StepLog, application, restoring, step
from memops.console.steps.check import Check


@dataclass(frozen=True, kw_only=True)
class Postchecked:
    checks: list[Check]


@step("postcheck", "Check the result")
def postcheck(run: Run, log: StepLog) -> Postchecked:
    """Compare the target with what the run was to leave. Raises PostcheckFailed, which names every check that
    failed."""
    with session.connect(run.target_id, application_name="memops checks", works_long=True) as connection:
        looks = {
            Run.Kind.UNDO.value: _after_undo,
            Run.Kind.PURGE.value: _after_purge,
            Run.Kind.RESTORE.value: _after_restore,
        }
        look = looks.get(run.kind, _after_rollback)
        checks = [*look(run, connection), *_others_untouched(run, connection)]
    for check in checks:
        log.line(f"{'OK' if check.ok else 'FAILED'} {check.name}: {check.detail}")
    failed = [check for check in checks if not check.ok]
    if failed:
        raise PostcheckFailed(
            target=run.target_id, failed="; ".join(f"{check.name}: {check.detail}" for check in failed)
        )
    return Postchecked(checks=checks)


def _after_rollback(run: Run, connection: psycopg.Connection[Any]) -> Iterator[Check]:
    """Runbook R04: table gone, policies gone, indexes gone, history updated; and the quarantined copy is whole."""
    left = catalogue.leftovers(connection, "public", "memory_chunks")
    yield Check(
        name="The table is gone from public",
        ok="table" not in left,
        detail="to_regclass('public.memory_chunks') is null"
        if "table" not in left
        else "public.memory_chunks is there",
    )
    for kind, title in (
        ("policy", "Its policies are gone"),
        ("index", "Its indexes are gone"),
        ("type", "Its types are gone"),
    ):
        names = left.get(kind, [])
        yield Check(name=title, ok=not names, detail=f"left: {', '.join(names)}" if names else "none is left in public")
    applied = catalogue.migrations(connection, migrations.LABEL)
    yield Check(
        name="The migration history says so",
        ok=not applied,
        detail=f"still applied: {', '.join(applied)}" if applied else "no migration of memops is applied",
    )
    if run.outcome == Run.Outcome.QUARANTINED:
        yield from _quarantined_whole(run, connection, run.quarantined_table)


def _quarantined_whole(run: Run, connection: psycopg.Connection[Any], table: QuarantinedTable) -> Iterator[Check]:
    before = run.saw("precheck")
    relation = catalogue.relation(connection, "memops_quarantine", table.name)
    yield Check(
        name="The table is in quarantine",
        ok=relation is not None and relation.oid == table.table_oid == before["table"]["oid"],
        detail=f"{table.relation}, the same table (oid {table.table_oid})"
        if relation
        else f"{table.relation} is missing",
    )
    if relation is None:
        return
    names = catalogue.earlier_names(connection, relation.oid)
    now = relation.catalogue(grants=False, names=names)
    found = differences(_without_grants(before["catalogue"]), now)
    yield Check(
        name="The quarantined table is complete",
        ok=not found,
        detail="; ".join(found)
        or f"{len(relation.columns)} columns, {len(relation.indexes)} indexes, {len(relation.constraints)} constraints,"
        f" {len(relation.policies)} policy as before; row-level security as before",
    )
    yield _no_grants(relation)
    rows = catalogue.exact_rows(connection, relation.schema, relation.name)
    QuarantinedTable.objects.filter(pk=table.pk).update(rows=rows, total_bytes=relation.total_bytes)
    yield Check(name="Its rows are there", ok=rows > 0, detail=f"{rows:,} rows, {relation.total_bytes:,} bytes")


def _no_grants(relation: Relation) -> Check:
    held = sorted(
        {
            f"{grant.privilege} for {grant.grantee or 'PUBLIC'}"
            for grant in relation.grants
            if grant.grantee != relation.owner
        }
    )
    return Check(
        name="Nobody but the owner has a right on it",
        ok=not held,
        detail=", ".join(held) or f"every grant is revoked; the owner is {relation.owner}",
    )


def _after_undo(run: Run, connection: psycopg.Connection[Any]) -> Iterator[Check]:
    assert run.undoes is not None
    table = run.undoes.quarantined_table
    relation = catalogue.relation(connection, "public", "memory_chunks")
    yield Check(
        name="The table is back in public",
        ok=relation is not None and relation.oid == table.table_oid,
        detail=f"public.memory_chunks, the same table (oid {table.table_oid})"
        if relation
        else "public.memory_chunks is missing",
    )
    left = catalogue.relation(connection, "memops_quarantine", table.name)
    yield Check(
        name="It has left quarantine",
        ok=left is None,
        detail=f"{table.relation} is there" if left else f"there is no {table.relation}",
    )
    if relation is None:
        return
    before = run.undoes.saw("precheck").get("catalogue")
    if before:
        found = differences(before, relation.catalogue())
        yield Check(
            name="It is as it was before the rollback",
            ok=not found,
            detail="; ".join(found)
            or f"owner, {len(relation.grants)} grants, row-level security, {len(relation.policies)} policy,"
            f" {len(relation.constraints)} constraints and {len(relation.indexes)} indexes as before",
        )
    yield _protected(relation)
    yield _recorded(run, connection)
    rows = catalogue.exact_rows(connection, "public", "memory_chunks")
    expected = table.rows
    yield Check(
        name="Its rows are there",
        # Writers are back as soon as the table is: more rows than before are theirs.
        ok=expected is None or rows > 0 or expected == 0,
        detail=f"{rows:,} rows" + (f", {expected:,} at the rollback" if expected is not None else ""),
    )


def _after_purge(run: Run, connection: psycopg.Connection[Any]) -> Iterator[Check]:
    assert run.purges is not None
    left = catalogue.leftovers(connection, "memops_quarantine", run.purges.name)
    # Its indexes go with it; those of other tables in quarantine are called alike.
    names = [f"{kind} {name}" for kind, found in left.items() if kind != "index" for name in found]
    yield Check(
        name="The table is gone from quarantine",
        ok=not names,
        detail=f"left: {', '.join(names)}" if names else f"there is no {run.purges.relation}",
    )


def _protected(relation: Relation) -> Check:
    return Check(
        name="Row-level security protects it",
        ok=relation.rls_enabled and relation.rls_forced and bool(relation.policies),
        detail=f"enabled: {relation.rls_enabled}, forced: {relation.rls_forced},"
        f" policies: {', '.join(policy.name for policy in relation.policies) or 'none'}",
    )


def _recorded(run: Run, connection: psycopg.Connection[Any]) -> Check:
    missing = sorted(set(run.planned().binding["migrations"]) - set(catalogue.migrations(connection, migrations.LABEL)))
    return Check(
        name="The migration history says so",
        ok=not missing,
        detail=f"not recorded: {', '.join(missing)}" if missing else "its migrations are recorded as applied",
    )


def _after_restore(run: Run, connection: psycopg.Connection[Any]) -> Iterator[Check]:
    swapped, backup = run.saw("swap"), restoring.backup_of(run)
    relation = catalogue.relation(connection, "public", "memory_chunks")
    yield Check(
        name="The restored table is in public",
        ok=relation is not None and relation.oid == swapped["table_oid"],
        detail=f"public.memory_chunks, the table that was loaded (oid {swapped['table_oid']})"
        if relation
        else "public.memory_chunks is missing",
    )
    if relation is None:
        return
    expected = staging.expected_of(restoring.manifest_of(backup), restoring.home_grants(backup))
    found = staging.unlike(expected, relation)
    yield Check(
        name="It is as it was when it was backed up",
        ok=not found,
        detail="; ".join(found)
        or f"owner, {len(relation.grants)} grants, row-level security, {len(relation.policies)} policy,"
        f" {len(relation.constraints)} constraints and {len(relation.indexes)} indexes as in backup {backup.pk}",
    )
    yield _protected(relation)
    yield _recorded(run, connection)
    rows = catalogue.exact_rows(connection, "public", "memory_chunks")
    brought = swapped["merged"]["added"] if swapped.get("merged") else 0
    yield Check(
        name="Its rows are there",
        # Writers are back as soon as the table is: more rows than before are theirs.
        ok=rows > 0 or not (backup.rows or brought),
        detail=f"{rows:,} rows; {backup.rows:,} in the backup, {brought:,} that stood and were not in it",
    )
    if (table := QuarantinedTable.objects.filter(run=run).first()) is not None:
        yield from _quarantined_whole(run, connection, table)
    left = staging.left_behind(connection)
    yield Check(
        name="Nothing is left beside it",
        ok=not left,
        detail=f"left: {', '.join(left)}" if left else "what was loaded is in its place",
    )
    if "application" in swapped:
        yield Check(
            name="The application was started again",
            ok=swapped["application"] == application.STARTED,
            detail=f"it is {swapped['application']}; the log of the swap has what the command said",
        )


def _others_untouched(run: Run, connection: psycopg.Connection[Any]) -> Iterator[Check]:
    ours: tuple[str, ...] = ("memops_quarantine.", "public.memory_chunks")
    if run.kind == Run.Kind.PURGE and run.purges is not None:
        ours = (run.purges.relation,)
    before = {name: oid for name, oid in run.saw("precheck")["other_tables"].items() if not name.startswith(ours)}
    now = catalogue.other_tables(connection)
    gone = sorted(name for name, oid in before.items() if now.get(name) != oid)
    yield Check(
        name="Other tables are untouched",
        ok=not gone,
        detail=f"gone or replaced since the precheck: {', '.join(gone)}"
        if gone
        else f"all {len(before)} are the same tables",
    )


def _without_grants(stored: dict[str, Any]) -> dict[str, Any]:
    return {part: value for part, value in stored.items() if part != "grants"}
