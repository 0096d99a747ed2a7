"""1-D convolutions as matrix products in the layout (T, C).

With the channels of one time side by side, the taps of an output are one contiguous row of ``taps * C`` numbers, and
the next output's row begins ``stride * C`` numbers later: a convolution is a matrix product without any unfolding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Gemm:
    """One product; output ``t`` sees the rows ``t * stride - before`` and the ``taps - 1`` after it, zeros outside.

    Attributes:
        weight: (N, taps * C) float32.
        bias: (N,) float32.
        taps: rows per output.
        stride: rows from one output to the next.
        before: rows of zeros before the sequence.
        after: rows of zeros after it.
    """

    weight: Tensor
    bias: Tensor
    taps: int = 1
    stride: int = 1
    before: int = 0
    after: int = 0

    @property
    def channels_in(self) -> int:
        """C."""
        return self.weight.shape[1] // self.taps

    @property
    def channels_out(self) -> int:
        """N."""
        return self.weight.shape[0]


def convolution(layer: nn.Conv1d) -> Gemm:
    """A convolution with zero padding."""
    assert layer.bias is not None
    taps, padding = layer.kernel_size[0], int(layer.padding[0])
    weight = layer.weight.detach().permute(0, 2, 1).reshape(len(layer.weight), -1).contiguous()
    return Gemm(weight, layer.bias.detach(), taps, layer.stride[0], padding, padding)


def doubling(layer: nn.ConvTranspose1d) -> tuple[Gemm, Gemm]:
    """A transposed convolution of 4 taps, stride 2, padding 1: the even outputs and the odd ones.

    Output ``o`` gathers input ``i`` with tap ``o - 2 i + 1``: even ones the inputs ``o / 2 - 1`` and ``o / 2``, odd
    ones ``(o - 1) / 2`` and the next.
    """
    assert layer.bias is not None
    taps = layer.weight.detach().permute(2, 1, 0)  # (4, N, C)
    even, odd = torch.cat((taps[3], taps[1]), dim=1), torch.cat((taps[2], taps[0]), dim=1)
    bias = layer.bias.detach()
    return Gemm(even, bias, 2, before=1), Gemm(odd, bias, 2, after=1)
