"""Behaviour transformer (arXiv 2206.11251): a bin of actions for each frame, and the offset from its centre."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dp_policy.action_window import require_action_per_frame
from dp_policy.clusters import kmeans, nearest_centre
from dp_policy.config import PolicyConfig
from dp_policy.exact_buffers import ExactBuffers
from dp_policy.gpt import Gpt
from dp_policy.heads.base import ActionHead, weighted_mean
from dp_policy.heads.continuation import Continuation


class Bins(ExactBuffers):
    """K-means centres of single actions, (K, A) float32, normalised."""

    centres: Tensor

    def __init__(self, bins: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(bins, dim))


def focal_loss(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p of the target class (arXiv 1708.02002, eq. 4): logits (..., K), target (...); (...)."""
    log_probability = functional.log_softmax(logits, dim=-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return -((1 - log_probability.exp()) ** gamma) * log_probability


class BetHead(ActionHead):
    """Causal transformer over the observation window; every frame predicts its action's bin and all bins' offsets."""

    def __init__(self, config: PolicyConfig, frame_features: int) -> None:
        super().__init__(config, frame_features)
        require_action_per_frame(config)
        self.config = config.bet
        self.bins = Bins(self.config.bins, config.action.dim)
        outputs = self.config.bins * (1 + config.action.dim)
        self.trunk = Gpt(frame_features, outputs, config.observation.history, self.config)

    @property
    def evaluations(self) -> int:
        """One."""
        return 1

    def fit(self, actions: Tensor, generator: torch.Generator) -> None:
        """Cluster single actions, see :meth:`ActionHead.fit`.

        Raises:
            ClusterError: the data have fewer different actions than there are bins.
        """
        # The last action of a sequence is the one at its own time: each action of the data counts once.
        points = actions[:, -1].float().cpu()
        centres = kmeans(points, self.config.bins, self.config.kmeans_iterations, generator)
        self.bins.centres.copy_(centres)

    def predict(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, horizon, K) and offsets (B, horizon, K, A), float32."""
        frames = condition.to(self.dtype).view(len(condition), self.history, self.frame_features)
        logits, offsets = (
            self.trunk(frames).float().split([self.config.bins, self.config.bins * self.action.dim], dim=-1)
        )
        return logits, offsets.unflatten(-1, (self.config.bins, self.action.dim))

    def loss(
        self, condition: Tensor, actions: Tensor, weights: Tensor, draws: int, generator: torch.Generator
    ) -> Tensor:
        """Focal loss of the bins plus scaled squared error of the right bin's offset (eq. 1 and 2 of the paper)."""
        logits, offsets = self.predict(condition)
        target = nearest_centre(actions, self.bins.centres)
        wanted = actions - self.bins.centres[target]
        offset_error = (_of_bin(offsets, target) - wanted).square().mean(dim=-1)
        bin_error = focal_loss(logits, target, self.config.focal_gamma)
        return weighted_mean(bin_error + self.config.offset_scale * offset_error, weights)

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        generator: torch.Generator | None = None,
        draws: int = 1,
        continuation: Continuation | None = None,
    ) -> Tensor:
        """Draw a bin for each frame and add its offset, see :meth:`ActionHead.sample`."""
        logits, offsets = (part.repeat_interleave(draws, dim=0) for part in self.predict(condition))
        odds = functional.softmax(logits, dim=-1).flatten(0, 1).cpu()
        chosen = torch.multinomial(odds, 1, generator=generator).to(logits.device).view(logits.shape[:-1])
        return self.bins.centres[chosen] + _of_bin(offsets, chosen)


def _of_bin(offsets: Tensor, bins: Tensor) -> Tensor:
    """Offsets (B, T, A) of the given bins (B, T)."""
    index = bins.view(*bins.shape, 1, 1).expand(*bins.shape, 1, offsets.shape[-1])
    return offsets.gather(-2, index).squeeze(-2)
