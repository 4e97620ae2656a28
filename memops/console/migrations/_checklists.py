"""The checklists that a new console begins with: version 1 of each. Later versions are made in the console.

A line is a text alone (a person signs it), or a text with the name of a machine check, or with a role.
"""

from __future__ import annotations

from typing import Any

Line = str | tuple[str, str]

ROLLBACK: dict[str, tuple[Line, ...]] = {
    "Validation before the rollback": (
        ("Migration history verified", "machine: migrations_seen"),
        ("memory_chunks exists", "machine: table_seen"),
        ("Row count documented", "machine: rows_seen"),
        ("Indexes listed", "machine: indexes_seen"),
        ("Row-level security policies listed", "machine: policies_seen"),
    ),
    "Backup": (
        ("Location of the backup recorded", "machine: backup_location"),
        ("Size of the backup recorded", "machine: backup_size"),
        ("Backup verified", "machine: backup_verified"),
    ),
    "Rollback": (
        ("Rollback executed", "machine: change_committed"),
        ("It ended without an error", "machine: ended_well"),
        ("Duration recorded", "machine: duration"),
    ),
    "Validation after the rollback": (
        ("memory_chunks is gone from public", "machine: table_gone"),
        ("Row-level security policies are gone", "machine: policies_gone"),
        ("Indexes are gone", "machine: indexes_gone"),
        ("Migration history updated", "machine: history_updated"),
    ),
    "Restart of the application": (
        "API servers restarted",
        "Health checks pass",
        "No errors about memory_chunks in the logs",
    ),
    "Verification": (
        ("Every check is OK", "machine: checks_passed"),
        "Incident report written",
        "Stakeholders told",
    ),
}

UNDO: dict[str, tuple[Line, ...]] = {
    "The table": (
        ("memory_chunks is back in public", "machine: table_back"),
        ("It is as it was before the rollback", "machine: as_before"),
        ("Its rows are there", "machine: rows_back"),
        ("Row-level security protects it", "machine: protected"),
        ("Migration history updated", "machine: history_updated"),
    ),
    "The application": ("API servers restarted", "Health checks pass"),
    "People": ("Stakeholders told",),
}

AFTER_THE_MIGRATION: tuple[Line, ...] = (
    "All columns are there",
    "Row-level security is on",
    "All indexes are there",
    "EXPLAIN shows that the indexes are used",
    "The isolation test passes",
)

DEPLOY: dict[str, tuple[Line, ...]] = {
    "Review and tests": (
        "Code and migration reviewed",
        "Security agrees",
        "Tests pass",
        "Lint is clean",
    ),
    "Staging": (
        "Backups are on",
        "Monitoring can be reached",
        "Traffic is low",
        "The table did not exist before",
        "Migration ran: duration and exit code",
        *AFTER_THE_MIGRATION,
        "Latency baseline measured",
        "Staging signed off",
    ),
    "Production": (
        "Backup made and verified to be restorable",
        "Alerts configured",
        "On-call told",
        "Maintenance window approved",
        "Revision recorded",
        ("Migration ran", "machine: change_committed"),
        *AFTER_THE_MIGRATION,
        "Application started",
        "Health check answers in less than 2 s",
        "No new errors",
    ),
    "The first 24 hours": (
        "Errors below 0.1 %",
        "Latency and connections at the baseline",
        "Replication lag below 100 ms",
        "Users see only their own rows",
        "Indexes are used",
    ),
    "Sign-offs": (
        ("Database", "role: DBA"),
        ("Operations", "role: DevOps lead"),
        ("Security", "role: Security"),
        ("Architecture", "role: Architecture"),
        "Documents updated",
        "People told",
    ),
}

PURGE: dict[str, tuple[Line, ...]] = {
    "Before the purge": (
        "Nobody needs the rows any more: whoever owns them has said so",
        ("Its rows are in a verified backup", "machine: purge_proved"),
        ("Row count documented", "machine: rows_seen"),
    ),
    "Purge": (
        ("What was dropped is what was proved", "machine: purge_compared"),
        ("Purge executed", "machine: change_committed"),
        ("It ended without an error", "machine: ended_well"),
        ("Duration recorded", "machine: duration"),
    ),
    "Validation after the purge": (
        ("The table is gone from quarantine", "machine: purge_gone"),
        ("Other tables are untouched", "machine: others_untouched"),
    ),
    "Copies elsewhere": ("Copies outside of the table are known, and so is when they go (docs/data-lifecycle.md)",),
    "People": ("Stakeholders told",),
}

RESTORE: dict[str, tuple[Line, ...]] = {
    "Before the swap": (
        ("The backup's file is what was written", "machine: backup_intact"),
        ("Rows compared: those that were loaded are those of the backup", "machine: rows_equal"),
        ("Tenants are kept apart", "machine: isolation_tried"),
        ("Sealed memories open", "machine: memories_open"),
    ),
    "The swap": (
        ("Restored table in place", "machine: restored_in_place"),
        ("Catalogue compared with the backup", "machine: catalogue_equal"),
        ("What stood there before is in quarantine", "machine: standing_kept"),
        ("Row-level security protects it", "machine: protected"),
        ("Row count compared", "machine: rows_back"),
        ("Migration history updated", "machine: history_updated"),
        ("Duration recorded", "machine: duration"),
        ("Every check is OK", "machine: checks_passed"),
    ),
    "The application": (
        ("Started again by its command", "machine: application_started"),
        "The application runs, and its health checks pass",
        "Users see their own memories, and no others",
        "No errors about memory_chunks in the logs for 30 minutes",
    ),
    "People": ("Rows that were lost or differ are known, and their owners told", "Stakeholders told"),
}

CHECKLISTS = {"rollback": ROLLBACK, "undo": UNDO, "deploy": DEPLOY}


def deliver(apps: Any, schema_editor: Any, checklists: dict[str, dict[str, tuple[Line, ...]]]) -> None:
    """Publish version 1 of each of these, by kind of run; who has gone back and comes again has them already."""
    alias = schema_editor.connection.alias
    template_model = apps.get_model("memops_console", "ChecklistTemplate")
    item_model = apps.get_model("memops_console", "ChecklistItem")
    for kind, blocks in checklists.items():
        if template_model.objects.using(alias).filter(kind=kind).exists():
            continue
        lines = [(block, line) for block, found in blocks.items() for line in found]
        template = template_model.objects.using(alias).create(
            kind=kind,
            version=1,
            items_total=len(lines),
            author_key="memops",
            author_name="memops",
            note="As delivered.",
        )
        items = []
        for number, (block, line) in enumerate(lines, 1):
            text, told = (line, "") if isinstance(line, str) else line
            name, _, value = told.partition(": ")
            items.append(
                item_model(template=template, number=number, block=block, text=text, **({name: value} if name else {}))
            )
        item_model.objects.using(alias).bulk_create(items)
