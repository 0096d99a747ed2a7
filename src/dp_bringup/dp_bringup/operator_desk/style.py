"""Text of a given width, in ANSI colours or plain."""

from __future__ import annotations

import textwrap
import unicodedata
from dataclasses import dataclass

BOLD, DIM, REVERSE = "1", "2", "7"
RED, GREEN, YELLOW, CYAN = "31", "32", "33", "36"


@dataclass(frozen=True)
class Style:
    """How lines are made.

    Attributes:
        columns: Width of the terminal.
        colour: Use ANSI codes.
    """

    columns: int
    colour: bool

    def paint(self, text: str, *codes: str) -> str:
        """The text in these codes; empty ones count for nothing."""
        wanted = ";".join(code for code in codes if code)
        return f"\x1b[{wanted}m{text}\x1b[0m" if wanted and self.colour and text else text

    def line(self, text: str, *codes: str) -> str:
        """One line, cut at the width."""
        return self.paint(shorten(printable(text), self.columns), *codes)

    def wrapped(self, text: str, most: int, *codes: str) -> list[str]:
        """Up to ``most`` lines; what does not fit is cut."""
        lines = textwrap.wrap(printable(text), max(20, self.columns), subsequent_indent="  ")
        if len(lines) > most:
            lines = [*lines[: most - 1], shorten(" ".join(lines[most - 1 :]), self.columns)]
        return [self.line(line, *codes) for line in lines]

    def fill(self, text: str, reserved: int) -> str:
        """The text, cut or filled up so that ``reserved`` columns are left behind it."""
        room = max(0, self.columns - reserved)
        shown = shorten(printable(text), room)
        return shown + " " * (room - display_width(shown))


def display_width(text: str) -> int:
    """Columns that the text takes: two for wide characters of East Asia, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shorten(text: str, width: int) -> str:
    """The text cut to ``width`` columns; three dots say that something is missing."""
    if display_width(text) <= width:
        return text
    dots = "..."[: max(0, width)]
    while text and display_width(text) > width - len(dots):
        text = text[:-1]
    return text + dots


def shorten_middle(text: str, width: int) -> str:
    """A name cut to ``width`` characters in the middle: both ends of a topic tell something."""
    if len(text) <= width:
        return text
    kept = max(0, width - 2)
    return f"{text[: kept // 3]}..{text[len(text) - (kept - kept // 3) :]}"[: max(width, 0)]


def printable(text: str) -> str:
    """The text without what would move the cursor or change the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
