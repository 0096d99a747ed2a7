"""The diffusion transformer with torch's own oneDNN products.

What actions attend to in the observation does not change while a chunk is drawn: its keys and values are computed once
for all steps.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dp_policy.runtime.fast_denoiser import FastDenoiser
from dp_policy.runtime.gemm_form import Gemm
from dp_policy.runtime.packed_product import PackedProduct
from dp_policy.transformer1d import DiffusionTransformer

Heads = tuple[Tensor, Tensor]


class PackedLayer:
    """One decoder layer: self-attention, attention to the memory, perceptron; each after its own norm."""

    def __init__(self, layer: nn.TransformerDecoderLayer, rows: int, dtype: torch.dtype) -> None:
        def packed(weight: Tensor, bias: Tensor, activation: str = "none") -> PackedProduct:
            return PackedProduct(Gemm(weight.detach(), bias.detach()), rows, dtype, activation)

        own, other = layer.self_attn, layer.multihead_attn
        width = own.embed_dim
        self._heads = own.num_heads
        self._norms = (layer.norm1, layer.norm2, layer.norm3)
        self._own = packed(own.in_proj_weight, own.in_proj_bias)
        self._own_out = packed(own.out_proj.weight, own.out_proj.bias)
        self._query = packed(other.in_proj_weight[:width].contiguous(), other.in_proj_bias[:width])
        self._memory = (other.in_proj_weight[width:].detach(), other.in_proj_bias[width:].detach())
        self._other_out = packed(other.out_proj.weight, other.out_proj.bias)
        self._wide = packed(layer.linear1.weight, layer.linear1.bias, "gelu")
        self._narrow = packed(layer.linear2.weight, layer.linear2.bias)

    def keys_and_values(self, memory: Tensor) -> Heads:
        """(S, B, M, width) to two of (S, B, heads, M, width / heads)."""
        keys, values = functional.linear(memory, *self._memory).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self._heads, -1)).transpose(-3, -2)

    def __call__(self, x: Tensor, memory: Heads, masks: tuple[Tensor | None, Tensor | None]) -> Tensor:
        """``x`` (N, T, width), memory of one step (N, heads, M, width / heads) each; (N, T, width)."""
        query, key, value = (self._split(part) for part in self._own(self._norms[0](x)).chunk(3, dim=-1))
        x = x + self._own_out(self._attend(query, key, value, masks[0]))
        query = self._split(self._query(self._norms[1](x)))
        x = x + self._other_out(self._attend(query, *memory, masks[1]))
        return x + self._narrow(self._wide(self._norms[2](x)))

    @staticmethod
    def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)


class OneDnnTransformer(FastDenoiser):
    """Draws with packed weights.

    Args:
        plain: the network.
        horizon: actions per chunk.
        dtype: of weights and products; norms, attention and sums are float32.
    """

    plain: DiffusionTransformer

    def __init__(self, plain: DiffusionTransformer, horizon: int, dtype: torch.dtype) -> None:
        super().__init__(plain)
        layers = cast(list[Any], list(plain.decoder.layers))
        self._layers = [PackedLayer(layer, horizon, dtype) for layer in layers]

    def _prepare(self, condition: Tensor, steps: Tensor) -> list[Heads]:
        memory = self.plain.prepare(condition, steps)
        return [layer.keys_and_values(memory) for layer in self._layers]

    def _denoise(self, sample: Tensor, prepared: list[Heads], index: int) -> Tensor:
        plain = self.plain
        masks = (cast(Tensor | None, plain.mask), cast(Tensor | None, plain.memory_mask))
        x = plain.input_emb(sample) + plain.pos_emb
        for layer, (keys, values) in zip(self._layers, prepared, strict=True):
            memory = (_repeated(keys[index], len(sample)), _repeated(values[index], len(sample)))
            x = layer(x, memory, masks)
        return plain.head(plain.ln_f(x))


def _repeated(part: Tensor, count: int) -> Tensor:
    """(B, ...) to (count, ...), an observation's side by side."""
    return part if len(part) == count else part.repeat_interleave(count // len(part), dim=0)
