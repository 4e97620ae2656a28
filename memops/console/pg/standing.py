"""Rows that stand in the table, brought into the backup that is to take its place: by id, and not one write lost.

The first look takes hours' worth of rows, beside the application. What is written, changed or deleted meanwhile is
recognised by the version of each row (xmin and ctid: no two versions of a row share both) and brought in by a second
look, within the transaction that swaps the tables and holds writers off. So the result is that of the moment of the
swap, whatever happened before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from psycopg.sql import SQL, Composed, Identifier

from memops.console.pg.session import Connection
from memops.console.pg.sql import query

LISTED = 200

LOOK_AGAIN = (
    "give_back",
    "bring_back",
    "forget_outdone",
    "forget_seen",
    "look",
    "set_aside",
    "remove_outdone",
    "take",
)
"""First what an earlier look has done to these ids is taken back, then they are looked at as if for the first time."""


class Choice(StrEnum):
    """What becomes of the rows that stand in the table. Whatever it is, that table itself goes to quarantine."""

    REPLACE = "replace"
    MERGE = "merge"
    KEEP_NEWER = "keep-newer"

    @property
    def takes_rows(self) -> bool:
        return self != Choice.REPLACE

    @property
    def words(self) -> str:
        return WORDS[self]


WORDS = {
    Choice.REPLACE: "Replace: the backup alone. None of the standing rows is carried over; all are in quarantine.",
    Choice.MERGE: "Merge by id: standing rows that the backup does not have are kept; of a row that both have, the one"
    " with the newer updated_at.",
    Choice.KEEP_NEWER: "Keep the standing rows: every one of them stays as it is; the backup adds what is missing.",
}


@dataclass(frozen=True, kw_only=True)
class Merged:
    """``standing`` rows were looked at; the backup has not ``added`` of them; ``conflicts`` are in both and differ, of
    which ``standing_won`` stayed as they stood. ``listed`` are ids of conflicts and who won, never a content."""

    standing: int
    added: int
    conflicts: int
    standing_won: int
    listed: list[tuple[str, str]]


class Cursor(Protocol):
    """What executes: psycopg's cursor, or Django's, within the transaction of the swap."""

    def execute(self, text: Any, parameters: Any = None, /) -> Any: ...

    def fetchall(self) -> list[Any]: ...


def begin(connection: Connection, schema: str, *, choice: Choice) -> Merged:
    """Bring every standing row in, in one snapshot. The restored table has no index yet, which makes it fast."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        cursor = connection.cursor()
        for name in ("make_seen", "make_outdone"):
            cursor.execute(_composed(name, schema))
        catch_up(cursor, schema, choice=choice, columns=columns_of(cursor, schema))
        return counted(cursor, schema)


def again(connection: Connection, schema: str, *, choice: Choice) -> int:
    """Bring in what has stirred since, while writers go on: the less is left for when they are held off. Gives how many
    rows that were."""
    stirred = [0]
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        cursor = connection.cursor()
        catch_up(cursor, schema, choice=choice, columns=columns_of(cursor, schema), tell=stirred.append)
    return stirred[-1]


def catch_up(
    cursor: Cursor,
    schema: str,
    *,
    choice: Choice,
    columns: list[str],
    tell: Callable[[int], None] = lambda stirred: None,
) -> None:
    """Bring in what has changed in the standing table since the last look; the transaction is the caller's."""
    cursor.execute(_composed("make_stirred", schema))
    cursor.execute(_composed("analyze_stirred", schema))
    cursor.execute(_composed("count_stirred", schema))
    tell(cursor.fetchall()[0][0])
    for name in LOOK_AGAIN:
        text = SQL(query("standing", name)).format(
            schema=Identifier(schema),
            columns=SQL(", ".join(columns)),
            of_standing=SQL(", ".join(f"t.{column}" for column in columns)),
            of_backup=SQL(", ".join(f"m.{column}" for column in columns)),
            always=choice == Choice.KEEP_NEWER,
        )
        # Without parameters: the name of a column may look like a place for one.
        cursor.execute(text)
    cursor.execute(_composed("drop_stirred", schema))


def columns_of(cursor: Cursor, schema: str) -> list[str]:
    """The columns of the restored table that can be written, as they are spelled in SQL."""
    cursor.execute(query("standing", "columns"), {"schema": schema})
    return [str(column) for column in cursor.fetchall()[0][0]]


def counted(cursor: Cursor, schema: str) -> Merged:
    cursor.execute(_composed("counts", schema))
    standing, added, conflicts, won = cursor.fetchall()[0]
    cursor.execute(_composed("conflicts", schema), {"most": LISTED})
    listed = [(id, "standing row" if taken else "backup") for id, taken in cursor.fetchall()]
    return Merged(standing=standing, added=added, conflicts=conflicts, standing_won=won, listed=listed)


def _composed(name: str, schema: str) -> Composed:
    return SQL(query("standing", name)).format(schema=Identifier(schema))
