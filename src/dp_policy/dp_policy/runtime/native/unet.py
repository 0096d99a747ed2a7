"""A U-Net as the list of operations that ``unet.cpp`` runs."""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from dp_policy.runtime.fast_denoiser import FastDenoiser, FilmTable
from dp_policy.runtime.gemm_form import Gemm, convolution, doubling
from dp_policy.unet1d import ConditionalUnet1d, ConvBlock, FilmBlock

#: Products of fewer channels than this, those of the actions themselves, keep 16 bits when others have 8.
FEWEST_BYTE_CHANNELS = 32
#: Channels are a multiple of this: as many bytes are multiplied at once.
CHANNEL_MULTIPLE = 4
PRODUCT, NORM = 0, 1
ACTIVATIONS = {"mish": 0, "silu": 1}


@dataclass(frozen=True)
class Field:
    """Channels of a buffer with ``pad`` rows of zeros on both sides of ``times`` rows."""

    buffer: int
    times: int
    pad: int
    channel: int = 0

    def place(self, row: int = 0, step: int = 1) -> tuple[int, int, int, int]:
        """Buffer, first row counted from the sequence's, channel, rows per time: ``Place`` of the source."""
        return self.buffer, self.pad + row, self.channel, step

    def at(self, channel: int) -> Field:
        """The same buffer from another channel on."""
        return Field(self.buffer, self.times, self.pad, channel)


NOWHERE = (-1, 0, 0, 1)


