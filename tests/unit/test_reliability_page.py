"""docs/reliability.md promises nothing that no test shows."""

import ast
import re
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[a-z_/]+\.py)((?:::\w+)*)`")


def names_in(path: Path) -> set[str]:
    """The file itself, and what pytest calls its classes, functions and methods."""
    found = {""}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(f"::{node.name}")
        if isinstance(node, ast.ClassDef):
            found.add(f"::{node.name}")
            found |= {f"::{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def test_every_test_that_the_page_names_exists() -> None:
    named = NAMED.findall((CLONE / "docs" / "reliability.md").read_text())

    assert named
    assert [f"{file}{test}" for file, test in named if test not in names_in(CLONE / file)] == []


def test_every_fault_on_the_page_has_a_test() -> None:
    rows = re.findall(r"^\| (?!fault|---)(.+)$", (CLONE / "docs" / "reliability.md").read_text(), re.MULTILINE)

    assert rows
    assert [row for row in rows if not NAMED.search(row)] == []
