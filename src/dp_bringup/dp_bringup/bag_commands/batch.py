"""One action on several bags: progress over all of them, and a bag that fails does not keep the others from theirs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from dp_bringup.errors import is_expected
from dp_bringup.progress import bar

Result = TypeVar("Result")
_MEBIBYTE = 2**20


class _Meter:
    """Turns bytes into the whole MiB of a progress bar."""

    def __init__(self, shown: object, limit: int) -> None:
        self._shown = shown
        self._limit = limit
        self.passed = 0
        self._told = 0

    def add(self, count: int) -> None:
        self.passed += count
        whole = min(self.passed // _MEBIBYTE, self._limit)
        if whole > self._told:
            self._shown.update(whole - self._told)  # type: ignore[attr-defined]
            self._told = whole


def for_each_bag(
    folders: Sequence[Path], what: str, act: Callable[[Path, Callable[[int], None]], Result], passes: int = 1
) -> tuple[list[Result], list[str]]:
    """Do something with each bag.

    Args:
        folders: Of the bags.
        what: For the progress bar.
        act: Takes a folder and whom to tell of bytes read.
        passes: How often it reads a bag.

    Returns:
        The results, and a line for each bag with which it could not be done; they are printed too.

    Raises:
        Exception: What went wrong, if there is only one bag.
    """
    results: list[Result] = []
    problems: list[str] = []
    total = sum(_size(folder) for folder in folders) * passes // _MEBIBYTE
    with bar(max(1, total), what, "MiB", shown=total >= 1) as shown:
        meter = _Meter(shown, total)
        for folder in folders:
            done = meter.passed + _size(folder) * passes
            try:
                results.append(act(folder, meter.add))
            except Exception as error:
                if len(folders) == 1 or not is_expected(error):
                    raise
                problems.append(f"{folder}: {error}")
            # Not every bag needs every pass.
            meter.add(max(0, done - meter.passed))
    for line in problems:
        print(f"dp: error: {line}", file=sys.stderr)
    return results, problems


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.mcap"))


def size_text(count: float) -> str:
    """`12 B`, `3.4 MB`, `6.0 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Lines of a table with aligned columns.

    Args:
        header: Titles.
        rows: Cells.
        right: Which columns are aligned to the right.
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
