"""The queries of this room, from the .sql files beside this one: each has a name and a line that says what it
answers."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

SECTION = re.compile(r"^-- name: (\w+)\n(-- .+\n)+", re.MULTILINE)


def query(file: str, name: str) -> str:
    """The text of a query, to be executed with psycopg's ``%(name)s`` parameters. Raises KeyError."""
    return _sections(file)[name]


@cache
def _sections(file: str) -> dict[str, str]:
    text = (Path(__file__).parent / f"{file}.sql").read_text(encoding="utf-8")
    heads = list(SECTION.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {head[1]: text[head.end() : end].strip() for head, end in zip(heads, ends, strict=True)}
