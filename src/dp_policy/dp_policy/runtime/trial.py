"""Observations that look like those of the policy's cell, for comparisons and measurements at start-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from dp_policy.heads.continuation import Continuation
from dp_policy.policy import VisuomotorPolicy

#: Side of the random patches that are smoothed into an image, pixels: edges and gradients as in a scene.
PATCH_PX = 24
#: Windows that runtimes are compared on: what one scene hides, another shows. A plain chunk of each is drawn at
#: start-up, about 1 s of processor time for the paper's size at 16 evaluations, which is most of what comparing costs.
TRIALS = 4


@dataclass(frozen=True)
class Trial:
    """One window.

    Attributes:
        images: per camera (1, To, H, W, 3) uint8.
        proprioception: (1, To, P) float32, physical units.
    """

    images: Mapping[str, Tensor]
    proprioception: Tensor


def make_trial(policy: VisuomotorPolicy, seed: int = 0) -> Trial:
    """Patches of colour under a gradient, and a state within the range of the training data."""
    rng = np.random.default_rng(seed)
    seen = policy.config.observation
    images = {camera: _window(rng, seen.history, seen.image_height, seen.image_width) for camera in seen.cameras}
    state = torch.from_numpy(rng.uniform(-0.8, 0.8, (1, 1, seen.proprioception_dim))).float()
    drift = torch.linspace(0.0, 0.02, seen.history)[None, :, None]
    return Trial(images, policy.normaliser.proprioception.restore(state + drift))


def make_trials(policy: VisuomotorPolicy) -> list[Trial]:
    """``TRIALS`` windows with images and states of their own."""
    return [make_trial(policy, seed) for seed in range(TRIALS)]


def _window(rng: np.random.Generator, frames: int, height: int, width: int) -> Tensor:
    """(1, frames, height, width, 3) uint8: a scene that moves by a pixel from frame to frame."""
    shape = (-(-(height + frames) // PATCH_PX), -(-(width + frames) // PATCH_PX), 3)
    scene = rng.integers(20, 236, shape).repeat(PATCH_PX, axis=0).repeat(PATCH_PX, axis=1)
    light = np.linspace(0.6, 1.0, scene.shape[1])[None, :, None]
    grain = rng.normal(0.0, 3.0, scene.shape)
    scene = np.clip(scene * light + grain, 0, 255).astype(np.uint8)
    return torch.from_numpy(np.stack([scene[i : i + height, i : i + width] for i in range(frames)]))[None]


@torch.inference_mode()
def features_of(policy: VisuomotorPolicy, trial: Trial) -> Tensor:
    """(1, To * F) float32, frame by frame as the engine encodes them."""
    windows = {
        camera: torch.stack([policy.encode_images(camera, images[:, i]) for i in range(images.shape[1])], dim=1)
        for camera, images in trial.images.items()
    }
    return policy.join_features(windows, trial.proprioception)


@torch.inference_mode()
def chunks_of(policy: VisuomotorPolicy, features: Sequence[Tensor]) -> Tensor:
    """(N, Tp, A) normalised: one for the features of each window, with noise of its own.

    Policies that take given actions draw every other one at a seam, as many chunks as they draw there.
    """
    action, chunks = policy.config.action, []
    for number, seen in enumerate(features):
        noise = torch.Generator().manual_seed(number + 1)
        if action.prefix and number % 2:
            plan = torch.linspace(-0.5, 0.5, action.prefix)[None, :, None].expand(1, -1, action.dim)
            going_on = Continuation(plan, given=action.prefix)
            chunks.append(policy.head.sample(seen, noise, policy.head.candidates, going_on))
        else:
            chunks.append(policy.head.sample(seen, noise))
    return torch.cat(chunks)


@torch.inference_mode()
def fastest_ms(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Shortest wall time of each, run in turns: others on the processor can only make it longer."""
    best = dict.fromkeys(functions, float("inf"))
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start = perf_counter()
            function()
            if turn:  # the first turn fills caches
                best[name] = min(best[name], (perf_counter() - start) * 1e3)
    return best
