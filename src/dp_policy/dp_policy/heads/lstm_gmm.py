"""LSTM with a mixture of Gaussians per step (BC-RNN-GMM of robomimic, arXiv 2108.03298).

robomimic carries the LSTM state from step to step and resets it every ten; here every inference runs the LSTM from
zero over the window of ``history`` frames that it was trained on, so that a plan depends on its observation only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dp_policy.action_window import require_action_per_frame
from dp_policy.config import PolicyConfig
from dp_policy.config_error import PolicyConfigError
from dp_policy.heads.base import ActionHead, weighted_mean
from dp_policy.heads.continuation import Continuation

#: Standard deviation of actions drawn with ``low_noise``, normalised units (robomimic).
LOW_NOISE_STD = 1e-4


@dataclass(frozen=True)
class GaussianMixture:
    """Mixtures of M axis-parallel Gaussians over A numbers, float32.

    Attributes:
        logits: (..., M) unnormalised log weights.
        means: (..., M, A).
        stds: (..., M, A).
    """

    logits: Tensor
    means: Tensor
    stds: Tensor

    def log_density(self, values: Tensor) -> Tensor:
        """Natural logarithm of the density at (..., A); (...)."""
        scaled = (values.unsqueeze(-2) - self.means) / self.stds
        constant = torch.log(torch.tensor(2 * torch.pi, device=values.device))
        per_mode = -(0.5 * scaled.square() + self.stds.log() + 0.5 * constant).sum(dim=-1)
        return torch.logsumexp(functional.log_softmax(self.logits, dim=-1) + per_mode, dim=-1)

    def draw(self, generator: torch.Generator | None = None, std: float | None = None) -> Tensor:
        """One draw from each mixture, (..., A), with ``std`` in place of the mixture's own if given."""
        weights = functional.softmax(self.logits, dim=-1).flatten(0, -2)
        mode = torch.multinomial(weights.cpu(), 1, generator=generator).to(weights.device)
        index = mode.view(*self.logits.shape[:-1], 1, 1).expand(*self.logits.shape[:-1], 1, self.means.shape[-1])
        mean = self.means.gather(-2, index).squeeze(-2)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        spread = self.stds.gather(-2, index).squeeze(-2) if std is None else std
        return mean + spread * noise


class LstmGmmHead(ActionHead):
    """LSTM over the observation window and one linear layer to the mixtures; no layers between (robomimic)."""

    def __init__(self, config: PolicyConfig, frame_features: int) -> None:
        super().__init__(config, frame_features)
        require_action_per_frame(config)
        if config.normaliser.action != "limits":
            raise PolicyConfigError(
                f"normaliser.action = {config.normaliser.action} is not valid for method = lstm_gmm: "
                "its means lie in [-1, 1]; valid: limits"
            )
        self.config = config.lstm_gmm
        self.lstm = nn.LSTM(frame_features, self.config.hidden, self.config.layers, batch_first=True)
        self.output = nn.Linear(self.config.hidden, self.config.modes * (1 + 2 * config.action.dim))

    @property
    def evaluations(self) -> int:
        """One."""
        return 1

    def mixture(self, condition: Tensor) -> GaussianMixture:
        """Mixtures of the actions of all frames: batch shape (B, horizon), float32."""
        frames = condition.to(self.dtype).view(len(condition), self.history, self.frame_features)
        modes, dim = self.config.modes, self.action.dim
        numbers = self.output(self.lstm(frames)[0]).float()
        logits, means, scales = numbers.split([modes, modes * dim, modes * dim], dim=-1)
        stds = functional.softplus(scales) + self.config.min_std
        return GaussianMixture(logits, means.tanh().unflatten(-1, (modes, dim)), stds.unflatten(-1, (modes, dim)))

    def loss(
        self, condition: Tensor, actions: Tensor, weights: Tensor, draws: int, generator: torch.Generator
    ) -> Tensor:
        """Weighted mean negative log density of the actions of all frames, see :meth:`ActionHead.loss`."""
        return weighted_mean(-self.mixture(condition).log_density(actions), weights)

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        generator: torch.Generator | None = None,
        draws: int = 1,
        continuation: Continuation | None = None,
    ) -> Tensor:
        """Draw a mode for each frame, and an action close to it, see :meth:`ActionHead.sample`."""
        one = self.mixture(condition)
        parts = (part.repeat_interleave(draws, dim=0) for part in (one.logits, one.means, one.stds))
        return GaussianMixture(*parts).draw(generator, LOW_NOISE_STD if self.config.low_noise else None)
