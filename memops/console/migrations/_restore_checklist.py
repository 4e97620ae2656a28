"""Version 1 of the checklist of a restore, as the others are in ``_checklists``."""

from __future__ import annotations

from memops.console.migrations._checklists import Line

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
