"""What `dp bench policy` measures: networks of the paper's size with untrained weights, or a trained checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from dp_core.contract import config_directory
from dp_policy.checkpoint import save_checkpoint
from dp_policy.config import PolicyConfig, load_policy_config
from dp_policy.denoiser import given_features
from dp_policy.policy import Policy, VisuomotorPolicy, build_policy

#: Network evaluations per chunk of the two methods.
DDIM_STEPS = (16, 8, 4, 2)
FLOW_STEPS = (4, 2)
#: Chunks of so few evaluations are what the few-step speed-up is about.
MOST_FEW_STEPS = 4
CAMERAS = ("front", "wrist")
#: Height and width of the images of the paper's real robot, and of the small policy, pixels.
IMAGES = {"paper": (240, 320), "small": (64, 64)}
WEIGHT_SEED = 0
#: Spread of an untrained network's predictions, normalised units: that of actions.
SPREAD = 0.5


@dataclass(frozen=True)
class Network:
    """A checkpoint and the ways to draw from it.

    Attributes:
        name: in the tables.
        folder: of the checkpoint.
        method: of the policy.
        steps: network evaluations per chunk, each a case; None: as trained.
    """

    name: str
    folder: Path
    method: str
    steps: tuple[int | None, ...]

    def sampling(self, steps: int | None) -> dict[str, Any]:
        """What :meth:`PolicyConfig.with_sampling` takes."""
        if steps is None:
            return {}
        return {"inference_steps": steps, **({"sampler": "ddim"} if self.method == "diffusion" else {})}

    def case_name(self, steps: int | None) -> str:
        """`DDIM 16`."""
        if steps is None:
            return f"{self.method}, as trained"
        return f"{'DDIM' if self.method == 'diffusion' else self.method} {steps}"


def untrained_networks(folder: Path, quick: bool) -> list[Network]:
    """Write the checkpoints of the built-in networks below a folder: paper size with diffusion and flow, and small."""
    kinds: list[tuple[str, str, tuple[int, ...]]] = [
        ("paper", "diffusion", (16, 4) if quick else DDIM_STEPS),
        ("paper", "flow", (4,) if quick else FLOW_STEPS),
        ("small", "diffusion", (4,) if quick else (16, 4)),
    ]
    networks = []
    for policy, method, steps in kinds:
        place = folder / f"{policy}_{method}"
        save_checkpoint(place, untrained_policy(policy, method), {}, {"kind": "untrained", "seed": WEIGHT_SEED})
        networks.append(Network(policy, place, method, steps))
    return networks


def trained_network(folder: Path, config: PolicyConfig, quick: bool) -> Network:
    """A checkpoint, drawn from with every number of evaluations that its method knows."""
    steps: tuple[int | None, ...] = (None,)
    if config.method == "diffusion":
        steps = tuple(count for count in DDIM_STEPS if count <= config.diffusion.train_steps)
    elif config.method == "flow":
        steps = FLOW_STEPS
    return Network(config.name, folder, config.method, (steps[0], steps[-1]) if quick and len(steps) > 1 else steps)


def untrained_policy(name: str, method: str) -> Policy:
    """A policy of config/policies with two cameras and weights of a fixed seed, whose chunks look like chunks.

    An untrained noise prediction is near 0, so that the clipped chunk is +-1 in every number and hides every error.
    The clean chunk is predicted instead, which costs the same, and the last layer is scaled to the spread of actions.
    """
    torch.manual_seed(WEIGHT_SEED)
    config = load_policy_config(config_directory() / "policies" / f"{name}.yaml")
    config = config.with_observation(CAMERAS, *IMAGES[name])
    diffusion = dataclasses.replace(config.diffusion, prediction="sample")
    policy = build_policy(dataclasses.replace(config, method=method, diffusion=diffusion)).eval()
    assert isinstance(policy, VisuomotorPolicy)
    _scale_predictions(policy)
    return policy


@torch.no_grad()
def _scale_predictions(policy: VisuomotorPolicy) -> None:
    denoiser: Any = policy.head.denoiser
    action = policy.config.action
    generator = torch.Generator().manual_seed(WEIGHT_SEED)
    condition = torch.randn((8, policy.head.condition_dim), generator=generator)
    condition = torch.nn.functional.pad(condition, (0, given_features(policy.config)))
    noise = torch.randn((8, action.horizon, action.dim), generator=generator)
    noise = torch.nn.functional.pad(noise, (0, int(action.prefix > 0)))  # no action is marked as given
    predicted = denoiser(noise, torch.full((8,), 50), condition)
    last = denoiser.final_conv[-1]
    for values in (last.weight, last.bias):
        values.mul_(SPREAD / predicted.std())
