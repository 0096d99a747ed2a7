"""Random numbers of a part of a batch: the rows that the whole batch would draw.

A head draws noise for the batch that it is given. If a batch is split into micro-batches or over processes, the parts
must draw what the whole would have drawn, or the split would change the training. Every part therefore starts from
the same generator state, draws for the whole batch and keeps its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: Drawing functions whose first positional arguments are the sizes, and how many arguments come before them.
SIZES_AT = {torch.rand: 0, torch.randn: 0, torch.randint: 2}


@dataclass(frozen=True)
class Slice:
    """Rows ``start .. start + rows`` of a batch of ``total`` observations."""

    start: int
    rows: int
    total: int

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole batch."""
        return self.rows == self.total


def slice_batch(total: int, pieces: int, first: int, count: int) -> list[Slice]:
    """Pieces ``first .. first + count`` of a batch split into ``pieces`` equal ones; ``pieces`` divides ``total``."""
    rows = total // pieces
    return [Slice(piece * rows, rows, total) for piece in range(first, first + count)]


class SlicedDraws(TorchFunctionMode):
    """Context in which draws from one generator for a part of a batch are those of the whole batch.

    Draws are recognised by their generator; one row per observation, or a fixed number of rows side by side, must
    lead their shape. Draws of any other leading size are left alone (every part then draws the same). Dropout draws
    from torch's own generator and differs between splits, as any two runs' dropout may.

    Args:
        generator: whose draws are meant.
        part: which rows of the batch are in work.
    """

    def __init__(self, generator: torch.Generator, part: Slice) -> None:
        super().__init__()
        self._generator, self._part = generator, part

    def __torch_function__(
        self, function: Callable, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``function``, for the whole batch if it draws for our part."""
        kwargs = kwargs or {}
        if kwargs.get("generator") is not self._generator or function not in SIZES_AT:
            return function(*args, **kwargs)
        sizes, rebuild = _sizes_of(function, args, kwargs)
        if not sizes or sizes[0] % self._part.rows:
            return function(*args, **kwargs)
        per_row = sizes[0] // self._part.rows
        whole = rebuild((self._part.total * per_row, *sizes[1:]))
        start = self._part.start * per_row
        return whole[start : start + sizes[0]].clone()


def _sizes_of(
    function: Callable, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[tuple[int, ...], Callable[[tuple[int, ...]], Any]]:
    """Sizes that a drawing call asks for, and the same call with other sizes."""
    if "size" in kwargs:
        rest = {key: value for key, value in kwargs.items() if key != "size"}
        return tuple(kwargs["size"]), lambda sizes: function(*args, **rest, size=sizes)
    before = SIZES_AT[function]
    if function is torch.randint and not (len(args) > 2 and isinstance(args[1], int)):
        before = 1  # randint(high, size) or randint(high, size=...) without a lower bound
    given = args[before:]
    if len(given) == 1 and not isinstance(given[0], int):
        return tuple(given[0]), lambda sizes: function(*args[:before], sizes, **kwargs)
    return tuple(given), lambda sizes: function(*args[:before], *sizes, **kwargs)
