"""Numbers taken from the data that keep float32 in a network of any precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class ExactBuffers(nn.Module):
    """Holds buffers that follow the module to other devices but never to another number type.

    ``head.to(torch.bfloat16)`` would otherwise round cluster centres and bounds to three digits for good.
    """

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        exact = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, value in exact.items():
            moved = self._buffers[name]
            if value is not None and moved is not None:
                self._buffers[name] = value.to(moved.device)
        return self
