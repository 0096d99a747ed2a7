"""1-D convolutions along the chunk, with a choice of how they are computed; weights are those of torch's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: ``auto`` unfolds up to this batch: torch has no fast 1-D kernel for so little work.
LARGEST_UNFOLDED_BATCH = 4


class Conv1d(nn.Conv1d):
    """torch's Conv1d, or the same as a matrix product of the weights with the unfolded taps.

    ``backend``: ``native`` (torch), ``gemm`` (unfolded) or ``auto`` (unfolded for single observations, as when a
    policy runs; torch for batches, as in training). All share weights and state dict.
    """

    backend: str = "auto"

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T) to (B, C_out, T')."""
        unfold = x.shape[0] <= LARGEST_UNFOLDED_BATCH and not torch.is_grad_enabled()
        if self.backend == "native" or (self.backend == "auto" and not unfold):
            return super().forward(x)
        return self._unfolded(x)

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
