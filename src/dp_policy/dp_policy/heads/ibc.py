"""Implicit behavioural cloning (arXiv 2109.00137): learn an energy, act by searching its minimum."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from dp_policy.config import PolicyConfig
from dp_policy.energy import (
    Box,
    EnergyNetwork,
    energy_slope,
    resample,
    run_langevin,
    search_derivative_free,
    slope_penalty,
)
from dp_policy.exact_buffers import ExactBuffers
from dp_policy.heads.base import LEAST_WEIGHT, ActionHead
from dp_policy.heads.continuation import Continuation

#: Numbers per layer computed at once when chunks are drawn; more observations are done one part after the other.
NUMBERS_AT_ONCE = 2**26


class ActionBounds(ExactBuffers):
    """Least and largest actions of the data, (A,) float32 each, normalised."""

    low: Tensor
    high: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("low", -torch.ones(dim))
        self.register_buffer("high", torch.ones(dim))


def info_nce(energies: Tensor) -> Tensor:
    """-log of the share that exp(-energy) of the first, true action has among all (eq. 2): (B, 1 + N) to (B,)."""
    return -functional.log_softmax(-energies.float(), dim=-1)[:, 0]


class IbcHead(ActionHead):
    """Energy of the observation window and the whole, flattened action sequence."""

    def __init__(self, config: PolicyConfig, frame_features: int) -> None:
        super().__init__(config, frame_features)
        self.config = config.ibc
        self.bounds = ActionBounds(config.action.dim)
        self.energy = EnergyNetwork(self.condition_dim, config.action.horizon * config.action.dim, self.config)

    @property
    def evaluations(self) -> int:
        """Passes of the energy network per chunk, each over all samples (Langevin: with their gradients)."""
        return self.config.evaluations

    @property
    def box(self) -> Box:
        """Where sequences are sampled: the bounds of the data and a margin, (horizon * A,) each."""
        margin = self.config.boundary_buffer * (self.bounds.high - self.bounds.low)
        horizon = self.action.horizon
        return Box((self.bounds.low - margin).repeat(horizon), (self.bounds.high + margin).repeat(horizon))

    def fit(self, actions: Tensor, generator: torch.Generator) -> None:
        """Take over the bounds of the actions, see :meth:`ActionHead.fit`."""
        # The action at the sequence's own time: others may be of steps that are no targets (weight 0).
        own = actions[:, self.action.past]
        self.bounds.low.copy_(own.amin(dim=0))
        self.bounds.high.copy_(own.amax(dim=0))

    def loss(
        self, condition: Tensor, actions: Tensor, weights: Tensor, draws: int, generator: torch.Generator
    ) -> Tensor:
        """InfoNCE of the data against negatives, plus the slope penalty for Langevin ones.

        A sequence is one example: it counts by the least weight of its steps.
        """
        condition, config = condition.to(self.dtype), self.config
        negatives = self.box.draw(len(actions), config.negative_count, generator)
        if config.negatives == "langevin":
            with self._searching(condition) as energy:
                negatives = run_langevin(energy, negatives, self.box, config, config.langevin_step, generator)
        candidates = torch.cat([actions.flatten(1).unsqueeze(1), negatives], dim=1)
        error = info_nce(self._energies(condition, candidates))
        if config.negatives == "langevin" and config.gradient_weight:
            slope = energy_slope(lambda points: self._energies(condition, points), candidates, torch.is_grad_enabled())
            error = error + config.gradient_weight * slope_penalty(slope, config.gradient_margin)
        return (error * weights.amin(dim=1)).sum() / self.counted(weights).clamp_min(LEAST_WEIGHT)

    def counted(self, weights: Tensor) -> Tensor:
        """A sequence counts by the least weight of its steps, see :meth:`ActionHead.counted`."""
        return weights.amin(dim=1).sum()

    def _energies(self, condition: Tensor, actions: Tensor) -> Tensor:
        return self.energy(condition, actions.to(self.dtype)).float()

    @contextmanager
    def _searching(self, condition: Tensor) -> Iterator:
        """The energy without dropout and without gradients of weights and condition; usable in inference mode."""
        training = self.energy.training
        self.energy.eval()
        try:
            with torch.inference_mode(False), torch.no_grad():
                fixed = condition.detach().clone()
                yield lambda actions: self._energies(fixed, actions)
        finally:
            self.energy.train(training)

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        generator: torch.Generator | None = None,
        draws: int = 1,
        continuation: Continuation | None = None,
    ) -> Tensor:
        """Search sequences of low energy, each draw from its own start, see :meth:`ActionHead.sample`."""
        repeated = condition.to(self.dtype).repeat_interleave(draws, dim=0)
        parts = repeated.split(max(1, NUMBERS_AT_ONCE // (self.config.samples * self.config.width)))
        found = torch.cat([self._search(part, generator) for part in parts])
        return found.view(-1, self.action.horizon, self.action.dim)

    def _search(self, condition: Tensor, generator: torch.Generator | None) -> Tensor:
        """One flattened sequence (B, D) per condition (B, C)."""
        config, box = self.config, self.box
        with self._searching(condition) as energy:
            start = box.draw(len(condition), config.samples, generator)
            if config.inference == "derivative_free":
                actions, energies = search_derivative_free(energy, start, box, config, generator)
            else:
                actions = run_langevin(energy, start, box, config, config.langevin_step, generator)
                if config.langevin_refine_step:
                    actions = run_langevin(energy, actions, box, config, config.langevin_refine_step, generator)
                energies = energy(actions)
            if config.select == "sample":
                return resample(actions, energies, 1, generator).squeeze(1)
            return actions[torch.arange(len(actions)), energies.argmin(dim=-1)]
