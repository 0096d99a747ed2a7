"""Which methods keep two ways apart, and which drive between them: the two-way task for all of them.

Every method has its own head; networks are small, and all that run a denoiser run the same one. The training loop is
in memory: a few hundred steps of AdamW with a cosine, the windows are the trainer's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dp_policy.config import DENOISER_METHODS, METHODS, PolicyConfig
from dp_policy.policy import Policy, VisuomotorPolicy
from dp_trainer.windows import TrainingData, WindowSampler
from numpy.typing import NDArray

from dp_benchmark.errors import BenchmarkError
from dp_benchmark.two_way_figure import draw_two_way
from dp_benchmark.two_way_task import OUTCOMES, Rollouts, demonstrate, roll_out, training_data

FIGURE_FILE, ROWS_FILE = "two_way.png", "two_way.json"
BATCH_SIZE = 64
#: Peak learning rates: the denoisers', and those of methods with networks of their own.
DENOISER_RATE, BASELINE_RATE = 2e-3, 3e-3
#: How many times as many steps as the denoisers the networks get whose steps are that much cheaper.
MORE_STEPS = {"lstm_gmm": 4, "bet": 4, "ibc": 2}

#: Tells of a long run: what is being done, steps done and steps in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TwoWayScale:
    """How much is done: the defaults take about two minutes on one thread for all methods.

    Attributes:
        demonstrations: half of them on each side.
        steps: optimiser steps of a denoiser; methods with cheaper steps take more.
        rollouts: per method.
    """

    demonstrations: int = 200
    steps: int = 500
    rollouts: int = 100


def two_way_config(method: str) -> PolicyConfig:
    """The small policy of a method for the two-way task.

    Raises:
        BenchmarkError: there is no such method.
    """
    if method not in METHODS:
        raise BenchmarkError(f"method {method!r} is not known; valid: {', '.join(METHODS)}")
    per_frame = method in ("lstm_gmm", "bet")
    history = 4 if per_frame else 1
    horizon = 16 if method in DENOISER_METHODS else history
    sections: dict[str, Any] = {
        "name": f"two_way_{method}",
        "method": method,
        "observation": {"images": False, "history": history, "proprioception_dim": 2},
        "action": {"dim": 2, "horizon": horizon, "steps": 8 if horizon == 16 else 1, "past": history - 1},
        "denoiser": {"sizes": [32, 64], "step_features": 32, "activation": "silu"},
        "normaliser": {"unscaled_columns": []},
        "diffusion": {"prediction": "sample", "inference_steps": 8},
        "lstm_gmm": {"hidden": 64},
        "ibc": {"width": 96, "depth": 4, "negative_count": 64, "samples": 512, "iterations": 5},
        "bet": {"bins": 24, "layers": 2, "width": 48, "offset_scale": 1000.0},
    }
    return PolicyConfig.from_dict(sections)


def train_two_way(
    config: PolicyConfig, data: TrainingData, steps: int, seed: int, progress: Progress | None = None
) -> Policy:
    """Train a policy on the demonstrations; returns it in evaluation mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    sampler = WindowSampler(data, config, np.arange(len(data.episode_ends)), seed)
    policy = VisuomotorPolicy(config)
    policy.normaliser.fit(data.statistics)
    policy.fit_head(sampler.actions(sampler.windows), generator)
    rate = DENOISER_RATE if config.method in DENOISER_METHODS else BASELINE_RATE
    optimiser = torch.optim.AdamW(policy.parameters(), lr=rate, weight_decay=1e-6)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        batch = sampler.batch(sampler.indices(step, BATCH_SIZE))
        loss = policy.loss(batch, 1, generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(f"train {config.method}", step + 1, steps)
    return policy.eval()


def roll_out_policy(policy: Policy, count: int, seed: int) -> Rollouts:
    """Let a trained policy move, ``action.steps`` actions of each chunk."""
    generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def plan(seen: NDArray[np.float64]) -> NDArray[np.float64]:
        features = policy.encode({}, torch.from_numpy(seen.astype(np.float32)))
        chunks = policy.plan(features, generator=generator)
        return chunks[:, : policy.config.action.steps].double().numpy()

    return roll_out(plan, policy.config.observation.history, count, np.random.default_rng(seed))


def run_two_way(
    out: Path,
    seed: int = 0,
    methods: Sequence[str] = METHODS,
    progress: Progress | None = None,
    scale: TwoWayScale | None = None,
) -> list[dict[str, Any]]:
    """Train methods on the two-way task, let them move, and write ``two_way.png`` and ``two_way.json``.

    Args:
        out: folder of the results, made if it is missing.
        seed: of demonstrations, weights, order, noise and starts.
        methods: in the order of the figure.
        progress: called after every optimiser step.
        scale: how much is done.

    Returns:
        a row per method: ``method``, shares of the rollouts ``left``, ``right``, ``collision``, ``unfinished``,
        ``rollouts``, ``evaluations`` per chunk, ``parameters``, ``training_s``.

    Raises:
        BenchmarkError: a method is not known or named twice, none is given, or the seed is negative.
    """
    configs = [two_way_config(method) for method in methods]
    if not configs:
        raise BenchmarkError(f"no methods given; valid: {', '.join(METHODS)}")
    if seed < 0:
        raise BenchmarkError(f"seed = {seed} is not valid; at least 0")
    if len(set(methods)) < len(methods):
        raise BenchmarkError(f"a method is named twice: {', '.join(methods)}")
    out.mkdir(parents=True, exist_ok=True)  # before the work: a folder that cannot be made should not cost minutes
    scale = scale or TwoWayScale()
    observations, actions = demonstrate(scale.demonstrations, np.random.default_rng(seed))
    data, rows, rollouts = training_data(observations, actions), [], {}
    for config in configs:
        begin = time.perf_counter()
        policy = train_two_way(config, data, scale.steps * MORE_STEPS.get(config.method, 1), seed, progress)
        training_s = time.perf_counter() - begin
        moved = rollouts[config.method] = roll_out_policy(policy, scale.rollouts, seed)
        row = {"method": config.method, **{outcome: moved.share(outcome) for outcome in OUTCOMES}}
        row["rollouts"] = scale.rollouts
        row["evaluations"] = int(policy.head.evaluations)  # type: ignore[union-attr, arg-type]
        row["parameters"] = sum(weight.numel() for weight in policy.parameters())
        rows.append({**row, "training_s": round(training_s, 1)})
    draw_two_way(out / FIGURE_FILE, observations, rollouts)
    (out / ROWS_FILE).write_text(json.dumps({"seed": seed, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return rows
