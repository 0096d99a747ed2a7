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

A plan in execution carries the errors of the observation that it was made from; the demonstrations' actions have none.
So that a network takes an error back rather than on, training moves the given actions aside (``action.prefix_noise``)
and asks for the way back to the demonstration (:meth:`Given.aimed`), which is that of the join.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dp_policy.config import ActionConfig

#: Share of the training sequences with nothing given: at the start of an episode there is no plan.
NOTHING_GIVEN_SHARE = 0.3
#: Share of the sequences with given actions in which these lie aside, where ``action.prefix_noise`` says so.
ASIDE_SHARE = 0.5


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
        join_actions: see :class:`dp_policy.config.ActionConfig`.
        aside: (N, 1, A) by how much the given actions lie beside the right ones; None: not at all.
    """

    def __init__(
        self,
        actions: Tensor | None,
        mask: Tensor | None,
        draws: int = 1,
        join_actions: float = 8.0,
        aside: Tensor | None = None,
    ) -> None:
        self._actions, self._mask, self._draws = actions, mask, draws
        self._join_actions, self._aside = join_actions, aside

    @classmethod
    def drawn(cls, action: ActionConfig, actions: Tensor, generator: torch.Generator) -> Given:
        """For training: how many of each (N, T, A) sequence's actions are given is drawn on the processor."""
        if not action.prefix:
            return cls(None, None)
        nothing = torch.rand(len(actions), generator=generator) < NOTHING_GIVEN_SHARE
        count = torch.randint(1, action.prefix + 1, (len(actions),), generator=generator).masked_fill(nothing, 0)
        mask = _leading(count.to(actions.device), action.horizon)
        if not action.prefix_noise:
            return cls(actions, mask, join_actions=action.join_actions)
        right = torch.rand(len(actions), generator=generator) >= ASIDE_SHARE
        aside = action.prefix_noise * torch.randn((len(actions), 1, actions.shape[-1]), generator=generator)
        aside = aside.masked_fill(right[:, None, None], 0.0).to(actions.device)
        return cls(actions + aside, mask, join_actions=action.join_actions, aside=aside)

    @classmethod
    def held(cls, action: ActionConfig, continuation: Continuation | None, observations: Tensor, draws: int) -> Given:
        """For deployment: ``draws`` sequences for each row of ``observations`` begin with the given actions."""
        if not action.prefix:
            return cls(None, None)
        number = 0 if continuation is None else continuation.given
        rows = len(observations) * draws
        mask = _leading(torch.full((rows,), number, device=observations.device), action.horizon)
        if continuation is None or not number:
            return cls(None, mask, draws, action.join_actions)
        actions = torch.zeros((len(observations), action.horizon, action.dim), device=observations.device)
        actions[:, :number] = continuation.plan[:, :number]
        return cls(actions.repeat_interleave(draws, dim=0), mask, draws, action.join_actions)

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
        last, share = self._after(self._mask)
        rows = torch.arange(len(last), device=last.device)
        return predicted + share * (self._actions[rows, last] - predicted[rows, last]).unsqueeze(1)

    def aimed(self, actions: Tensor) -> Tensor:
        """(N, T, A) what should be predicted in training: from given actions that lie aside, the way back.

        It is that of the join, so that a network does right which predicts the demonstration whatever it is given.
        """
        if self._mask is None or self._aside is None:
            return actions
        return actions + self._after(self._mask)[1] * self._aside

    def _after(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) the last given action, and (N, T, 1) how much of a difference there is left in those after it."""
        number = mask.sum(dim=1)
        last = (number - 1).clamp_min(0)
        after = torch.arange(mask.shape[1], device=mask.device) - last.unsqueeze(-1)
        share = torch.exp((1 - after) / self._join_actions) * (after > 0) * (number > 0).unsqueeze(-1)
        return last, share.unsqueeze(-1)

    def without(self, errors: Tensor) -> Tensor:
        """(N, T) errors of actions, zero where the action was given."""
        return errors if self._mask is None else errors.masked_fill(self._mask, 0.0)


def _leading(count: Tensor, horizon: int) -> Tensor:
    """(N,) numbers to (N, horizon): whether an action is among the first that many."""
    return torch.arange(horizon, device=count.device) < count.unsqueeze(-1)
