"""1-D convolutions along the chunk, with a choice of how they are computed; weights are those of torch's."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Conv1d(nn.Conv1d):
    """torch's Conv1d, or the same as one matrix product over unfolded taps (``backend='gemm'``).

    ``forward``: (B, C_in, T) to (B, C_out, T'). Both ways share weights and state dict. Which is faster depends
    on the processor: oneDNN has good 1-D kernels on some and falls back to slow ones on others.
    """

    backend: str = "native"

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T) to (B, C_out, T')."""
        if self.backend == "native":
            return super().forward(x)
        taps, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        patches = functional.pad(x, (padding, padding)).unfold(2, taps, stride)
        batch, _, length, _ = patches.shape
        rows = patches.transpose(1, 2).reshape(batch * length, -1)
        return functional.linear(rows, self.weight.flatten(1), self.bias).view(batch, length, -1).transpose(1, 2)


def set_conv_backend(module: nn.Module, backend: str) -> None:
    """Choose ``native`` or ``gemm`` for every 1-D convolution in ``module``."""
    for layer in module.modules():
        if isinstance(layer, Conv1d):
            layer.backend = backend
