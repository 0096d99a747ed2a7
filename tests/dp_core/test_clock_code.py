"""The clock code: every counter reads back, in any orientation, and what mixes two counters is no code."""

from __future__ import annotations

import numpy as np
from dp_core.clock_code import COUNTERS, GRID, code_cells, read_cells


def test_counters_read_back_in_all_four_orientations():
    rng = np.random.default_rng(0)
    for counter in (0, 1, 2, COUNTERS - 1, *rng.integers(0, COUNTERS, 200).tolist()):
        for turns in range(4):
            assert read_cells(np.rot90(code_cells(counter), turns)) == counter


def test_a_counter_is_drawn_as_written_down():
    # 5 is 0b111 in Gray code; the check sum of the word 7 by hand: CRC-12 (0x80F) begun with ones.
    register = 0xFFF
    for bit in f"{7:020b}":
        carry = register >> 11 ^ int(bit)
        register = register << 1 & 0xFFF ^ (0x80F if carry else 0)
    bits = f"{7:020b}{register:012b}"
    rows = ["W" + bits[:4] + "W", bits[4:10], bits[10:16], bits[16:22], bits[22:28], "W" + bits[28:] + "B"]
    wanted = [["1W".count(cell) == 1 for cell in row] for row in rows]
    assert code_cells(5)[1:-1, 1:-1].tolist() == wanted
    assert not code_cells(5)[[0, -1]].any() and not code_cells(5)[:, [0, -1]].any()


def test_counting_on_wraps_around():
    assert read_cells(code_cells(COUNTERS + 3)) == 3


def test_a_picture_that_mixes_two_counters_is_refused():
    rng = np.random.default_rng(1)
    accepted = 0
    for counter in rng.integers(0, COUNTERS - 1, 2000).tolist():
        mixed = code_cells(counter)
        row = int(rng.integers(1, GRID - 1))
        mixed[row:] = code_cells(counter + 1)[row:]
        accepted += read_cells(mixed) not in (None, counter, counter + 1)
    assert accepted <= 3, "a wrong counter passes about once in 4096"


def test_noise_and_plain_squares_are_refused():
    rng = np.random.default_rng(2)
    assert read_cells(np.zeros((GRID, GRID), bool)) is None
    assert read_cells(np.ones((GRID, GRID), bool)) is None
    assert sum(read_cells(rng.random((GRID, GRID)) < 0.5) is not None for _ in range(500)) == 0
