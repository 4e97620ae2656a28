"""What is kept of what was typed."""

import json
from typing import Any

from django.db import connection


def kept(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Every text in the rows of the tables that differ between two snapshots."""
    found: set[str] = set()
    with connection.cursor() as cursor:
        for table, seen in after.items():
            if "." in table and before.get(table) != seen:
                cursor.execute(f"select to_jsonb(t)::text from {table} t")
                found |= {str(value) for (row,) in cursor.fetchall() for value in json.loads(row).values()}
    return found
