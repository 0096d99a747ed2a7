"""A small causal transformer over vectors (the minGPT of behaviour transformers)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dp_policy.config import BetConfig


class CausalAttention(nn.Module):
    """Multi-head attention of (B, T, C) vectors to themselves and earlier ones."""

    def __init__(self, config: BetConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.attention_dropout
        self.projections = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)
        self.residual_dropout = nn.Dropout(config.residual_dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        batch, length, width = tokens.shape
        split = self.projections(tokens).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.residual_dropout(self.output(mixed.transpose(1, 2).reshape(batch, length, width)))


class Block(nn.Module):
    """Pre-norm attention and perceptron, each added to its input."""

    def __init__(self, config: BetConfig) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(config.width), CausalAttention(config)
        self.perceptron_norm = nn.LayerNorm(config.width)
        self.perceptron = nn.Sequential(
            nn.Linear(config.width, 4 * config.width),
            nn.GELU(),
            nn.Linear(4 * config.width, config.width),
            nn.Dropout(config.residual_dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.perceptron(self.perceptron_norm(tokens))


class Gpt(nn.Module):
    """Linear embedding, learned positions, causal blocks, linear output without bias.

    Args:
        inputs: numbers per token.
        outputs: numbers per token predicted.
        length: tokens at most.
        config: sizes and dropout.
    """

    #: AdamW decays the weights of linear layers only (minGPT).
    decay_matrices_only = True

    def __init__(self, inputs: int, outputs: int, length: int, config: BetConfig) -> None:
        super().__init__()
        self.embedding = nn.Linear(inputs, config.width)
        self.positions = nn.Parameter(torch.zeros(1, length, config.width))
        self.dropout = nn.Dropout(config.embedding_dropout)
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, outputs, bias=False)
        self.apply(_initialise)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, inputs) to (B, T, outputs); an output depends on its own and earlier tokens."""
        embedded = self.dropout(self.embedding(tokens) + self.positions[:, : tokens.shape[1]])
        return self.output(self.norm(self.blocks(embedded)))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
