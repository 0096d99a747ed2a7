"""Networks on a GPU in bfloat16; an evaluation of the denoiser is one replay of a CUDA graph.

The sampler stays on the processor: a chunk is a few hundred numbers, whose way to the GPU and back costs less than the
launches that a graph saves.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dp_policy.denoiser import Denoiser
from dp_policy.encoders import ImageNetwork
from dp_policy.normaliser import Normaliser
from dp_policy.runtime.fast_denoiser import FastDenoiser
from dp_policy.runtime.fast_encoder import FrameNetwork
from dp_policy.runtime.unavailable import RuntimeUnavailableError
from dp_policy.unet1d import ConditionalUnet1d

WARM_UPS = 3


def require_cuda() -> None:
    """Raises RuntimeUnavailableError without a GPU that computes in bfloat16."""
    if not torch.cuda.is_available():
        raise RuntimeUnavailableError("no CUDA device")
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        raise RuntimeUnavailableError(f"{torch.cuda.get_device_name()} has no bfloat16")


def _on_gpu(network: nn.Module) -> Any:
    return copy.deepcopy(network).to(device="cuda", dtype=torch.bfloat16)


@dataclass(frozen=True)
class _Captured:
    """One graph and its fixed memory: inputs, and the output of a replay."""

    graph: torch.cuda.CUDAGraph
    sample: Tensor
    rows: Tensor
    out: Tensor


class CudaDenoiser(FastDenoiser):
    """Draws with CUDA graphs, one per number of chunks.

    Args:
        plain: a U-Net or a transformer.
    """

    def __init__(self, plain: Denoiser) -> None:
        super().__init__(plain)
        self._network = _on_gpu(plain)
        self._captured: dict[tuple[int, ...], _Captured] = {}

    def _prepare(self, condition: Tensor, steps: Tensor) -> Tensor:
        """(S, B, ...) what each step adds for each observation: FiLM numbers, or the memory."""
        prepared = self._network.prepare(condition.to("cuda", torch.bfloat16), steps.to("cuda"))
        if isinstance(self.plain, ConditionalUnet1d):
            films, table = prepared
            return films[None] + table[:, None]
        return prepared

    def _denoise(self, sample: Tensor, prepared: Tensor, index: int) -> Tensor:
        rows = prepared[index]
        draws = len(sample) // len(rows)
        rows = rows.repeat_interleave(draws, dim=0) if draws > 1 else rows
        shape = tuple(sample.shape)
        if shape not in self._captured:
            self._captured[shape] = self._capture(sample, rows)
        captured = self._captured[shape]
        captured.sample.copy_(sample)
        captured.rows.copy_(rows)
        captured.graph.replay()
        return captured.out.float().cpu()

    def _capture(self, sample: Tensor, rows: Tensor) -> _Captured:
        evaluate = self._network.run if isinstance(self.plain, ConditionalUnet1d) else self._network.decode
        fixed_sample, fixed_rows = sample.to("cuda", torch.bfloat16), rows.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # lazily made workspaces must not be made inside the graph
            for _ in range(WARM_UPS):
                evaluate(fixed_sample, fixed_rows)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = evaluate(fixed_sample, fixed_rows)
        return _Captured(graph, fixed_sample, fixed_rows, out)


class CudaNetwork(FrameNetwork):
    """One camera's network in bfloat16 and channels-last."""

    def __init__(self, plain: ImageNetwork) -> None:
        self._network = _on_gpu(plain).to(memory_format=torch.channels_last)

    def __call__(self, pixels: Tensor, normaliser: Normaliser, camera: int) -> Tensor:
        """See :class:`FrameNetwork`."""
        values = normaliser.images(pixels, torch.float32, camera)
        return self._network(values.to("cuda", torch.bfloat16)).float().cpu()
