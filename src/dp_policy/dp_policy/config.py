"""The description of a policy and of its training: YAML once into frozen dataclasses, strict about keys.

A policy file has a ``name``, a ``method`` and the sections ``observation``, ``action``, ``encoder``, ``denoiser``,
``normaliser``, ``training`` and one for the method; every key has a default except where a size must be chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from dp_core.configuration import ConfigurationError, build_dataclass
from dp_core.configuration import require_choice as check_choice

from dp_policy.baseline_config import BetConfig, IbcConfig, LstmGmmConfig
from dp_policy.config_error import PolicyConfigError, check_range
from dp_policy.denoiser_config import DenoiserConfig
from dp_policy.encoder_config import EncoderConfig, NormaliserConfig
from dp_policy.sampling_config import DiffusionConfig, FlowConfig, TwoStepConfig
from dp_policy.training_config import EmaConfig, TrainingConfig

#: How chunks come about. The first three run the denoiser several times, ``regression`` once; the others are
#: baselines with networks of their own. Each has the section of its name, except ``regression``, which needs none.
METHODS = ("diffusion", "flow", "two_step", "regression", "lstm_gmm", "ibc", "bet")
#: Methods whose network is the section ``denoiser``.
DENOISER_METHODS = ("diffusion", "flow", "two_step", "regression")
#: What may change after training, by method: how chunks are drawn, not what the weights were trained for.
SAMPLING_KEYS: dict[str, tuple[str, ...]] = {
    "diffusion": ("sampler", "inference_steps", "spacing", "clip_sample", "candidates", "warm_start", "guidance"),
    "flow": ("inference_steps", "candidates", "warm_start", "guidance"),
    "two_step": ("l1_midpoint", "candidates"),
    "regression": (),
    "lstm_gmm": ("low_noise",),
    "ibc": (
        *("inference", "samples", "select", "iterations", "noise", "shrink", "boundary_buffer"),
        *("langevin_iterations", "langevin_step", "langevin_final_step", "langevin_power", "langevin_noise"),
        *("langevin_clip", "langevin_refine_step"),
    ),
    "bet": (),
}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


@dataclass(frozen=True)
class ObservationConfig:
    """What the policy sees at one inference.

    Attributes:
        cameras: camera names in network order; empty: every camera of the training store.
        images: false: the policy sees numbers only and ``cameras`` must be empty.
        image_height: pixels; 0: as the training store has it.
        image_width: pixels; 0: as the training store has it.
        history: number of frames To, newest last.
        state: names of the vectors of a replay buffer that make up the proprioception, in this order (Push-T:
            ``agent_position``, ``keypoints``, ``vertices``, ``block_pose``); empty: the proprioception of the cell.
        proprioception_dim: numbers per frame (position, rot6d, gripper width: 10).
    """

    cameras: tuple[str, ...] = ()
    images: bool = True
    image_height: int = 0
    image_width: int = 0
    history: int = 1
    state: tuple[str, ...] = ()
    proprioception_dim: int = 10

    def __post_init__(self) -> None:
        check_range("history", self.history, 1, 16)
        check_range("image_height", self.image_height, 0)
        check_range("image_width", self.image_width, 0)
        check_range("proprioception_dim", self.proprioception_dim, 0)
        if self.cameras and not self.images:
            raise PolicyConfigError(f"cameras = {list(self.cameras)} is not valid with images = false")


@dataclass(frozen=True)
class ActionConfig:
    """The actions that the network predicts at the policy rate, and which of them are handed out.

    The network predicts ``horizon`` actions. The first ``past`` of them belong to times before the newest
    observation's and are never handed out, so a chunk has ``chunk`` actions, the first one at the newest
    observation's time. real-stanford and LeRobot checkpoints have ``past`` = To - 1.

    Attributes:
        dim: numbers per action.
        horizon: Tp, actions predicted.
        steps: Ta, actions meant to be executed before the next chunk.
        past: predicted actions that belong to earlier frames.
        prefix: most leading actions that can be given to the network and held, because they will be executed while it
            plans (arXiv 2512.05964); training draws how many from 0 to this. 0: not trained for.
        prefix_noise: spread (normalised units) by which half of the sequences' given actions lie aside in training.
            What a robot executes is never quite what the demonstrations have; without it a network learns to carry
            on an error that the new observation shows.
        join_actions: the difference at the last given action fades over this many actions, to 1 / e.
    """

    dim: int = 10
    horizon: int = 16
    steps: int = 8
    past: int = 0
    prefix: int = 0
    prefix_noise: float = 0.0
    join_actions: float = 8.0

    def __post_init__(self) -> None:
        check_range("dim", self.dim, 1)
        check_range("horizon", self.horizon, 1)
        check_range("past", self.past, 0, self.horizon - 1)
        check_range("steps", self.steps, 1, self.chunk)
        check_range("prefix", self.prefix, 0, self.chunk - 1)
        check_range("prefix_noise", self.prefix_noise, 0.0, 1.0)
        check_range("join_actions", self.join_actions, 0.1, 100.0)
        if self.prefix and self.past:
            raise PolicyConfigError(
                f"prefix = {self.prefix} is not valid with past = {self.past}: given actions must be the first that "
                f"are predicted; valid: past = 0, or prefix = 0"
            )

    @property
    def chunk(self) -> int:
        """Actions of a chunk: those from the newest observation's time on."""
        return self.horizon - self.past


