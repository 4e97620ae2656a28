"""Which characters people may type, and how what others have typed or named is shown.

Somebody reads it aloud at three in the morning: it has to show as what it is, on one line, without moving the cursor.
"""

from __future__ import annotations

import re
import unicodedata

HIDDEN = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
"""Categories of Unicode: controls, formats, what nobody has assigned, private use, surrogates, separators."""

BLANK = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and symbols that show as nothing, though they are no blanks."""

LAYOUT = frozenset("\r\n\t")

TURNING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""What turns the words of a page round, or does not show on it."""

CALLED = {"\t": "a tab", "\n": "an end of a line", "\r": "an end of a line", "\0": "NUL", "\x1b": "ESCAPE"}

NAMED = 5
LONGEST_QUOTED = 100


def hidden(text: str, *, lines: bool = True) -> str:
    """The names of the characters that do not show, or turn those round that do; "" where there are none. Without
    ``lines`` an end of a line is one of them, and a tab."""
    layout = LAYOUT if lines else frozenset[str]()
    found = {char for char in set(text) - layout if unicodedata.category(char) in HIDDEN or char in BLANK}
    names = list(dict.fromkeys(map(_name, sorted(found))))
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def is_text(text: str) -> bool:
    """Can PostgreSQL keep it? It takes no NUL, and nothing that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def printable(text: str) -> str:
    """Lines of text, without what could rewrite a terminal, or turn a page's words round."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def shown(text: str) -> str:
    """The same on one line."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def quoted(text: str, *, longest: int = LONGEST_QUOTED) -> str:
    """What somebody has typed, as an error repeats it."""
    return shown(text) if len(text) <= longest else f"{shown(text[:longest])}…"


def _name(char: str) -> str:
    return CALLED[char] if char in CALLED else unicodedata.name(char, f"U+{ord(char):04X}")
