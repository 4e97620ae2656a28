"""Whatever is typed behind a verb is kept exactly as it is, or refused in a sentence with exit code 2 or 3; never a
traceback, never a change that was not asked for, never more than a glimpse of it on the terminal.

Verbs and arguments are those of the parser. What is added is covered, or a test fails with its name.
"""

import argparse
import json
from functools import cache
from typing import Any

import pytest

from memops.console.commands.arguments import file
from memops.console.management.commands.memops import VERBS, Command
from memops.console.models import AuditEvent
from tests.faults import hostile
from tests.faults.hostile import KIND, Hostile
from tests.faults.shell import Ended, Shell
from tests.faults.tables import kept
from tests.faults.verbs import ENDS, USES
from tests.postgres.test_mutating_urls import Scene

KEEPS = frozenset(("reason", "comment", "note", "break_glass", "not_applicable", "accept"))
"""Arguments that take any text that shows, and keep it."""

ONE_LINE = frozenset(("break_glass",))

MAY_BE_EMPTY = frozenset(
    (
        *(("approve", "comment"), ("withdraw", "comment"), ("sign", "note"), ("sign", "role"), ("close", "note")),
        ("checklist-template", "note"),
    )
)

TEXTS = (
    *(one for one in hostile.SHOWN if one.name not in ("an absolute path", "a shell's command", "nothing, in JSON")),
    *(hostile.OTHER_DIGITS, *hostile.HIDDEN, hostile.LINES, hostile.NUL, hostile.EMPTY, hostile.BLANK, hostile.LONG),
)
KEPT = (hostile.EVERYTHING, hostile.LINES, *hostile.HIDDEN, hostile.NUL, hostile.EMPTY, hostile.BLANK, hostile.LONG)
TYPED = (
    *(hostile.PATH, hostile.SQL, *hostile.NUMBERS, hostile.MANY_DIGITS, hostile.HIDDEN[0], hostile.NOT_UTF8),
    *(hostile.LINES, hostile.NUL, hostile.EMPTY, hostile.LONG),
)
FLAGS = (hostile.PATH, hostile.EMPTY, hostile.LONG)


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    parser = Command().create_parser("manage.py", "memops")
    [verbs] = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(verbs)


def arguments(verb: str) -> list[argparse.Action]:
    return [one for one in parsers()[verb]._actions if not isinstance(one, argparse._HelpAction)]


def values_for(argument: argparse.Action) -> tuple[Hostile, ...]:
    if argument.nargs == 0:
        return FLAGS
    if argument.dest in KEEPS:
        return KEPT
    return TEXTS if argument.type in (None, file) and argument.choices is None else TYPED


def with_hostile(use: list[str], verb: str, argument: argparse.Action, text: str) -> list[str]:
    """The same use of the verb, with this text as this argument."""
    if not argument.option_strings:
        place = [one.dest for one in arguments(verb) if not one.option_strings].index(argument.dest)
        return [*use[:place], text, *use[place + 1 :]]
    option = argument.option_strings[-1]
    if option not in use:
        return [*use, f"{option}={text}"]
    place = use.index(option)
    rest = use[place + 1 :] if argument.nargs == 0 else use[place + 2 :]
    return [*use[:place], f"{option}={text}", *rest]


def test_every_verb_is_used_here() -> None:
    assert USES.keys() == set(VERBS), "say in this file how a verb is used"


@pytest.mark.parametrize(("verb", "number"), [(verb, number) for verb in VERBS for number in range(len(USES[verb]))])
def test_an_argument_is_kept_exactly_as_it_is_or_refused(verb, number, ready, shell, fault):
    legal = []
    with ready(verb, number) as (scene, use):
        before, files = scene.snapshot(), shell.files()
        for argument in arguments(verb):
            if _use_of(verb, argument) != number:
                continue
            for value in values_for(argument):
                if is_kept(verb, argument, value):
                    legal.append((argument, value))
                    continue
                why = f"{verb}: {value} as {argument.dest}"
                with fault(KIND):
                    ended = shell(verb, *with_hostile(use, verb, argument, value.text))

                    if argument.dest == "output" and ended.code == 0:
                        _assert_written(shell, value, why)
                    else:
                        ended.assert_refused(why)
            assert scene.snapshot() == before, f"{verb}: a text as {argument.dest} has changed something"
            assert shell.files() == files, f"{verb}: a text as {argument.dest} has left a file"
        done = shell(verb, *use)
        assert done.code == ENDS.get(verb, 0), f"with nothing hostile in it, it does what it should: {done}"

    for argument, value in legal:
        with fault(KIND), ready(verb, number) as (scene, use):
            before = scene.snapshot()

            ended = shell(verb, *with_hostile(use, verb, argument, value.text))

            assert_kept(ended, value, f"{verb}: {value} as {argument.dest}", before, scene)


def _use_of(verb: str, argument: argparse.Action) -> int:
    """In which of the verb's uses this argument is tried."""
    numbers = [number for number, use in enumerate(USES[verb]) if set(argument.option_strings) & set(map(str, use))]
    return numbers[0] if numbers else 0


def is_kept(verb: str, argument: argparse.Action, value: Hostile) -> bool:
    """Is it legal here? What may be left out may be empty."""
    if value in (hostile.EMPTY, hostile.BLANK):
        return (verb, argument.dest) in MAY_BE_EMPTY and (value is hostile.EMPTY or argument.dest in KEEPS)
    if argument.dest not in KEEPS:
        return False
    return value.is_shown or (value is hostile.LINES and argument.dest not in ONE_LINE)


def assert_kept(ended: Ended, value: Hostile, why: str, before: dict[str, Any], scene: Scene) -> None:
    assert ended.code == 0, (why, ended)
    assert hostile.unseen_in(ended.err + ended.out) == [], why
    if value.text.strip():
        said = [
            json.loads(event.details).get("reason", "") for event in AuditEvent.objects.filter(action="audit.accepted")
        ]
        texts = kept(before, scene.snapshot()).union(said)
        assert any(value.text in text for text in texts), f"{why} is not kept as it is"


def _assert_written(shell: Shell, value: Hostile, why: str) -> None:
    """A file may have almost any name; it is written under exactly that one."""
    file = shell.folder / value.text
    assert file.parent == shell.folder, why
    assert file.stat().st_mode & 0o777 == 0o600, why
    file.unlink()