@dataclass(frozen=True)
class PolicyConfig:
    """One policy, whole: what it sees, predicts, is made of and how it was trained."""

    name: str
    method: str = "diffusion"
    observation: ObservationConfig = field(default_factory=ObservationConfig)
    action: ActionConfig = field(default_factory=ActionConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    two_step: TwoStepConfig = field(default_factory=TwoStepConfig)
    lstm_gmm: LstmGmmConfig = field(default_factory=LstmGmmConfig)
    ibc: IbcConfig = field(default_factory=IbcConfig)
    bet: BetConfig = field(default_factory=BetConfig)
    normaliser: NormaliserConfig = field(default_factory=NormaliserConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        if self.action.prefix and self.method not in DENOISER_METHODS:
            raise PolicyConfigError(
                f"action.prefix = {self.action.prefix} is not valid for method = {self.method}, which cannot be told "
                f"given actions; valid: 0, or method {', '.join(DENOISER_METHODS)}"
            )
        multiple = self.denoiser.horizon_multiple
        if self.method in DENOISER_METHODS and self.action.horizon % multiple:
            raise PolicyConfigError(
                f"action.horizon = {self.action.horizon} is not valid; with {len(self.denoiser.sizes)} "
                f"denoiser.sizes it must be a multiple of {multiple}"
            )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> PolicyConfig:
        """Parse a mapping; raises PolicyConfigError naming key, value and what is valid."""
        try:
            return build_dataclass(cls, mapping)
        except ConfigurationError as error:
            raise PolicyConfigError(str(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Plain mappings and lists, for YAML and JSON; the sections of other methods are left out."""
        mapping = _plain(dataclasses.asdict(self))
        for section in set(METHODS) - {self.method}:
            mapping.pop(section, None)
        if self.method not in DENOISER_METHODS:
            mapping.pop("denoiser")
        return mapping

    def with_training(self, **changes: Any) -> PolicyConfig:
        """A copy with changed training values (``with_training(steps=100)``)."""
        return self._with_section("training", changes, {item.name for item in dataclasses.fields(TrainingConfig)})

    def with_sampling(self, **changes: Any) -> PolicyConfig:
        """A copy that draws chunks otherwise, for the same weights (``with_sampling(inference_steps=4)``).

        Raises:
            PolicyConfigError: the method has no such key in ``SAMPLING_KEYS``, or the value is not valid.
        """
        return self._with_section(self.method, changes, set(SAMPLING_KEYS[self.method])) if changes else self

    def _with_section(self, section: str, changes: Mapping[str, Any], known: set[str]) -> PolicyConfig:
        for key, value in changes.items():
            if key not in known:
                valid = ", ".join(sorted(known)) or "none"
                raise PolicyConfigError(f"unknown key {section}.{key} = {value!r}; valid keys here: {valid}")
        try:
            changed: Any = {section: dataclasses.replace(getattr(self, section), **changes)}
            return dataclasses.replace(self, **changed)
        except ConfigurationError as error:
            raise PolicyConfigError(f"{section}.{error}") from None

    def with_observation(self, cameras: tuple[str, ...], image_height: int, image_width: int) -> PolicyConfig:
        """A copy with cameras and image size fixed (the trainer fills in what the file left open)."""
        observation = dataclasses.replace(
            self.observation, cameras=cameras, image_height=image_height, image_width=image_width
        )
        return dataclasses.replace(self, observation=observation)


def load_policy_config(path: str | Path) -> PolicyConfig:
    """Read one policy file.

    Raises:
        PolicyConfigError: the file is missing, is not a mapping, or a key or value is not valid.
    """
    path = Path(path)
    if not path.is_file():
        others = sorted(item.stem for item in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise PolicyConfigError(f"no policy file {path}; files there: {', '.join(others) or 'none'}")
    try:
        return PolicyConfig.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ConfigurationError as error:
        raise PolicyConfigError(f"{path.name}: {error}") from None


__all__ = [
    "DENOISER_METHODS",
    "METHODS",
    "SAMPLING_KEYS",
    "ActionConfig",
    "BetConfig",
    "DenoiserConfig",
    "DiffusionConfig",
    "EmaConfig",
    "EncoderConfig",
    "FlowConfig",
    "IbcConfig",
    "LstmGmmConfig",
    "NormaliserConfig",
    "ObservationConfig",
    "PolicyConfig",
    "PolicyConfigError",
    "TrainingConfig",
    "TwoStepConfig",
    "load_policy_config",
]