class Program:
    """Builds the operations of one network."""

    def __init__(self, library: ctypes.CDLL, plain: ConditionalUnet1d, horizon: int, bits: int) -> None:
        self._library, self._bits = library, bits
        self._pad = max(plain.config.kernel // 2, 1)
        self._activation = ACTIVATIONS[plain.config.activation]
        widths = [int(cast(Any, block.cond_encoder[1]).out_features) for block in plain.film_blocks]
        self._films = iter(itertools.accumulate([0, *widths]))
        self.handle = library.dp_network_new(sum(widths))
        self._network(plain, horizon)

    def _network(self, plain: ConditionalUnet1d, times: int) -> None:
        sizes = plain.config.sizes
        first = cast(Any, plain.down_modules[0])[0].blocks[0].block[0]
        x = self._field(times, first.in_channels)
        joins = [self._field(times >> level, 2 * sizes[level]) for level in range(1, len(sizes))]
        for level, modules in enumerate(plain.down_modules):
            one, two, shrink = cast(Any, modules)
            size, times_here = sizes[level], times >> level
            x = self._film_block(one, x, self._field(times_here, size))
            skip = joins[level - 1].at(size) if level else None
            x = self._film_block(two, x, self._field(times_here, size), skip)
            if not isinstance(shrink, nn.Identity):
                small = self._field(times_here // 2, size)
                self._product(convolution(shrink["conv"]), x, small.place(), small.times)
                x = small
        x = self._film_block(plain.mid_modules[0], x, self._field(x.times, sizes[-1]))
        x = self._film_block(plain.mid_modules[1], x, joins[-1] if joins else self._field(x.times, sizes[-1]))
        for depth, modules in enumerate(plain.up_modules):
            one, two, grow = cast(Any, modules)
            level = len(sizes) - 1 - depth
            x = self._film_block(one, x, self._field(x.times, sizes[level - 1]))
            x = self._film_block(two, x, self._field(x.times, sizes[level - 1]))
            large = joins[level - 2] if level > 1 else self._field(2 * x.times, sizes[0])
            for phase, gemm in enumerate(doubling(grow["conv"])):
                self._product(gemm, x, large.place(phase, 2), x.times)
            x = large
        x = self._conv_block(cast(ConvBlock, plain.final_conv[0]), x, self._field(times, sizes[0]))
        output = convolution(cast(nn.Conv1d, plain.final_conv[1]))
        result = Field(self._library.dp_network_add_buffer(self.handle, times, output.channels_out), times, 0)
        self._product(output, x, result.place(), times, bits=16)

    def _field(self, times: int, channels: int) -> Field:
        channels = -(-channels // CHANNEL_MULTIPLE) * CHANNEL_MULTIPLE
        rows = times + 2 * self._pad
        return Field(self._library.dp_network_add_buffer(self.handle, rows, channels), times, self._pad)

    def _product(
        self, gemm: Gemm, source: Field, to: tuple[int, int, int, int], times: int, bits: int | None = None
    ) -> None:
        weight = gemm.weight.unflatten(1, (gemm.taps, gemm.channels_in))
        missing = -gemm.channels_in % CHANNEL_MULTIPLE
        weight = nn.functional.pad(weight, (0, missing)).flatten(1).contiguous()
        bias = gemm.bias.contiguous()
        if gemm.channels_in < FEWEST_BYTE_CHANNELS:
            bits = 16
        number = self._library.dp_network_add_product(
            self.handle, weight.data_ptr(), bias.data_ptr(), *weight.shape, bits or self._bits
        )
        self._operation(
            (PRODUCT, number, times, gemm.taps, gemm.stride), source.place(-gemm.before), to, NOWHERE, NOWHERE
        )

    def _norm(
        self, norm: nn.GroupNorm, source: Field, to: Field, copy: Field | None, residual: Field | None, film: int
    ) -> None:
        weight, bias = norm.weight.detach().contiguous(), norm.bias.detach().contiguous()
        channels = norm.num_channels
        number = self._library.dp_network_add_norm(self.handle, weight.data_ptr(), bias.data_ptr(), channels, norm.eps)
        copy_place = NOWHERE if copy is None else copy.place()
        residual_place = NOWHERE if residual is None else residual.place()
        head = (NORM, number, source.times, 1, 1)
        self._operation(head, source.place(), to.place(), copy_place, residual_place, (film, norm.num_groups))

    def _operation(
        self,
        head: tuple[int, ...],
        source: tuple[int, ...],
        to: tuple[int, ...],
        copy: tuple[int, ...],
        residual: tuple[int, ...],
        norm: tuple[int, int] = (-1, 1),
    ) -> None:
        numbers = np.array([*head, *source, *to, *copy, *residual, *norm, self._activation], np.int32)
        self._library.dp_network_add_operation(self.handle, numbers.ctypes.data)

    def _conv_block(
        self,
        block: ConvBlock,
        source: Field,
        to: Field,
        copy: Field | None = None,
        residual: Field | None = None,
        film: int = -1,
    ) -> Field:
        conv, norm, _ = cast(tuple[Any, nn.GroupNorm, Any], tuple(block.block))
        hidden = self._field(source.times, norm.num_channels)
        self._product(convolution(conv), source, hidden.place(), source.times)
        self._norm(norm, hidden, to, copy, residual, film)
        return to

    def _film_block(self, block: Any, source: Field, to: Field, copy: Field | None = None) -> Field:
        film_block = cast(FilmBlock, block)
        first, second = (cast(ConvBlock, part) for part in film_block.blocks)
        channels = cast(nn.GroupNorm, second.block[1]).num_channels
        residual = source
        if not isinstance(film_block.residual_conv, nn.Identity):
            residual = self._field(source.times, channels)
            gemm = convolution(cast(nn.Conv1d, film_block.residual_conv))
            self._product(gemm, source, residual.place(), source.times)
        middle = self._conv_block(first, source, self._field(source.times, channels), film=next(self._films))
        return self._conv_block(second, middle, to, copy, residual)


class NativeUnet(FastDenoiser):
    """Draws with one call per evaluation.

    Args:
        plain: the network.
        horizon: actions per chunk.
        bits: of the weights: 16 (bfloat16) or 8 (a scale per output; activations get one scale per evaluation).
        library: see :func:`dp_policy.runtime.native.library.load_library`.
    """

    def __init__(self, plain: ConditionalUnet1d, horizon: int, bits: int, library: ctypes.CDLL) -> None:
        super().__init__(plain)
        self._films = FilmTable(plain)
        self._outputs = cast(nn.Conv1d, plain.final_conv[1]).out_channels
        self._library = library
        self._handle = Program(library, plain, horizon, bits).handle

    def __del__(self) -> None:
        """Give the weights back."""
        if "_handle" in self.__dict__:
            self._library.dp_network_delete(self._handle)

    def _prepare(self, condition: Tensor, steps: Tensor) -> Tensor:
        return self._films.both(condition, steps)

    def _denoise(self, sample: Tensor, prepared: Tensor, index: int) -> Tensor:
        films, sample = prepared[index], sample.contiguous()
        count, times, width = sample.shape
        out = torch.empty((count, times, self._outputs))
        pointers = (sample.data_ptr(), films.data_ptr(), out.data_ptr())
        sizes = (count, count // len(films), times, width, self._outputs)
        self._library.dp_network_run(self._handle, *pointers, *sizes)
        return out
