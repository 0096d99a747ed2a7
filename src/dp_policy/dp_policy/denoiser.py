"""The seam of the networks that are evaluated several times per chunk."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from dp_policy.config import PolicyConfig


def step_embedding(steps: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding of steps: (B,) int64 or float32 to (B, width) float32, sines then cosines."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=steps.device) * (-math.log(10000.0) / (half - 1)))
    phase = steps[:, None].float() * rates[None, :]
    return torch.cat((phase.sin(), phase.cos()), dim=-1)


class Denoiser(nn.Module, ABC):
    """Predicts from a noisy action sequence, a step and a condition.

    ``forward`` is for training. When chunks are drawn, :meth:`prepare` computes once what does not depend on the
    sequence and :meth:`denoise` runs once per step; both give what ``forward`` gives.
    """

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights."""
        return next(self.parameters()).dtype

    @abstractmethod
    def forward(self, sample: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        """Predict noise, clean sequence or velocity.

        Args:
            sample: (B * K, T, A) noisy sequences, K per observation side by side; (B * K, T, A + 1) if the policy is
                trained for given actions (``action.prefix``): the last channel marks them, and they are clean.
            steps: (B * K,) step of each: int64, or float32 for continuous time.
            condition: (B, C) observation features, behind them the :func:`given_features` if there are any.

        Returns:
            (B * K, T, A).
        """

    @abstractmethod
    def prepare(self, condition: Tensor, steps: Tensor) -> Any:
        """What :meth:`denoise` needs for (B, C) features and the (S,) steps of a sampler, computed once."""

    @abstractmethod
    def denoise(self, sample: Tensor, prepared: Any, index: int) -> Tensor:
        """``forward`` for (B * K, T, A or A + 1) at the ``index``-th of the steps prepared for B observations."""


def given_features(config: PolicyConfig) -> int:
    """Numbers of the given actions that a network's condition has behind the observation features.

    A U-Net has them there as well as in its sequence: its group norms take the offset out of what its convolutions
    see, so that from the sequence alone it hardly learns where the given actions are. A transformer attends to them.
    """
    return config.action.prefix * (config.action.dim + 1) if config.denoiser.kind == "unet1d" else 0


def build_denoiser(config: PolicyConfig, frame_features: int) -> Denoiser:
    """The network of ``config.denoiser`` for ``history`` frames of ``frame_features`` numbers, with fresh weights."""
    marked = config.action.prefix > 0
    if config.denoiser.kind == "transformer":
        from dp_policy.transformer1d import DiffusionTransformer

        action, history = config.action, config.observation.history
        sizes = (action.dim, action.horizon, frame_features, history)
        return DiffusionTransformer(*sizes, config.denoiser.transformer, past=action.past, marked=marked)
    from dp_policy.unet1d import ConditionalUnet1d

    condition_dim = frame_features * config.observation.history + given_features(config)
    return ConditionalUnet1d(config.action.dim, condition_dim, config.denoiser, marked=marked)
