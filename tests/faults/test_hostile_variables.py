"""Whatever stands in a variable of the environment: memops begins with it, or says which variable is wrong and why, and
begins nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import CLONE
from tests.faults.hostile import (
    BLANK,
    EMPTY,
    HIDDEN,
    KIND,
    LINES,
    LONG,
    MANY_DIGITS,
    NUMBERS,
    SHOWN,
    Hostile,
    unseen_in,
)

SOURCE = (CLONE / "project" / "settings.py").read_text()
OF_TARGETS = {"MEMOPS_TARGETS", "STAGING_DATABASE_URL", "PRODUCTION_DATABASE_URL"}
VARIABLES = sorted({*re.findall(r'environment\.\w+\(\s*"([A-Z_]+)"', SOURCE)} | OF_TARGETS)
TEXTS = (*SHOWN[::3], *NUMBERS[::3], *HIDDEN, MANY_DIGITS, LINES, EMPTY, BLANK, LONG)
HOLDS_A_SECRET = re.compile(r".*_URL|.*KEY.*|.*WEBHOOK|MEMOPS_TARGETS")

ALSO = {"MEMOPS_STOP_COMMAND": {"MEMOPS_START_COMMAND": "start"}}
"""What has to be set beside a variable."""


class Reader:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def read(self, **variables: str) -> tuple[int, str]:
        """The exit code of ``manage.py check`` in such an environment, and what it said."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(variables) + "\n")
        self._process.stdin.flush()
        code, said = json.loads(self._process.stdout.readline())
        return code, said


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Where a path that is relative, or leads upwards, harms nobody."""
    here = tmp_path_factory.mktemp("reader") / "a" / "b" / "c"
    here.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.reader"],
        cwd=here,
        env=environment | {"LANG": "C.UTF-8", "PYTHONPATH": str(CLONE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Reader(process)
        assert process.stdin is not None
        process.stdin.close()
    shutil.rmtree(here)


def test_every_variable_of_the_readme_is_read_here() -> None:
    table = re.findall(r"^\| (`[A-Z_`, ]+) \|", (CLONE / "README.md").read_text(), re.MULTILINE)

    told = {name for cell in table for name in re.findall(r"[A-Z_]+", cell)}

    assert told
    assert told <= set(VARIABLES)


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_is_taken_as_it_is_or_named_with_what_is_wrong(variable, reader, fault, tmp_path: Path) -> None:
    for number, text in enumerate(TEXTS):
        with fault(KIND):
            home = tmp_path / str(number)

            code, said = reader.read(**{"MEMOPS_HOME": str(home)} | ALSO.get(variable, {}) | {variable: text.text})

            assert "Traceback" not in said, str(text)
            assert code in (0, 2), str(text)
            assert unseen_in(said) == [], str(text)
            if code == 2:
                assert_named(variable, text, said)
                assert not home.exists(), str(text)
            if HOLDS_A_SECRET.fullmatch(variable) and len(text.text) > 8:
                assert text.text not in said, str(text)


def assert_named(variable: str, text: Hostile, said: str) -> None:
    first, *problems = said.splitlines()
    assert first == "The settings in the environment cannot be used:", str(text)
    assert problems
    for problem in problems:
        assert problem.startswith(f"  {variable}"), str(text)
