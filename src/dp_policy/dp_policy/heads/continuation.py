"""How a new chunk goes on from the one in execution.

While a policy plans, the robot executes the leading actions of the chunk before. They are *given*: the new chunk must
begin with them, and what follows should follow from them. A network trained for it (training-time action conditioning,
arXiv 2512.05964) sees the given actions clean in its noisy input, and one more input channel that is 1 where an action
is given and 0 elsewhere. Training draws how many are given for each sequence, from none to ``action.prefix``, and
counts the error of the others only; so the same weights plan with any delay, and without one.

Two things make a network learn it in minutes rather than days. Beside the observation features a U-Net has the given
actions as plain numbers (:meth:`Given.beside`). And where a network predicts the actions themselves, what it would have
said of the last given one is compared with it, and the following ones are moved by the difference (:meth:`Given.join`):
an error that all actions share, as errors of what an image shows do, then makes no step at the seam.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dp_policy.config import ActionConfig

#: Share of the training sequences with nothing given: at the start of an episode there is no plan.
NOTHING_GIVEN_SHARE = 0.3
#: The difference at the last given action fades over this many actions, to 1 / e.
JOIN_ACTIONS = 8.0


@dataclass(frozen=True)
class Continuation:
    """What is left of the chunk in execution, and what the next one takes from it.

    Attributes:
        plan: (B, L, A) float32, normalised, from the newest observation's time on; L at least 1.
        given: its leading actions that the network is told and that are held, at most ``action.prefix``.
        frozen: its leading actions that guidance binds fully.
        guidance: bound of the weight of the guidance towards the plan, see :mod:`dp_policy.heads.guidance`; 0: none.
        warm_share: share of the denoising steps left out by starting from the plan, see
            :mod:`dp_policy.heads.warm_start`; 0: start from noise.
    """

    plan: Tensor
    given: int = 0
    frozen: int = 0
    guidance: float = 0.0
    warm_share: float = 0.0


class Given:
    """The given actions of sequences (N, T, A), as a network input and as a part of the result.

    Made by :meth:`drawn` in training and :meth:`held` in deployment. For networks that are not trained for given
    actions it does nothing.

    Args:
        actions: (N, T, A) float32, normalised; what is not given in it does not matter.
        mask: (N, T) bool, true where an action is given; None: the network is not trained for it.
        draws: sequences side by side that have the same given actions and the same observation.
    """

    def __init__(self, actions: Tensor | None, mask: Tensor | None, draws: int = 1) -> None:
        self._actions, self._mask, self._draws = actions, mask, draws

    @classmethod
    def drawn(cls, action: ActionConfig, actions: Tensor, generator: torch.Generator) -> Given:
        """For training: how many of each (N, T, A) sequence's actions are given is drawn on the processor."""
        if not action.prefix:
            return cls(None, None)
        nothing = torch.rand(len(actions), generator=generator) < NOTHING_GIVEN_SHARE
        count = torch.randint(1, action.prefix + 1, (len(actions),), generator=generator).masked_fill(nothing, 0)
        return cls(actions, _leading(count.to(actions.device), action.horizon))

    @classmethod
    def held(cls, action: ActionConfig, continuation: Continuation | None, observations: Tensor, draws: int) -> Given:
        """For deployment: ``draws`` sequences for each row of ``observations`` begin with the given actions."""
        if not action.prefix:
            return cls(None, None)
        number = 0 if continuation is None else continuation.given
        rows = len(observations) * draws
        mask = _leading(torch.full((rows,), number, device=observations.device), action.horizon)
        if continuation is None or not number:
            return cls(None, mask, draws)
        actions = torch.zeros((len(observations), action.horizon, action.dim), device=observations.device)
        actions[:, :number] = continuation.plan[:, :number]
        return cls(actions.repeat_interleave(draws, dim=0), mask, draws)

    def put_into(self, sequences: Tensor) -> Tensor:
        """(N, T, A) sequences with the given actions in their places."""
        if self._mask is None or self._actions is None:
            return sequences
        return torch.where(self._mask.unsqueeze(-1), self._actions.to(sequences.dtype), sequences)

    def as_input(self, sequences: Tensor, dtype: torch.dtype) -> Tensor:
        """What the network sees of (N, T, A) sequences: given actions clean, and marked in one more channel."""
        seen = self.put_into(sequences).to(dtype)
        return seen if self._mask is None else torch.cat((seen, self._mask.unsqueeze(-1).to(dtype)), dim=-1)

    def beside(self, condition: Tensor, numbers: int) -> Tensor:
        """The condition with the given actions as plain numbers behind the observation features.

        Args:
            condition: (B, C).
            numbers: of :func:`dp_policy.denoiser.given_features`.

        Returns:
            (N / draws, C + numbers): actions, zero where none is given, then their marks. ``condition`` if there are no
            numbers.
        """
        if self._mask is None or not numbers:
            return condition
        if self._actions is None:
            return functional.pad(condition, (0, numbers))
        most = numbers // (self._actions.shape[-1] + 1)
        marks = self._mask[:: self._draws, :most].to(condition.dtype)
        values = self._actions[:: self._draws, :most].to(condition.dtype) * marks.unsqueeze(-1)
        rows = condition.repeat_interleave(len(marks) // len(condition), dim=0)
        return torch.cat((rows, values.flatten(1), marks), dim=1)

    def join(self, predicted: Tensor) -> Tensor:
        """(N, T, A) predicted actions, those after the given ones moved by how far the last given one was missed."""
        if self._mask is None or self._actions is None:
            return predicted
        number = self._mask.sum(dim=1)
        rows, last = torch.arange(len(number), device=number.device), (number - 1).clamp_min(0)
        missed = (self._actions[rows, last] - predicted[rows, last]) * (number > 0).unsqueeze(-1)
        after = torch.arange(predicted.shape[1], device=number.device) - last.unsqueeze(-1)
        share = torch.exp((1 - after) / JOIN_ACTIONS) * (after > 0)
        return predicted + share.unsqueeze(-1) * missed.unsqueeze(1)

    def without(self, errors: Tensor) -> Tensor:
        """(N, T) errors of actions, zero where the action was given."""
        return errors if self._mask is None else errors.masked_fill(self._mask, 0.0)


def _leading(count: Tensor, horizon: int) -> Tensor:
    """(N,) numbers to (N, horizon): whether an action is among the first that many."""
    return torch.arange(horizon, device=count.device) < count.unsqueeze(-1)
