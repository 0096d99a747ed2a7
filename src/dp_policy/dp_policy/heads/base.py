"""The seam between observation features and chunks; every method of ``PolicyConfig.method`` is one head."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from dp_policy.config import PolicyConfig
from dp_policy.denoiser import given_features
from dp_policy.heads.continuation import Continuation

#: Sum of loss weights below which nothing counts; keeps a batch of padding from dividing by zero.
LEAST_WEIGHT = 1e-6


class ActionHead(nn.Module, ABC):
    """The distribution of normalised action sequences given observation features.

    Args:
        config: of the policy.
        frame_features: numbers F per frame; the condition has ``history * F``, oldest frame first.
    """

    #: Sequences to draw when there is a plan in execution to choose by; 1: no choice.
    candidates: int = 1

    def __init__(self, config: PolicyConfig, frame_features: int) -> None:
        super().__init__()
        self.action = config.action
        self.history = config.observation.history
        self.frame_features = frame_features
        self.condition_dim = frame_features * self.history
        self.given_features = given_features(config)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights, and so of the passes."""
        return next(self.parameters()).dtype

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """Network evaluations per chunk (NFE)."""

    def fit(self, actions: Tensor, generator: torch.Generator) -> None:
        """Set what is taken from the data before training (cluster centres and the like).

        Args:
            actions: (N, horizon, A) float32, normalised action sequences of the training episodes.
            generator: draws what the fit draws.
        """

    @abstractmethod
    def loss(
        self, condition: Tensor, actions: Tensor, weights: Tensor, draws: int, generator: torch.Generator
    ) -> Tensor:
        """Training loss.

        Args:
            condition: (B, history * F) observation features.
            actions: (B, horizon, A) float32, normalised.
            weights: (B, horizon) float32, 1 for real steps, less for padded ones.
            draws: noise draws per observation, for heads that draw noise.
            generator: draws noise and levels, on the processor.

        Returns:
            scalar float32.
        """

    def counted(self, weights: Tensor) -> Tensor:
        """What :meth:`loss` divides by, so that losses of parts of a batch can be joined: (B, horizon) to ()."""
        return weights.sum()

    @abstractmethod
    def sample(
        self,
        condition: Tensor,
        generator: torch.Generator | None = None,
        draws: int = 1,
        continuation: Continuation | None = None,
    ) -> Tensor:
        """Draw action sequences.

        Args:
            condition: (B, history * F) observation features.
            generator: draws the noise, on the processor.
            draws: sequences per observation.
            continuation: of the chunk in execution, for heads that can use it.

        Returns:
            (B * draws, horizon, A) float32, normalised, an observation's side by side.
        """


def weighted_mean(error: Tensor, weights: Tensor, draws: int = 1) -> Tensor:
    """Mean over real steps of an error (B * draws, T) under weights (B, T); scalar."""
    per_step = error.view(-1, draws, error.shape[-1]).mean(dim=1)
    return (per_step * weights).sum() / weights.sum().clamp_min(LEAST_WEIGHT)
