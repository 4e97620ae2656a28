"""What hostile people and broken programs type: one table, for every field of a page and every argument of a verb."""

import os
import unicodedata
from dataclasses import dataclass

KIND = "hostile input"
"""Each text is a fault of this kind, where faults are counted."""

TEN_MEGABYTES = 10 * 2**20


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """``is_shown``: it shows as what it is, on one line, so a free text keeps it exactly so."""

    name: str
    text: str
    is_shown: bool = False

    def __str__(self) -> str:
        return self.name


PATH = Hostile(name="parts of a path", text="../../etc/passwd", is_shown=True)
OTHER_DIGITS = Hostile(name="digits of another script", text="٩٩", is_shown=True)
WILDCARD = Hostile(name="a wildcard", text="*", is_shown=True)
SQL = Hostile(name="SQL", text="'; drop table auth_user; --", is_shown=True)
HTML = Hostile(name="HTML", text="<script>alert(1)</script>&lt;", is_shown=True)
EMOJI = Hostile(name="emoji", text="🙂", is_shown=True)
SHOWN = (
    PATH,
    Hostile(name="an absolute path", text="/dev/null/x", is_shown=True),
    Hostile(name="leading dashes", text="-rf", is_shown=True),
    Hostile(name="an option", text="--json", is_shown=True),
    WILDCARD,
    Hostile(name="SQL's wildcards", text="%_", is_shown=True),
    SQL,
    Hostile(name="a shell's command", text="$(id) `id` ; id", is_shown=True),
    Hostile(name="Python's format", text="{0.__class__.__init__.__globals__}", is_shown=True),
    Hostile(name="C's format", text="%s%n%(name)s", is_shown=True),
    Hostile(name="a terminal's markup", text="[red]x[/red] [link=http://x]y[/link]", is_shown=True),
    HTML,
    Hostile(name="a template", text="{{ settings.SECRET_KEY }}{% debug %}", is_shown=True),
    EMOJI,
    Hostile(name="nothing, in words", text="None", is_shown=True),
    Hostile(name="nothing, in JSON", text="null", is_shown=True),
    Hostile(name="a moment before all calendars", text="0001-01-01T00:00+14:00", is_shown=True),
    Hostile(name="a moment after all calendars", text="9999-12-31T23:59-14:00", is_shown=True),
)

NUMBERS = (
    Hostile(name="minus one", text="-1", is_shown=True),
    Hostile(name="nought", text="0", is_shown=True),
    Hostile(name="2**31", text=str(2**31), is_shown=True),
    Hostile(name="2**63", text=str(2**63), is_shown=True),
    Hostile(name="2**64", text=str(2**64), is_shown=True),
    Hostile(name="an exponent", text="1e3", is_shown=True),
    Hostile(name="a fraction", text="1.5", is_shown=True),
    Hostile(name="not a number", text="nan", is_shown=True),
    OTHER_DIGITS,
)

MANY_DIGITS = Hostile(name="5000 digits", text="9" * 5000)

EVERYTHING = Hostile(
    name="everything that shows, at once",
    text="-rf ../.. *%_ '; drop -- {0.__class__} {{ 7 }} %s <b>&amp; [red]x[/] $(id) 🙂 日本 None",
    is_shown=True,
)
"""Short enough for every field."""

NOT_UTF8 = Hostile(name="not UTF-8", text=os.fsdecode(b"a\xff\xfeb"))
HIDDEN = (
    Hostile(name="a terminal escape", text="a\x1b[2J\x1b[31mb"),
    Hostile(name="a C1 control", text="a\x9b2Jb"),
    Hostile(name="a direction override", text="abc\u202edef"),
    Hostile(name="zero width", text="de\u200bfault"),
    Hostile(name="a line separator", text="a\u2028b"),
    Hostile(name="a letter that is blank", text="\u3164"),
    NOT_UTF8,
)

LINES = Hostile(name="two lines", text="one\nRefused: two")
NUL = Hostile(name="NUL", text="a\0b")
EMPTY = Hostile(name="nothing", text="")
BLANK = Hostile(name="blanks", text=" \t ")
LONG = Hostile(name="long", text="x" * 131_000)
"""As long as Linux lets one argument be."""


def unseen_in(text: str) -> list[str]:
    """The characters in what was shown that nobody sees, or that move a cursor, or turn the words round."""
    return sorted(
        {char for char in text if char not in "\n\t" and unicodedata.category(char)[0] in "CZ" and char != " "}
    )
