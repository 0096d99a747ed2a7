"""Behavioural cloning by squared error: the baseline that averages where people do different things."""

from __future__ import annotations

import torch
from torch import Tensor

from dp_policy.config import PolicyConfig
from dp_policy.denoiser import build_denoiser
from dp_policy.heads.base import ActionHead, weighted_mean
from dp_policy.heads.continuation import Continuation, Given


class RegressionHead(ActionHead):
    """The network of the diffusion head, evaluated once on zeros at step 0 and trained on the actions themselves.

    So that a comparison with diffusion is one of losses, not of networks.
    """

    def __init__(self, config: PolicyConfig, frame_features: int) -> None:
        super().__init__(config, frame_features)
        self.denoiser = build_denoiser(config, frame_features)

    @property
    def evaluations(self) -> int:
        """One."""
        return 1

    def loss(
        self, condition: Tensor, actions: Tensor, weights: Tensor, draws: int, generator: torch.Generator
    ) -> Tensor:
        """Weighted mean squared error of the actions, see :meth:`ActionHead.loss`."""
        steps = torch.zeros(len(actions), dtype=torch.int64, device=actions.device)
        given = Given.drawn(self.action, actions, generator)
        actions = given.aimed(actions)
        seen = given.as_input(torch.zeros_like(actions), self.dtype)
        beside = given.beside(condition, self.given_features)
        predicted = given.join(self.denoiser(seen, steps, beside.to(self.dtype)).float())
        return weighted_mean(given.without((predicted - actions).square().mean(dim=-1)), weights)

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        generator: torch.Generator | None = None,
        draws: int = 1,
        continuation: Continuation | None = None,
    ) -> Tensor:
        """The predicted sequence, the same for every draw, see :meth:`ActionHead.sample`."""
        steps = torch.zeros(1, dtype=torch.int64, device=condition.device)
        shape = (len(condition), self.action.horizon, self.action.dim)
        given = Given.held(self.action, continuation, condition, 1)
        beside = given.beside(condition, self.given_features)
        prepared = self.denoiser.prepare(beside.to(self.dtype), steps)
        seen = given.as_input(torch.zeros(shape, device=condition.device), self.dtype)
        predicted = given.put_into(given.join(self.denoiser.denoise(seen, prepared, 0).float()))
        return predicted.repeat_interleave(draws, dim=0)
