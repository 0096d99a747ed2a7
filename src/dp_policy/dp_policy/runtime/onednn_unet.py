"""The U-Net with torch's own oneDNN products: rows of channels, no transposes."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from dp_policy.runtime.fast_denoiser import FastDenoiser, FilmTable
from dp_policy.runtime.gemm_form import convolution, doubling
from dp_policy.runtime.packed_product import PackedProduct
from dp_policy.unet1d import ConditionalUnet1d, ConvBlock, FilmBlock


class PackedBlock:
    """Convolution, GroupNorm and activation."""

    def __init__(self, block: ConvBlock, rows: int, dtype: torch.dtype) -> None:
        conv, norm, self._activation = cast(tuple[Any, nn.GroupNorm, Any], tuple(block.block))
        self._conv = PackedProduct(convolution(conv), rows, dtype)
        self._norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, N) float32."""
        hidden = self._conv(x)
        groups = hidden.unflatten(2, (self._norm.num_groups, -1))
        variance, mean = torch.var_mean(groups, dim=(1, 3), correction=0, keepdim=True)
        normal = ((groups - mean) * torch.rsqrt(variance + self._norm.eps)).flatten(2)
        return self._activation(torch.addcmul(self._norm.bias, normal, self._norm.weight))


class PackedFilmBlock:
    """A residual block."""

    def __init__(self, block: FilmBlock, rows: int, dtype: torch.dtype) -> None:
        self._first, self._second = (PackedBlock(cast(ConvBlock, part), rows, dtype) for part in block.blocks)
        residual = block.residual_conv
        plain = isinstance(residual, nn.Identity)
        self._residual = None if plain else PackedProduct(convolution(cast(nn.Conv1d, residual)), rows, dtype)

    def __call__(self, x: Tensor, film: Tensor) -> Tensor:
        """``x`` (B, T, C), ``film`` (B, 2 N): scales then biases; (B, T, N) float32."""
        scale, bias = film.unsqueeze(1).chunk(2, dim=2)
        hidden = torch.addcmul(bias, self._first(x), scale)
        return self._second(hidden) + (x if self._residual is None else self._residual(x))


class OneDnnUnet(FastDenoiser):
    """Draws with packed weights.

    Args:
        plain: the network.
        horizon: actions per chunk.
        dtype: of weights and products; sums, norms and activations are float32.
    """

    def __init__(self, plain: ConditionalUnet1d, horizon: int, dtype: torch.dtype) -> None:
        super().__init__(plain)
        self._films = FilmTable(plain)
        self._widths = [block.cond_encoder[1].out_features for block in plain.film_blocks]
        self._downs: list[tuple] = []
        self._ups: list[tuple] = []
        rows = horizon
        for level in plain.down_modules:
            first, second, shrink = cast(tuple[Any, Any, Any], tuple(level))  # type: ignore[arg-type]
            blocks = [PackedFilmBlock(block, rows, dtype) for block in (first, second)]
            last = isinstance(shrink, nn.Identity)
            rows = rows if last else rows // 2
            self._downs.append((*blocks, None if last else PackedProduct(convolution(shrink["conv"]), rows, dtype)))
        self._middle = [PackedFilmBlock(cast(FilmBlock, block), rows, dtype) for block in plain.mid_modules]
        for level in plain.up_modules:
            first, second, grow = cast(tuple[Any, Any, Any], tuple(level))  # type: ignore[arg-type]
            blocks = [PackedFilmBlock(block, rows, dtype) for block in (first, second)]
            even, odd = (PackedProduct(gemm, rows, dtype) for gemm in doubling(grow["conv"]))
            self._ups.append((*blocks, even, odd))
            rows *= 2
        self._last = PackedBlock(cast(ConvBlock, plain.final_conv[0]), rows, dtype)
        # A rounded output would be the largest error of all, and this product is the smallest.
        self._output = PackedProduct(convolution(cast(nn.Conv1d, plain.final_conv[1])), rows, torch.float32)

    def _prepare(self, condition: Tensor, steps: Tensor) -> Tensor:
        return self._films.both(condition, steps)

    def _denoise(self, sample: Tensor, prepared: Tensor, index: int) -> Tensor:
        films = prepared[index]
        draws = len(sample) // len(films)
        films = films.repeat_interleave(draws, dim=0) if draws > 1 else films
        pieces = iter(films.split(self._widths, dim=1))
        x, skips = sample, []
        for first, second, shrink in self._downs:
            x = second(first(x, next(pieces)), next(pieces))
            skips.append(x)
            x = x if shrink is None else shrink(x)
        for block in self._middle:
            x = block(x, next(pieces))
        for first, second, even, odd in self._ups:
            x = torch.cat((x, skips.pop()), dim=2)
            x = second(first(x, next(pieces)), next(pieces))
            x = torch.stack((even(x), odd(x)), dim=2).flatten(1, 2)
        return self._output(self._last(x))
