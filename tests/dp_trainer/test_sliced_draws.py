from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dp_trainer.sliced_draws import SlicedDraws, slice_batch

TOTAL, DRAWS = 12, 2
DRAWINGS: list[Callable[[int, torch.Generator], torch.Tensor]] = [
    lambda rows, g: torch.randn((rows * DRAWS, 3, 2), generator=g),
    lambda rows, g: torch.randn(rows * DRAWS, 3, generator=g),
    lambda rows, g: torch.randn(size=(rows, 3), generator=g),
    lambda rows, g: torch.rand(rows, 5, generator=g),
    lambda rows, g: torch.randint(0, 100, (rows * DRAWS,), generator=g),
    lambda rows, g: torch.randint(100, (rows,), generator=g),
    lambda rows, g: torch.randint(-3, 100, size=(rows, 2), generator=g),
]


@pytest.mark.parametrize("pieces", [1, 2, 3, 12])
def test_pieces_draw_what_the_whole_draws(pieces: int) -> None:
    """Several draws one after the other, so that the generator must advance as for the whole batch."""
    generator = torch.Generator()
    whole = [draw(TOTAL, generator.manual_seed(4) if i == 0 else generator) for i, draw in enumerate(DRAWINGS)]
    parts: list[list[torch.Tensor]] = [[] for _ in DRAWINGS]
    for part in slice_batch(TOTAL, pieces, 0, pieces):
        generator.manual_seed(4)
        with SlicedDraws(generator, part):
            for kept, draw in zip(parts, DRAWINGS, strict=True):
                kept.append(draw(part.rows, generator))
    for wanted, kept in zip(whole, parts, strict=True):
        torch.testing.assert_close(torch.cat(kept), wanted, rtol=0, atol=0)


def test_other_draws_are_left_alone() -> None:
    mine, other = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    with SlicedDraws(mine, slice_batch(4, 2, 1, 1)[0]):
        foreign = torch.randn(4, generator=other)
        odd = torch.randn(3, generator=mine)  # not one row per observation
    torch.testing.assert_close(foreign, torch.randn(4, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(odd, torch.randn(3, generator=torch.Generator().manual_seed(1)))


def test_slices_of_two_processes_with_two_micro_batches_each() -> None:
    parts = [slice_batch(8, 4, rank * 2, 2) for rank in range(2)]
    assert [(part.start, part.rows, part.total) for process in parts for part in process] == [
        (0, 2, 8),
        (2, 2, 8),
        (4, 2, 8),
        (6, 2, 8),
    ]
