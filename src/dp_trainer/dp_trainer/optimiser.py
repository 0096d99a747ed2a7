"""AdamW on float32 master weights, whatever the number type of the passes; warm-up, cosine and clipping."""

from __future__ import annotations

import math

import torch
from dp_policy.config import TrainingConfig
from torch import Tensor, nn


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up to the peak, then half a cosine to zero at ``config.steps``."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class MasterWeightOptimiser:
    """Keeps float32 masters of a module's weights and writes them back after every step.

    If the weights are float32 already, the masters are the weights themselves.
    """

    def __init__(self, module: nn.Module, config: TrainingConfig) -> None:
        self._config = config
        self._weights: list[Tensor] = [weight for weight in module.parameters() if weight.requires_grad]
        self._shared = all(weight.dtype == torch.float32 for weight in self._weights)
        self.masters: list[Tensor] = (
            list(self._weights) if self._shared else [weight.detach().float().clone() for weight in self._weights]
        )
        self._adamw = torch.optim.AdamW(
            self.masters,
            lr=config.learning_rate,
            betas=(config.betas[0], config.betas[1]),
            weight_decay=config.weight_decay,
            fused=True,
        )

    def step(self, step: int) -> float:
        """Apply the gradients of the module, then clear them.

        Args:
            step: number of the step from 0, sets the learning rate.

        Returns:
            norm of the gradient before clipping; if it is not finite nothing was changed.
        """
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in self._weights]
        if not self._shared:
            gradients = [gradient.float() for gradient in gradients]
        for master, gradient in zip(self.masters, gradients, strict=True):
            master.grad = gradient
        limit = self._config.gradient_clip or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(self.masters, limit, foreach=True))
        if math.isfinite(norm):
            self._adamw.param_groups[0]["lr"] = learning_rate(step, self._config)
            self._adamw.step()
            self._write_back()
        for weight in self._weights:
            weight.grad = None
        return norm

    @torch.no_grad()
    def _write_back(self) -> None:
        if not self._shared:
            torch._foreach_copy_(self._weights, self.masters)

    def state_tensors(self) -> dict[str, Tensor]:
        """Masters and moments by name, for :meth:`load_state_tensors`."""
        tensors = {f"master.{i}": master.detach() for i, master in enumerate(self.masters)}
        for i, master in enumerate(self.masters):
            for key, value in self._adamw.state.get(master, {}).items():
                tensors[f"{key}.{i}"] = value.detach().float()
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take masters and moments over, and write the weights of the module."""
        for i, master in enumerate(self.masters):
            master.copy_(tensors[f"master.{i}"])
            state = {"step": tensors[f"step.{i}"].clone()} if f"step.{i}" in tensors else {}
            for key in ("exp_avg", "exp_avg_sq"):
                if state:  # the fused kernel walks raw memory: moments need the memory format of their weight
                    state[key] = torch.empty_like(master).copy_(tensors[f"{key}.{i}"])
            self._adamw.state[master] = state
        self._write_back()
