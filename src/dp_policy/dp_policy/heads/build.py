"""The head that a configuration names."""

from __future__ import annotations

import importlib

from dp_policy.config import PolicyConfig
from dp_policy.heads.base import ActionHead

#: Module and class of each method; imported on first use, so that one method never needs another's libraries.
HEADS = {
    "diffusion": ("dp_policy.heads.diffusion", "DiffusionHead"),
    "flow": ("dp_policy.heads.flow", "FlowHead"),
    "two_step": ("dp_policy.heads.two_step", "TwoStepHead"),
    "regression": ("dp_policy.heads.regression", "RegressionHead"),
    "lstm_gmm": ("dp_policy.heads.lstm_gmm", "LstmGmmHead"),
    "ibc": ("dp_policy.heads.ibc", "IbcHead"),
    "bet": ("dp_policy.heads.bet", "BetHead"),
}


def build_head(config: PolicyConfig, frame_features: int) -> ActionHead:
    """The head of ``config.method`` with fresh weights."""
    module, name = HEADS[config.method]
    return getattr(importlib.import_module(module), name)(config, frame_features)
