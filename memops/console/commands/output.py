"""What a verb prints: text for people, or one JSON object for programs, and then everything else on standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass, field
from typing import IO, Any

from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memops.console.characters import printable, shown

JSON_VERSION = 1
PIPE_WIDTH = 200


class Screen(Console):
    """Whoever reads it may go away (``| head``): the work goes on, and is not shown any more."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _discard(self.file)


@dataclass
class Output:
    """``say`` is for people; ``result`` is what the verb came to, printed only where JSON is asked for."""

    as_json: bool
    screen: Screen = field(init=False)

    def __post_init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # A terminal may have no sign for what others have typed.
        # Words of others (reasons, names, logs) are never markup, and lines are left as long as they are.
        self.screen = Screen(
            stderr=self.as_json,
            markup=False,
            highlight=False,
            soft_wrap=True,
            emoji=False,
            # A pipe has no width; tables are not folded for it.
            width=None if sys.stdout.isatty() else PIPE_WIDTH,
        )

    @property
    def is_interactive(self) -> bool:
        return sys.stdin.isatty() and not self.as_json

    def say(self, text: str = "", *, style: str = "") -> None:
        self.screen.print(Text(_one(text), style=style))

    def lines(self, text: str) -> None:
        """A text whose lines are ours, or are asked for as they are."""
        self.screen.print(Text(printable(text)))

    def facts(self, facts: dict[str, Any]) -> None:
        """Names and values, one a line, whatever others have put into a value."""
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            self.say(f"  {name:<{width}}  {shown(' '.join(str(value).splitlines()))}")

    def table(self, columns: list[str], rows: list[list[Any]]) -> None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(shown(str(cell))) for cell in row))
        self.screen.print(table, soft_wrap=False, crop=False)

    def ask(self, question: str) -> str:
        """Ask the person at the terminal. The end of the input, or Ctrl-C, is an empty answer."""
        try:
            return self.screen.input(Text(f"{question} ")).strip()
        except (EOFError, KeyboardInterrupt):
            self.screen.print()
            return ""

    def result(self, **data: Any) -> None:
        if self.as_json:
            self.raw(json.dumps({"memops": JSON_VERSION} | data, cls=DjangoJSONEncoder))

    def raw(self, text: str) -> None:
        """For programs: as it is."""
        try:
            print(text, flush=True)  # noqa: T201
        except BrokenPipeError:
            _discard(sys.stdout)


def _discard(stream: IO[str]) -> None:
    """Python flushes its streams once more at its end, and would complain: see "Note on SIGPIPE" in its manual."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def told(text: str) -> None:
    """A sentence for standard error: why there is no result. It may quote names that others have chosen."""
    print(_one(text), file=sys.stderr)  # noqa: T201


def _one(text: str) -> str:
    """No name and no reason begins a line of its own, which could say anything: what follows is set in."""
    return printable(text).replace("\n", "\n    ")
