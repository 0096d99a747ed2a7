"""AdamW on float32 master weights, whatever the number type of the passes; warm-up, cosine, clipping, groups."""

from __future__ import annotations

import math

import torch
from dp_policy.config import TrainingConfig
from dp_policy.parameter_groups import parameter_groups
from torch import Tensor, nn

from dp_trainer.process_group import ProcessGroup

MOMENTS = ("exp_avg", "exp_avg_sq")


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up to the peak, then half a cosine to zero at ``config.steps``."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class MasterWeightOptimiser:
    """Keeps float32 masters of a module's trainable weights and writes them back after every step.

    If the weights are float32 already, the masters are the weights themselves. Weight decay and share of the
    learning rate are those of :func:`dp_policy.parameter_groups.parameter_groups`. Nothing in :meth:`step` waits for
    the device, so a GPU is never idle because of it.

    Attributes:
        names: of the weights, in the order of ``masters``.
        masters: float32.
    """

    def __init__(self, module: nn.Module, config: TrainingConfig) -> None:
        self._config = config
        named = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        self.names = list(named)
        self._weights: list[Tensor] = list(named.values())
        self._shared = all(weight.dtype == torch.float32 for weight in self._weights)
        self.masters: list[Tensor] = (
            list(self._weights) if self._shared else [weight.detach().float().clone() for weight in self._weights]
        )
        self._sums: list[Tensor] | None = None
        master_of = dict(zip(self.names, self.masters, strict=True))
        groups = parameter_groups(module, config)
        self._scales = [group.learning_rate_scale for group in groups]
        self._adamw = torch.optim.AdamW(
            [{"params": [master_of[n] for n in g.names], "weight_decay": g.weight_decay} for g in groups],
            lr=config.learning_rate,
            betas=(config.betas[0], config.betas[1]),
            fused=True,
        )

    def collect(self) -> None:
        """Add the module's gradients to float32 sums and clear them: call after the backward pass of a micro-batch.

        Sums of bf16 gradients in bf16 would lose what the masters are there to keep.
        """
        gradients = self._take()
        if self._sums is None:
            self._sums = gradients
        else:
            torch._foreach_add_(self._sums, gradients)

    def gradients(self) -> list[Tensor]:
        """Float32 gradients of all weights for the coming step, zero where none arose; may be changed in place."""
        if self._sums is None:
            self._sums = self._take()
        return self._sums

    def _take(self) -> list[Tensor]:
        gradients = []
        for weight in self._weights:
            gradients.append(torch.zeros_like(weight) if weight.grad is None else weight.grad)
            weight.grad = None
        return gradients if self._shared else [gradient.float() for gradient in gradients]

    def step(self, step: int) -> Tensor:
        """Apply the gradients of the module (and what was collected), then clear them.

        Args:
            step: number of the step from 0, sets the learning rate.

        Returns:
            () float32, norm of the gradient before clipping; if it is not finite nothing was changed.
        """
        for master, gradient in zip(self.masters, self.gradients(), strict=True):
            master.grad = gradient
        norm = torch.nn.utils.get_total_norm(self.gradients(), foreach=True)
        # The fused kernel divides by `grad_scale` and leaves everything as it was where `found_inf` is 1: clipping
        # and the check for divergence then need neither a pass of their own nor an answer from the device.
        self._adamw.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        if self._config.gradient_clip:
            self._adamw.grad_scale = (norm / self._config.gradient_clip).clamp_min(1.0)  # type: ignore[attr-defined]
        rate = learning_rate(step, self._config)
        for group, scale in zip(self._adamw.param_groups, self._scales, strict=True):
            group["lr"] = rate * scale
        self._adamw.step()
        self._write_back()
        self._sums = None
        for master in self.masters:
            master.grad = None
        return norm

    @torch.no_grad()
    def _write_back(self) -> None:
        if not self._shared:
            torch._foreach_copy_(self._weights, self.masters)

    def share(self, group: ProcessGroup) -> None:
        """Take the first weights of the main process: machines may differ in how they draw them."""
        group.share(self.masters)
        self._write_back()

    def state_tensors(self) -> dict[str, Tensor]:
        """Masters and moments by the names of the weights, for :meth:`load_state_tensors`."""
        tensors = {}
        for name, master in zip(self.names, self.masters, strict=True):
            tensors[f"master.{name}"] = master.detach()
            for key, value in self._adamw.state.get(master, {}).items():
                tensors[f"{key}.{name}"] = value.detach().float()
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take masters and moments over, and write the weights of the module.

        Raises:
            KeyError: a weight has no tensor there.
        """
        for name, master in zip(self.names, self.masters, strict=True):
            master.copy_(tensors[f"master.{name}"])
            state: dict[str, Tensor] = {}
            if f"step.{name}" in tensors:  # the fused kernel counts on the device of the weights
                state["step"] = tensors[f"step.{name}"].to(master.device, copy=True)
                for key in MOMENTS:  # it walks raw memory: moments need the memory format of their weight
                    state[key] = torch.empty_like(master).copy_(tensors[f"{key}.{name}"])
            self._adamw.state[master] = state
        self._write_back()
