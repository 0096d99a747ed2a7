"""What the tests of choosing a runtime share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dp_policy.checkpoint import LoadedPolicy, load_checkpoint, save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.policy import VisuomotorPolicy
from dp_policy.runtime import candidate, selection
from dp_policy.runtime.unavailable import RuntimeUnavailableError

#: Predictions of the clean chunk: an untrained network's noise predictions would be blown up by the sampler.
SAMPLER = {"prediction": "sample", "inference_steps": 3}


def saved(config: PolicyConfig, folder: Path, seed: int = 0) -> LoadedPolicy:
    torch.manual_seed(seed)
    save_checkpoint(folder, VisuomotorPolicy(config), {})
    return load_checkpoint(folder)


def times(monkeypatch: pytest.MonkeyPatch, **faster: float) -> None:
    """Let the measurement say what it would on another processor: 10 ms, and less for some names."""

    def fixed(functions: dict, rounds: int) -> dict[str, float]:
        return {name: faster.get(name.replace("-", "_"), 10.0) for name in functions}

    monkeypatch.setattr(selection, "fastest_ms", fixed)


def require(name: str, policy: VisuomotorPolicy) -> None:
    known = {item.name: item for item in candidate.denoiser_candidates()}
    try:
        known[name].build(policy)
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))


