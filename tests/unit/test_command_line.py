"""What the command line says before there is anything to do."""

import json
import os
import subprocess

import pytest

from memops.console.commands.output import printable
from memops.console.management.commands.memops import VERBS
from tests.environment import CLONE


@pytest.fixture
def away(tmp_path) -> dict[str, str]:
    """An environment in which no database answers."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "MEMOPS_HOME": str(tmp_path / "home"),
        "DATABASE_URL": "postgresql://somebody:hunter2@127.0.0.1:1/nothing",
    }


@pytest.fixture
def memops(manage, away):
    """Run a verb where no database answers."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*manage, "memops", *arguments], env=away, cwd=CLONE, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize("what", ["rollback", "undo", "roles"])
def test_the_sql_for_an_emergency_is_printed_when_the_database_is_down(memops, what):
    printed = memops("sql", what)

    assert printed.returncode == 0
    assert "memops" in printed.stdout
    assert printed.stderr == ""


def test_a_database_that_is_away_is_told_without_a_traceback_or_a_password(memops):
    refused = memops("status")

    assert refused.returncode == 1
    assert "default" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "hunter2" not in refused.stderr + refused.stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_gone_is_no_error(manage, away, options):
    reading, writing = os.pipe()
    os.close(reading)

    ended = subprocess.run(
        [*manage, "memops", "sql", "rollback", *options],
        env=away,
        cwd=CLONE,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_errors_are_json_where_json_is_asked_for(memops):
    refused = memops("runs", "--json")

    assert refused.returncode == 1
    assert json.loads(refused.stdout)["error"]["kind"] == "RecordsUnreachable"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["destroy"],
        ["undo"],
        ["undo", "seventeen"],
        ["undo", "17; drop table x"],
        ["plan", "everything"],
        ["seed", "--rows", "0"],
        ["seed", "--rows", "-5"],
        ["runs", "--limit", "1000000"],
        ["sql", "drop"],
        ["rollback", "--force"],
    ],
)
def test_bad_usage_ends_with_2_and_says_what_is_wrong(memops, arguments):
    refused = memops(*arguments)

    assert refused.returncode == 2
    assert refused.stderr
    assert "Traceback" not in refused.stderr


def test_every_verb_explains_itself(memops):
    listed = memops("--help").stdout

    assert all(verb in listed for verb in VERBS)
    assert "--json" in memops("rollback", "--help").stdout


@pytest.mark.parametrize("hostile", ["\x1b[2J", "a\rb", "x\x00y", "left\u202eright"])
def test_words_of_others_cannot_rewrite_the_terminal(hostile):
    assert all(char.isprintable() for char in printable(hostile))
