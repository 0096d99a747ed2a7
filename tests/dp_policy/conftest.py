"""Small policies for tests."""

from __future__ import annotations

import pytest
import torch
from dp_policy.config import PolicyConfig


def small_config(**changes: dict) -> PolicyConfig:
    """One 32x32 camera, tiny network; sections may be changed key by key."""
    sections: dict[str, dict] = {
        "observation": {"cameras": ["front"], "image_height": 32, "image_width": 32, "history": 1},
        "encoder": {"kind": "compact", "width": 8, "keypoints": 4, "features": 8, "blocks": 1},
        "denoiser": {"sizes": [16, 32], "step_features": 16},
        "diffusion": {"inference_steps": 5},
    }
    for name, values in changes.items():
        sections[name] = {**sections.get(name, {}), **values}
    return PolicyConfig.from_dict({"name": "test", **sections})


@pytest.fixture(autouse=True)
def same_numbers_in_every_order() -> None:
    """What a test draws without a generator of its own must not depend on the tests before it."""
    torch.manual_seed(1)


@pytest.fixture(name="small_config")
def small_config_fixture():
    return small_config
