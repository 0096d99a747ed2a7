"""The description of a policy and of its training: YAML once into frozen dataclasses, strict about keys.

A policy file has the sections ``observation``, ``action``, ``encoder``, ``denoiser``, ``diffusion``,
``normaliser`` and ``training``; every key has a default except where a size must be chosen.
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

from dp_policy.config_error import PolicyConfigError, check_range
from dp_policy.training_config import EmaConfig, TrainingConfig

__all__ = ["EmaConfig", "PolicyConfig", "PolicyConfigError", "TrainingConfig", "load_policy_config"]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


@dataclass(frozen=True)
class ObservationConfig:
    """What the policy sees at one inference.

    Attributes:
        cameras: camera names in network order; empty: every camera of the training store.
        image_height: pixels; 0: as the training store has it.
        image_width: pixels; 0: as the training store has it.
        history: number of frames To, newest last.
        proprioception_dim: numbers per frame (position, rot6d, gripper width: 10).
    """

    cameras: tuple[str, ...] = ()
    image_height: int = 0
    image_width: int = 0
    history: int = 1
    proprioception_dim: int = 10

    def __post_init__(self) -> None:
        check_range("history", self.history, 1, 16)
        check_range("image_height", self.image_height, 0)
        check_range("image_width", self.image_width, 0)
        check_range("proprioception_dim", self.proprioception_dim, 0)


@dataclass(frozen=True)
class ActionConfig:
    """The chunk: ``horizon`` actions at the policy rate, the first one at the newest observation's time.

    Attributes:
        dim: numbers per action.
        horizon: Tp, actions predicted.
        steps: Ta, actions meant to be executed before the next chunk.
    """

    dim: int = 10
    horizon: int = 16
    steps: int = 8

    def __post_init__(self) -> None:
        check_range("dim", self.dim, 1)
        check_range("horizon", self.horizon, 1)
        check_range("steps", self.steps, 1, self.horizon)


@dataclass(frozen=True)
class EncoderConfig:
    """The image encoder, one per camera or one shared.

    Attributes:
        kind: ``compact`` (space-to-depth, few residual blocks, no norm) or ``resnet18`` (GroupNorm).
        shared: the same weights for every camera.
        crop_ratio: side of the crop over the side of the image; random in training, centred in deployment.
        random_shift: training shifts every image by up to this many pixels (edges repeated).
        keypoints: spatial-softmax maps.
        features: numbers per camera and frame.
        width: channels of the compact encoder.
        blocks: residual blocks of the compact encoder.
        space_to_depth: block side in pixels of the compact encoder's first layer.
    """

    kind: str = "resnet18"
    shared: bool = False
    crop_ratio: float = 1.0
    random_shift: int = 0
    keypoints: int = 32
    features: int = 64
    width: int = 48
    blocks: int = 2
    space_to_depth: int = 4

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("compact", "resnet18"))
        check_range("crop_ratio", self.crop_ratio, 0.1, 1.0)
        check_range("random_shift", self.random_shift, 0)
        for key in ("keypoints", "features", "width", "space_to_depth"):
            check_range(key, getattr(self, key), 1)


@dataclass(frozen=True)
class DenoiserConfig:
    """The conditional 1-D U-Net.

    Attributes:
        sizes: channels per level.
        kernel: taps of the main convolutions.
        groups: GroupNorm groups.
        step_features: width of the diffusion-step embedding.
        activation: ``mish`` (the paper) or ``silu`` (six times cheaper on a processor).
        conv_backend: ``auto``, ``native`` (torch) or ``gemm`` (unfold and matrix product); same weights.
    """

    kind: str = "unet1d"
    sizes: tuple[int, ...] = (256, 512, 1024)
    kernel: int = 5
    groups: int = 8
    step_features: int = 256
    activation: str = "mish"
    conv_backend: str = "auto"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("unet1d",))
        check_choice("activation", self.activation, ("mish", "silu"))
        check_choice("conv_backend", self.conv_backend, ("auto", "native", "gemm"))
        if not self.sizes or any(size % self.groups for size in self.sizes):
            raise PolicyConfigError(
                f"sizes = {list(self.sizes)} is not valid; each must be a multiple of {self.groups}"
            )
        if self.kernel % 2 == 0:
            raise PolicyConfigError(f"kernel = {self.kernel} is not valid; it must be odd")


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule of the training and sampler of the deployment.

    Attributes:
        train_steps: noise levels.
        schedule: diffusers beta schedule.
        prediction: ``epsilon`` (noise) or ``sample`` (the clean chunk).
        sampler: ``ddim`` or ``ddpm``.
        inference_steps: denoiser evaluations per chunk (ddpm always runs ``train_steps``).
        spacing: ``trailing`` starts from pure noise at any step count.
        clip_sample: clip the predicted clean chunk to [-1, 1] at every step.
        candidates: chunks drawn per inference; the one nearest to the plan in execution is taken (1: no choice).
    """

    train_steps: int = 100
    schedule: str = "squaredcos_cap_v2"
    prediction: str = "epsilon"
    sampler: str = "ddim"
    inference_steps: int = 16
    spacing: str = "trailing"
    clip_sample: bool = True
    candidates: int = 1

    def __post_init__(self) -> None:
        check_choice("schedule", self.schedule, ("squaredcos_cap_v2", "linear", "scaled_linear"))
        check_choice("prediction", self.prediction, ("epsilon", "sample"))
        check_choice("sampler", self.sampler, ("ddim", "ddpm"))
        check_choice("spacing", self.spacing, ("trailing", "linspace", "leading"))
        check_range("train_steps", self.train_steps, 1)
        check_range("candidates", self.candidates, 1, 64)
        check_range("inference_steps", self.inference_steps, 1, self.train_steps)


