"""Settings of the baselines: their networks, losses and inference."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LstmGmmConfig:
    """LSTM with a mixture of Gaussians (robomimic BC-RNN-GMM)."""


@dataclass(frozen=True)
class IbcConfig:
    """Implicit behavioural cloning (arXiv 2109.00137)."""


@dataclass(frozen=True)
class BetConfig:
    """Behaviour transformer (arXiv 2206.11251)."""
