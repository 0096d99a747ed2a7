from __future__ import annotations

import pytest
import torch
from dp_policy.config import EmaConfig
from dp_trainer.ema import Ema, ema_decay


def test_decay_follows_the_papers_warm_up() -> None:
    """As real-stanford/diffusion_policy counts: 0 at the first two updates, then 1 - 2^-0.75, 0.999 at 10 k steps."""
    config = EmaConfig(decay=0.9999, power=0.75)
    assert ema_decay(0, config) == ema_decay(1, config) == 0.0
    assert ema_decay(2, config) == pytest.approx(1 - 0.5946036)
    assert ema_decay(10_000, config) == pytest.approx(0.999, abs=1e-5)
    assert ema_decay(10_000_000, config) == 0.9999


def test_average_by_hand() -> None:
    config = EmaConfig(decay=0.5, power=10.0)
    weight = torch.tensor([8.0])
    ema = Ema([weight], config)
    weight.fill_(4.0)
    ema.update([weight], 0)  # decay 0: takes the weights over
    assert ema.averages[0].item() == 4.0
    weight.fill_(0.0)
    ema.update([weight], 2)
    ema.update([weight], 3)
    assert ema.averages[0].item() == pytest.approx(1.0)
