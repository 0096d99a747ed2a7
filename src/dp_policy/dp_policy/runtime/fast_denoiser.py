"""A denoiser that only draws chunks, in place of the plain one that training knows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dp_policy.denoiser import Denoiser
from dp_policy.unet1d import ConditionalUnet1d


@dataclass
class Prepared:
    """What a chunk's evaluations share.

    Attributes:
        condition: (B, C) observation features.
        steps: (S,) of the sampler.
        fast: of the backend.
        plain: of the plain denoiser, made when it is first asked for.
    """

    condition: Tensor
    steps: Tensor
    fast: Any
    plain: Any = None


class FastDenoiser(Denoiser):
    """Draws with a backend; what needs gradients runs plain.

    Holds the plain network as a part, so that its number type and its weights stay where a head looks for them.
    """

    plain: Denoiser

    def __init__(self, plain: Denoiser) -> None:
        super().__init__()
        self.plain = plain

    @property
    def dtype(self) -> torch.dtype:
        """Number type of what it is given and gives."""
        return self.plain.dtype

    def forward(self, sample: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        """See :meth:`Denoiser.forward`; plain."""
        return self.plain(sample, steps, condition)

    def prepare(self, condition: Tensor, steps: Tensor) -> Prepared:
        """See :meth:`Denoiser.prepare`."""
        return Prepared(condition, steps, self._prepare(condition, steps))

    def denoise(self, sample: Tensor, prepared: Prepared, index: int) -> Tensor:
        """See :meth:`Denoiser.denoise`."""
        if torch.is_grad_enabled() and sample.requires_grad:
            if prepared.plain is None:
                prepared.plain = self.plain.prepare(prepared.condition, prepared.steps)
            return self.plain.denoise(sample, prepared.plain, index)
        return self._denoise(sample, prepared.fast, index)

    @abstractmethod
    def _prepare(self, condition: Tensor, steps: Tensor) -> Any:
        """What :meth:`_denoise` needs."""

    @abstractmethod
    def _denoise(self, sample: Tensor, prepared: Any, index: int) -> Tensor:
        """(B * K, T, A) to (B * K, T, A), float32."""


class FilmTable:
    """Both halves of the FiLM numbers of a U-Net, float32: weights joined once, the steps' half kept.

    The steps of a sampler are the same for every chunk, so their half is computed when they are first seen.
    """

    #: Samplers with other steps than before that are remembered; a warm start changes them.
    MOST_TABLES = 8

    def __init__(self, plain: ConditionalUnet1d) -> None:
        self._plain = plain
        layers: list[Any] = [block.cond_encoder[1] for block in plain.film_blocks]
        columns = slice(plain.config.step_features, None)
        self._weight = torch.cat([layer.weight[:, columns] for layer in layers]).detach().contiguous()
        self._activation: Any = plain.film_blocks[0].cond_encoder[0]
        self._tables: dict[tuple[float, ...], Tensor] = {}

    def condition_half(self, condition: Tensor) -> Tensor:
        """(B, C) to (B, sum of 2 C)."""
        return torch.nn.functional.linear(self._activation(condition), self._weight)

    def step_half(self, steps: Tensor) -> Tensor:
        """(S,) to (S, sum of 2 C)."""
        key = tuple(steps.tolist())
        if key not in self._tables:
            if len(self._tables) >= self.MOST_TABLES:
                self._tables.pop(next(iter(self._tables)))
            self._tables[key] = self._plain.step_films(steps)
        return self._tables[key]

    def both(self, condition: Tensor, steps: Tensor) -> Tensor:
        """(S, B, sum of 2 C) for every step and observation."""
        return self.condition_half(condition)[None] + self.step_half(steps)[:, None]
