"""The statements of an archive that make its table, turned to another schema.

Only what belongs to the table itself is taken, and its name is replaced outside of quoted texts alone. Whether the
table that comes of it is the right one is not decided here: its whole catalogue is compared, beside the standing table
and once more in its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from psycopg.sql import Identifier

from memops.console.errors import LoadFailed

ENTRY = re.compile(r"^--\n-- Name: ([^\n]*); Type: ([A-Z ]+); Schema: [^\n]*\n--\n", re.MULTILINE)
END = re.compile(r"^--\n-- PostgreSQL database dump complete\n", re.MULTILINE)
ENCODING = re.compile(r"^SET client_encoding = '(\w+)';$", re.MULTILINE)
TOKEN = re.compile(r"\"(?:[^\"]|\"\")*\"|(?P<text>'(?:[^']|'')*')")
"""A quoted name, in which an apostrophe begins nothing, or a quoted text."""

FIRST = ("TABLE",)
AFTERWARDS = frozenset(
    ("ACL", "CHECK CONSTRAINT", "COMMENT", "CONSTRAINT", "DEFAULT", "FK CONSTRAINT", "INDEX", "POLICY", "ROW SECURITY",
     "TRIGGER")
)  # fmt: skip
LEFT_OUT = frozenset(("STATISTICS", "STATISTICS DATA", "PUBLICATION TABLE", "SECURITY LABEL"))
"""What is beside a table, and not of it: it is told, and can be made again."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """``kind`` as pg_dump calls it, ``name`` of what it makes."""

    kind: str
    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Structure:
    """``first`` is needed before the rows, ``afterwards`` is faster or only possible with them."""

    encoding: str
    first: list[Statement]
    afterwards: list[Statement]
    left_out: list[str]

    @classmethod
    def read(cls, printed: str, *, archive: str, schema: str, names: list[str], stamp: str, into: str) -> Self:
        """What ``pg_restore --schema-only`` has printed, with ``names`` of ``schema`` turned to the schema ``into``,
        and without the ``stamp`` that names in quarantine end with.

        Raises LoadFailed where the table is made of more than can be moved.
        """
        end = END.search(printed)
        head, *parts = ENTRY.split(printed[: end.start()] if end else printed)
        encoding = ENCODING.search(head)
        if end is None or encoding is None:
            raise LoadFailed(archive=archive, ended="pg_restore", said="it did not print what makes the table")
        turn = _Turn(schema=schema, names=names, stamp=stamp, into=into)
        first, afterwards, left_out = [], [], []
        for name, kind, text in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
            statement = Statement(
                kind=kind, name=name.replace(stamp, "") if stamp else name, text=turn.over(text.strip())
            )
            if kind in (*FIRST, *AFTERWARDS) and turn.into not in statement.text:
                # Whatever it is about, it is not what is being loaded.
                raise LoadFailed(
                    archive=archive,
                    ended="before anything was loaded",
                    said=f"its {kind.lower()} ({name}) cannot be turned to another schema",
                )
            if kind in FIRST:
                first.append(statement)
            elif kind in AFTERWARDS:
                afterwards.append(statement)
            elif kind in LEFT_OUT:
                left_out.append(f"{kind.lower()} {name}")
            else:
                raise LoadFailed(
                    archive=archive,
                    ended="before anything was loaded",
                    said=f"the table has a {kind.lower()} ({name}), which cannot be put beside the one that stands",
                )
        return cls(encoding=encoding[1], first=first, afterwards=afterwards, left_out=left_out)


class _Turn:
    """Replaces the schema before some names. What stands within quotes is data, or a part of a name."""

    def __init__(self, *, schema: str, names: list[str], stamp: str, into: str) -> None:
        spelled = {spelling for name in names for spelling in (name, Identifier(name).as_string())}
        schemas = {schema, Identifier(schema).as_string()}
        alternatives = "|".join(map(re.escape, sorted(spelled, key=len, reverse=True)))
        before = "|".join(map(re.escape, sorted(schemas, key=len, reverse=True)))
        self.found = re.compile(rf"(?<![\w$\".])(?:{before})\.(?=(?:{alternatives})(?![\w$\"]))")
        self.into = f"{into}."
        self.stamp = stamp

    def over(self, text: str) -> str:
        quoted = [token.span() for token in TOKEN.finditer(text)]

        def turned(found: re.Match[str]) -> str:
            # A quoted name may begin with the schema; what is further inside of one is a part of the name.
            return found[0] if any(begin < found.start() < end for begin, end in quoted) else self.into

        return self._unstamped(self.found.sub(turned, text))

    def _unstamped(self, text: str) -> str:
        if not self.stamp:
            return text
        tokens = re.compile(f"{TOKEN.pattern}|{re.escape(self.stamp)}")
        return tokens.sub(lambda token: token["text"] or token[0].replace(self.stamp, ""), text)
