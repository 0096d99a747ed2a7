"""A clock that a camera can read: a counter as a square of black and white cells. Pure.

The square has ``GRID`` x ``GRID`` cells. Its border is black (the frame that a reader looks for); inside it three
corners are white and the fourth, at the lower right, is black, which tells the square's orientation. The 32 cells
between, in reading order, are the counter as a 20-bit Gray code and 12 bits of a check sum. A picture that mixes two
counters (a rolling shutter, a screen that was changing) fails the check, but for one in 4096.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GRID = 8
COUNTER_BITS = 20
COUNTERS = 1 << COUNTER_BITS
_CHECK_BITS = 12
_CHECK_POLYNOMIAL = 0x80F  # CRC-12: x^12 + x^11 + x^3 + x^2 + x + 1
_INNER = GRID - 2
_CORNERS = {(0, 0): True, (0, _INNER - 1): True, (_INNER - 1, 0): True, (_INNER - 1, _INNER - 1): False}
_PLACES = [(row, column) for row in range(_INNER) for column in range(_INNER) if (row, column) not in _CORNERS]


def code_cells(counter: int) -> NDArray[np.bool_]:
    """The square of a counter.

    Args:
        counter: counts modulo ``COUNTERS``.

    Returns:
        (GRID, GRID), top row first; True is white.
    """
    counter %= COUNTERS
    gray = counter ^ (counter >> 1)
    word = (gray << _CHECK_BITS) | _check(gray)
    cells = np.zeros((GRID, GRID), bool)
    inner = cells[1:-1, 1:-1]
    for place, white in _CORNERS.items():
        inner[place] = white
    for index, place in enumerate(_PLACES):
        inner[place] = bool(word >> (len(_PLACES) - 1 - index) & 1)
    return cells


def read_cells(cells: NDArray[np.bool_]) -> int | None:
    """The counter of a square (GRID, GRID) in any of its four orientations; None when it is not a valid code."""
    for turns in range(4):
        counter = _read_upright(np.rot90(cells, turns))
        if counter is not None:
            return counter
    return None


def _read_upright(cells: NDArray[np.bool_]) -> int | None:
    inner = cells[1:-1, 1:-1]
    border = cells.sum() - inner.sum()
    if border or any(bool(inner[place]) != white for place, white in _CORNERS.items()):
        return None
    word = 0
    for place in _PLACES:
        word = word << 1 | int(inner[place])
    gray = word >> _CHECK_BITS
    if _check(gray) != word & ((1 << _CHECK_BITS) - 1):
        return None
    counter = 0
    while gray:
        counter ^= gray
        gray >>= 1
    return counter


def _check(value: int) -> int:
    """CRC-12 of the 20 bits; begins with ones, so that an all-black square is no code."""
    register = (1 << _CHECK_BITS) - 1
    for shift in range(COUNTER_BITS - 1, -1, -1):
        carry = (register >> (_CHECK_BITS - 1)) ^ (value >> shift) & 1
        register = (register << 1) & ((1 << _CHECK_BITS) - 1)
        if carry & 1:
            register ^= _CHECK_POLYNOMIAL
    return register
