"""Energies of observation and action, and searches for actions of low energy (implicit behavioural cloning).

Algorithms of arXiv 2109.00137: section B.1 (derivative-free optimiser, algorithm 1) and B.3 (Langevin sampling with
a polynomial step size and gradient penalty).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_policy.config import IbcConfig

#: Energies (B, N) of N action sequences (B, N, D) for each of B observations.
Energy = Callable[[Tensor], Tensor]


class EnergyNetwork(nn.Module):
    """A perceptron from condition and flattened action sequence to one number.

    Args:
        condition_dim: numbers of the condition.
        action_dim: numbers D of an action sequence.
        config: kind, width, depth and dropout.
    """

    def __init__(self, condition_dim: int, action_dim: int, config: IbcConfig) -> None:
        super().__init__()
        self.residual = config.network == "residual"
        width, hidden = config.width, config.depth if config.network == "residual" else config.depth - 1
        self.condition = nn.Linear(condition_dim, width)
        self.actions = nn.Linear(action_dim, width, bias=False)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(hidden))
        self.activation = nn.Sequential(nn.ReLU(), nn.Dropout(config.dropout))
        self.output = nn.Linear(width, 1)

    def forward(self, condition: Tensor, actions: Tensor) -> Tensor:
        """(B, C) and (B, N, D) to energies (B, N); the first layer's half for the condition is computed once."""
        hidden = self.condition(condition).unsqueeze(1) + self.actions(actions)
        if self.residual:
            for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
                hidden = hidden + second(self.activation(first(self.activation(hidden))))
            return self.output(hidden).squeeze(-1)
        for layer in self.layers:
            hidden = layer(self.activation(hidden))
        return self.output(self.activation(hidden)).squeeze(-1)


@dataclass(frozen=True)
class Box:
    """Where actions are searched for: ``low`` and ``high``, (D,) float32 each."""

    low: Tensor
    high: Tensor

    def draw(self, batch: int, count: int, generator: torch.Generator | None) -> Tensor:
        """Uniform points (batch, count, D)."""
        shares = torch.rand((batch, count, len(self.low)), generator=generator).to(self.low.device)
        return self.low + shares * (self.high - self.low)

    def clip(self, actions: Tensor) -> Tensor:
        """The nearest points inside."""
        return torch.minimum(torch.maximum(actions, self.low), self.high)


def normal_like(values: Tensor, generator: torch.Generator | None) -> Tensor:
    """Unit normal noise in the shape of ``values``, drawn on the processor."""
    return torch.randn(values.shape, generator=generator).to(values.device)


def resample(actions: Tensor, energies: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw ``count`` of the actions (B, N, D) with odds exp(-energy), with replacement; (B, count, D)."""
    odds = torch.softmax(-energies.float(), dim=-1).cpu()
    chosen = torch.multinomial(odds, count, replacement=True, generator=generator).to(actions.device)
    return actions.gather(1, chosen.unsqueeze(-1).expand(-1, -1, actions.shape[-1]))


def search_derivative_free(
    energy: Energy, actions: Tensor, box: Box, config: IbcConfig, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Resample by probability and perturb, with less noise each round (algorithm 1).

    Args:
        energy: of action sequences.
        actions: (B, N, D) start.
        box: actions are clipped to it.
        config: rounds, noise and shrink.
        generator: draws choices and noise.

    Returns:
        actions (B, N, D) and their energies (B, N).
    """
    noise, energies = config.noise, energy(actions)
    for _ in range(config.iterations - 1):
        chosen = resample(actions, energies, actions.shape[1], generator)
        actions = box.clip(chosen + noise * normal_like(chosen, generator))
        energies = energy(actions)
        noise *= config.shrink
    return actions, energies


def langevin_steps(first: float, config: IbcConfig) -> list[float]:
    """Step sizes from ``first`` down to the final one along a polynomial."""
    last, count = config.langevin_final_step, max(config.langevin_iterations - 1, 1)
    return [
        (first - last) * (1 - index / count) ** config.langevin_power + last
        for index in range(config.langevin_iterations)
    ]


def run_langevin(
    energy: Energy, actions: Tensor, box: Box, config: IbcConfig, first_step: float, generator: torch.Generator | None
) -> Tensor:
    """Stochastic gradient Langevin dynamics (eq. 5): a <- a - step (dE/da / 2 + noise), clipped per step and to a box.

    Args:
        energy: of action sequences, differentiable.
        actions: (B, N, D) start.
        box: actions are clipped to it, and steps to a share of its half width.
        config: count, step sizes, noise and clip.
        first_step: first step size.
        generator: draws the noise.

    Returns:
        (B, N, D), without gradient.
    """
    largest = config.langevin_clip * 0.5 * (box.high - box.low)
    for step in langevin_steps(first_step, config):
        slope = energy_slope(energy, actions, differentiable=False)
        change = step * (0.5 * slope + config.langevin_noise * normal_like(actions, generator))
        actions = box.clip(actions - torch.minimum(torch.maximum(change, -largest), largest)).detach()
    return actions


def energy_slope(energy: Energy, actions: Tensor, differentiable: bool) -> Tensor:
    """dE/da at (B, N, D); with a graph for the weights if ``differentiable``."""
    with torch.enable_grad():
        actions = actions.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(energy(actions).sum(), actions, create_graph=differentiable)
    return slope


def slope_penalty(slope: Tensor, margin: float) -> Tensor:
    """Mean over (B, N, D) slopes of max(0, largest component - margin)^2 per observation (eq. 6); (B,)."""
    return (slope.abs().amax(dim=-1) - margin).clamp_min(0).square().mean(dim=-1)
