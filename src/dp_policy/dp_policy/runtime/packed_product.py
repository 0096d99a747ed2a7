"""Matrix products of torch's oneDNN with weights packed once.

torch's linear layer reorders its weights at every call; at the few rows of a chunk that costs more than the product.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dp_policy.runtime.gemm_form import Gemm

#: Products of fewer channels than this, those of the actions themselves, stay in float32.
FEWEST_ROUNDED_CHANNELS = 32


def packing_available(dtype: torch.dtype) -> bool:
    """Whether this build of torch and this processor have packed products of ``dtype``."""
    operators = torch.ops.mkldnn
    present = torch.backends.mkldnn.is_available() and hasattr(operators, "_linear_pointwise")
    return present and (dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PackedProduct:
    """One :class:`Gemm` on (B, T, C).

    Args:
        gemm: the product.
        rows: outputs that it is mostly asked for; others work too.
        dtype: of the weights and the product.
        activation: ``none`` or ``gelu``, applied to the result.
    """

    def __init__(self, gemm: Gemm, rows: int, dtype: torch.dtype, activation: str = "none") -> None:
        dtype = torch.float32 if gemm.channels_in < FEWEST_ROUNDED_CHANNELS else dtype
        self._gemm, self._dtype = gemm, dtype
        self._weight = torch.ops.mkldnn._reorder_linear_weight(gemm.weight.to(dtype), rows)
        self._bias = gemm.bias.to(dtype)
        self._after: tuple[str, list[float], str] = (activation, [], "none" if activation == "gelu" else "")

    def __call__(self, x: Tensor) -> Tensor:
        """(B, T, C) of any number type to (B, T', N) float32."""
        gemm = self._gemm
        x = x.to(self._dtype)
        if gemm.taps > 1:
            x = functional.pad(x, (0, 0, gemm.before, gemm.after)) if gemm.before or gemm.after else x.contiguous()
            length, channels = x.shape[1:]
            outputs = (length - gemm.taps) // gemm.stride + 1
            view = (len(x), outputs, gemm.taps * channels)
            x = x.as_strided(view, (length * channels, gemm.stride * channels, 1))
        rows = x.reshape(-1, x.shape[-1])
        product = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, *self._after)
        return product.view(*x.shape[:2], -1).float()
