"""Conditional 1-D U-Net over the action chunk (arXiv 2303.04137; layout of real-stanford/diffusion_policy).

The FiLM projection of every residual block is linear in Mish(step features) and Mish(condition) side by side.
It is computed in its two halves: the condition's once per observation, the step's once per noise level. The
weights are the published ones, only the order of the additions differs.
"""

from __future__ import annotations

import itertools
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dp_policy.config import DenoiserConfig
from dp_policy.convolution1d import Conv1d, set_conv_backend
from dp_policy.denoiser import Denoiser, step_embedding

ACTIVATIONS: dict[str, type[nn.Module]] = {"mish": nn.Mish, "silu": nn.SiLU}


class ConvBlock(nn.Module):
    """Convolution, GroupNorm, activation: (B, C_in, T) to (B, C_out, T)."""

    def __init__(self, channels_in: int, channels_out: int, config: DenoiserConfig) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Conv1d(channels_in, channels_out, config.kernel, padding=config.kernel // 2),
            nn.GroupNorm(config.groups, channels_out),
            ACTIVATIONS[config.activation](),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T) to (B, C_out, T)."""
        return self.block(x)


class FilmBlock(nn.Module):
    """Residual block whose hidden channels are scaled and shifted by the condition (FiLM, arXiv 1709.07871)."""

    def __init__(self, channels_in: int, channels_out: int, condition_dim: int, config: DenoiserConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [ConvBlock(channels_in, channels_out, config), ConvBlock(channels_out, channels_out, config)]
        )
        self.cond_encoder = nn.Sequential(ACTIVATIONS[config.activation](), nn.Linear(condition_dim, channels_out * 2))
        self.residual_conv: nn.Module = (
            Conv1d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()
        )

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        """``x`` (B, C_in, T), ``film`` (B, 2 C_out): scales then biases; returns (B, C_out, T)."""
        scale, bias = film.unsqueeze(-1).chunk(2, dim=1)
        hidden = torch.addcmul(bias, self.blocks[0](x), scale)
        return self.blocks[1](hidden) + self.residual_conv(x)


class ConditionalUnet1d(Denoiser):
    """Denoiser of action chunks.

    Args:
        action_dim: numbers per action.
        condition_dim: numbers of the observation features.
        config: sizes and choices.
        marked: the input has one more channel, which marks given actions.
    """

    def __init__(self, action_dim: int, condition_dim: int, config: DenoiserConfig, marked: bool = False) -> None:
        super().__init__()
        self.config = config
        width, sizes = config.step_features, config.sizes
        self.diffusion_step_encoder = nn.Sequential(
            nn.Identity(),  # the sinusoidal embedding's place in the published checkpoints
            nn.Linear(width, width * 4),
            ACTIVATIONS[config.activation](),
            nn.Linear(width * 4, width),
        )

        def film_block(channels_in: int, channels_out: int) -> FilmBlock:
            return FilmBlock(channels_in, channels_out, width + condition_dim, config)

        self.mid_modules = nn.ModuleList([film_block(sizes[-1], sizes[-1]) for _ in range(2)])
        self.down_modules = nn.ModuleList()
        for level, (low, high) in enumerate(zip((action_dim + marked, *sizes[:-1]), sizes, strict=True)):
            last = level == len(sizes) - 1
            shrink = nn.Identity() if last else nn.ModuleDict({"conv": Conv1d(high, high, 3, 2, 1)})
            self.down_modules.append(nn.ModuleList([film_block(low, high), film_block(high, high), shrink]))
        self.up_modules = nn.ModuleList()
        for low, high in reversed(list(itertools.pairwise(sizes))):
            grow = nn.ModuleDict({"conv": nn.ConvTranspose1d(low, low, 4, 2, 1)})
            self.up_modules.append(nn.ModuleList([film_block(high * 2, low), film_block(low, low), grow]))
        self.final_conv = nn.Sequential(ConvBlock(sizes[0], sizes[0], config), Conv1d(sizes[0], action_dim, 1))
        set_conv_backend(self, config.conv_backend)

    @property
    def film_blocks(self) -> list[FilmBlock]:
        """Residual blocks in the order in which they run."""
        levels = [*self.down_modules, self.mid_modules, *self.up_modules]
        return [block for level in levels for block in list(level)[:2]]  # type: ignore[misc]

    def step_films(self, steps: Tensor) -> Tensor:
        """The step's half of every FiLM projection: (S,) steps to (S, sum of 2 C)."""
        embedded = step_embedding(steps, self.config.step_features).to(self.dtype)
        width = self.config.step_features
        return self._project(self.diffusion_step_encoder(embedded), slice(0, width), with_bias=True)

    def condition_films(self, condition: Tensor) -> Tensor:
        """The observation's half of every FiLM projection: (B, condition_dim) to (B, sum of 2 C)."""
        return self._project(condition, slice(self.config.step_features, None), with_bias=False)

    def _project(self, inputs: Tensor, columns: slice, with_bias: bool) -> Tensor:
        blocks = self.film_blocks
        layers = [block.cond_encoder[1] for block in blocks]
        weight = torch.cat([layer.weight[:, columns] for layer in layers])  # type: ignore[index]
        bias = torch.cat([layer.bias for layer in layers]) if with_bias else None  # type: ignore[misc]
        return functional.linear(blocks[0].cond_encoder[0](inputs), weight, bias)

    def forward(self, sample: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        """Predict the noise or the clean chunk.

        Args:
            sample: (B * K, T, action_dim, or one more if marked) noisy chunks, K per observation side by side.
            steps: (B * K,) int64 diffusion steps.
            condition: (B, condition_dim) observation features.

        Returns:
            (B * K, T, action_dim).
        """
        draws = sample.shape[0] // condition.shape[0]
        films = self.condition_films(condition)
        films = films.repeat_interleave(draws, dim=0) if draws > 1 else films
        return self.run(sample, films + self.step_films(steps))

    def prepare(self, condition: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Both halves of the FiLM numbers: (B, sum of 2 C) and (S, sum of 2 C)."""
        return self.condition_films(condition), self.step_films(steps.to(condition.device))

    def denoise(self, sample: Tensor, prepared: tuple[Tensor, Tensor], index: int) -> Tensor:
        """``forward`` at the ``index``-th of the prepared steps."""
        films, table = prepared
        films = films + table[index]
        draws = len(sample) // len(films)
        return self.run(sample, films.repeat_interleave(draws, dim=0) if draws > 1 else films)

    def run(self, sample: Tensor, films: Tensor) -> Tensor:
        """``forward`` with the FiLM numbers (B, sum of 2 C) given."""
        pieces = iter(films.split([block.cond_encoder[1].out_features for block in self.film_blocks], dim=1))
        x = sample.transpose(1, 2)
        skips: list[Tensor] = []
        for level in self.down_modules:
            first, second, shrink = cast(tuple[nn.Module, nn.Module, Any], level)
            x = second(first(x, next(pieces)), next(pieces))
            skips.append(x)
            x = x if isinstance(shrink, nn.Identity) else shrink["conv"](x)
        for block in self.mid_modules:
            x = block(x, next(pieces))
        for level in self.up_modules:
            first, second, grow = cast(tuple[nn.Module, nn.Module, Any], level)
            x = torch.cat((x, skips.pop()), dim=1)
            x = grow["conv"](second(first(x, next(pieces)), next(pieces)))
        return self.final_conv(x).transpose(1, 2)