@dataclass(frozen=True)
class NormaliserConfig:
    """How numbers reach the network.

    Attributes:
        proprioception: ``limits`` (min..max to [-1, 1]), ``gaussian`` (zero mean, unit spread), ``identity``.
        action: as above.
        unscaled_columns: columns left alone in both (rot6d is already in [-1, 1]).
        images: ``signed`` ([-1, 1]) or ``unit`` ([0, 1]).
    """

    proprioception: str = "limits"
    action: str = "limits"
    unscaled_columns: tuple[int, ...] = (3, 4, 5, 6, 7, 8)
    images: str = "signed"

    def __post_init__(self) -> None:
        check_choice("proprioception", self.proprioception, ("limits", "gaussian", "identity"))
        check_choice("action", self.action, ("limits", "gaussian", "identity"))
        check_choice("images", self.images, ("signed", "unit"))


@dataclass(frozen=True)
class PolicyConfig:
    """One policy, whole: what it sees, predicts, is made of and how it was trained."""

    name: str
    observation: ObservationConfig = field(default_factory=ObservationConfig)
    action: ActionConfig = field(default_factory=ActionConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    normaliser: NormaliserConfig = field(default_factory=NormaliserConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        levels = 2 ** (len(self.denoiser.sizes) - 1)
        if self.action.horizon % levels:
            raise PolicyConfigError(
                f"action.horizon = {self.action.horizon} is not valid; with {len(self.denoiser.sizes)} "
                f"denoiser.sizes it must be a multiple of {levels}"
            )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> PolicyConfig:
        """Parse a mapping; raises PolicyConfigError naming key, value and what is valid."""
        try:
            return build_dataclass(cls, mapping)
        except ConfigurationError as error:
            raise PolicyConfigError(str(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Plain mappings and lists, for YAML and JSON."""
        return _plain(dataclasses.asdict(self))

    def with_training(self, **changes: Any) -> PolicyConfig:
        """A copy with changed training values (``with_training(steps=100)``)."""
        known = {item.name for item in dataclasses.fields(TrainingConfig)}
        for key, value in changes.items():
            if key not in known:
                raise PolicyConfigError(
                    f"unknown key training.{key} = {value!r}; valid keys here: {', '.join(sorted(known))}"
                )
        return dataclasses.replace(self, training=dataclasses.replace(self.training, **changes))

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
