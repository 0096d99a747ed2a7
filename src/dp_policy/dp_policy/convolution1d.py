"""1-D convolutions along the chunk, with a choice of how they are computed; weights are those of torch's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dp_policy.winograd1d import TAPS, Winograd1d, tile_length

#: ``auto`` unfolds up to this batch: torch has no fast 1-D kernel for so little work.
LARGEST_UNFOLDED_BATCH = 4
#: ``auto`` uses Winograd's scheme from this batch on: below, transforming the weights costs what it saves.
SMALLEST_WINOGRAD_BATCH = 32
#: And from as many channels on: below, the transforms of the input cost what is saved.
FEWEST_WINOGRAD_CHANNELS = 48


class Conv1d(nn.Conv1d):
    """torch's Conv1d, or the same computed otherwise; all backends share weights and state dict.

    ``backend``: ``native`` (torch), ``gemm`` (matrix product with the unfolded taps), ``winograd`` (fewest products,
    see :mod:`dp_policy.winograd1d`; native where sizes, number type or device do not allow it) or ``auto``: on a
    processor gemm for single observations, as when a policy runs, and winograd for float32 batches, as in training;
    else native, also under torch.compile, which has kernels of its own.
    """

    backend: str = "auto"

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T) to (B, C_out, T')."""
        backend = self._fastest(x) if self.backend == "auto" else self.backend
        if backend == "gemm":
            return self._unfolded(x)
        if backend == "winograd" and self._winograd_fits(x):
            return Winograd1d.apply(x, self.weight, self.bias)
        return super().forward(x)

    def _fastest(self, x: Tensor) -> str:
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return "native"
        trains = torch.is_grad_enabled() and self.weight.requires_grad
        if x.shape[0] <= LARGEST_UNFOLDED_BATCH and not trains:
            return "gemm"
        large = x.shape[0] >= SMALLEST_WINOGRAD_BATCH and min(self.weight.shape[:2]) >= FEWEST_WINOGRAD_CHANNELS
        return "winograd" if large and x.dtype == torch.float32 else "native"

    def _winograd_fits(self, x: Tensor) -> bool:
        plain = self.kernel_size == (TAPS,) and self.stride == (1,) and self.padding == (TAPS // 2,)
        tiled = tile_length(x.shape[2]) > 0
        # Half precision would not survive the transforms, and autocast would bring it in.
        exact = x.dtype == self.weight.dtype and x.dtype in (torch.float32, torch.float64)
        exact = exact and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        return plain and tiled and exact and self.bias is not None

    def _unfolded(self, x: Tensor) -> Tensor:
        taps, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        rows = functional.pad(x, (padding, padding)).unfold(2, taps, stride).transpose(1, 2)
        # Rows times transposed weights: the other order is four times slower in torch's matrix product.
        return functional.linear(rows.reshape(*rows.shape[:2], -1), self.weight.flatten(1), self.bias).transpose(1, 2)


def set_conv_backend(module: nn.Module, backend: str) -> None:
    """Choose the backend of every 1-D convolution in ``module``."""
    for layer in module.modules():
        if isinstance(layer, Conv1d):
            layer.backend = backend
