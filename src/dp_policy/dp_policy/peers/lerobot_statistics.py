"""Normalisation of LeRobot policies: buffers beside the weights (before 0.4), or processor files (since)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dp_policy.peers.affine import Affine
from dp_policy.peers.errors import PeerCheckpointError
from dp_policy.peers.fields import Fields
from dp_policy.peers.weights import PeerWeights

#: Added to spreads and ranges where numbers are normalised, so that nothing is divided by zero.
EPSILON = 1e-8
#: The statistics that each mode reads: those that become -1 and 1, or mean and spread.
MODES = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
#: Steps that change neither numbers nor their order.
NEUTRAL_STEPS = ("rename_observations_processor", "to_batch_processor", "device_processor")


@dataclass(frozen=True)
class FeatureStatistics:
    """Statistics of one side of the policy, inputs or outputs.

    Attributes:
        figures: by ``<feature>.<statistic>``.
        modes: of :data:`MODES` or ``IDENTITY``, by feature.
        epsilon: added where numbers are normalised.
        always_added: also to ranges that are not zero (before 0.4).
    """

    figures: Mapping[str, Tensor]
    modes: Mapping[str, str]
    epsilon: float = EPSILON
    always_added: bool = False

    def normaliser(self, feature: str, dim: int) -> tuple[Affine, list[int]]:
        """The map of an input to the network's numbers, and the columns that never changed in the data."""
        pair = self._pair(feature)
        if pair is None:
            return Affine.identity(dim), []
        low, high = pair
        if self.modes[feature] == "MEAN_STD":
            return Affine.from_mean(low, high + self.epsilon, feature, dim), []
        width = high - low
        constant = width == 0
        spread = width + self.epsilon if self.always_added else width
        # a constant column becomes -1; the peer would blow up any other value by 1e8
        spread = torch.where(constant, 2.0, spread)
        return Affine.from_range(low, low + spread, feature, dim), torch.nonzero(constant.flatten()).flatten().tolist()

    def restorer(self, feature: str, dim: int) -> Affine:
        """The map whose inverse gives physical units."""
        pair = self._pair(feature)
        if pair is None:
            return Affine.identity(dim)
        low, high = pair
        if self.modes[feature] == "MEAN_STD":
            return Affine.from_mean(low, torch.where(high == 0, self.epsilon, high), feature, dim)
        high = torch.where(high == low, low + self.epsilon, high)
        return Affine.from_range(low, high, feature, dim)

    def _pair(self, feature: str) -> tuple[Tensor, Tensor] | None:
        mode = self.modes.get(feature, "IDENTITY")
        if mode == "IDENTITY":
            return None
        if mode not in MODES:
            raise PeerCheckpointError(
                f"normalization mode {mode} of {feature} cannot be imported; supported: IDENTITY, {', '.join(MODES)}"
            )
        names = [f"{feature}.{statistic}" for statistic in MODES[mode]]
        if self.always_added or any(name in self.figures for name in names):
            missing = [name for name in names if name not in self.figures]
            if missing:
                raise PeerCheckpointError(f"the normaliser's figure {missing[0]} is missing")
            return self.figures[names[0]].double(), self.figures[names[1]].double()
        if any(name.startswith(f"{feature}.") for name in self.figures):
            raise PeerCheckpointError(f"the normaliser's figure {names[0]} is missing")
        return None  # the peer leaves a feature without figures as it is


def read_buffers(weights: PeerWeights, modes: Mapping[str, str]) -> tuple[FeatureStatistics, FeatureStatistics]:
    """Statistics of inputs and outputs that are buffers of the model."""
    sides = []
    for module in ("normalize_inputs", "unnormalize_outputs"):
        figures: dict[str, Tensor] = {}
        for feature in modes:
            prefix = f"{module}.buffer_{feature.replace('.', '_')}."
            figures |= {f"{feature}.{name}": value for name, value in weights.under(prefix).items()}
        sides.append(FeatureStatistics(figures, modes, always_added=True))
    weights.pass_over(r"normalize_targets\..*")  # of training
    return sides[0], sides[1]


def read_processors(folder: Path) -> tuple[FeatureStatistics, FeatureStatistics]:
    """Statistics of inputs and outputs from the files of the processors.

    Raises:
        PeerCheckpointError: a file is missing or damaged, or a step changes numbers in another way.
    """
    return (
        _read_processor(folder, PREPROCESSOR, "normalizer_processor"),
        _read_processor(folder, POSTPROCESSOR, "unnormalizer_processor"),
    )


def _read_processor(folder: Path, name: str, wanted: str) -> FeatureStatistics:
    found = None
    steps = read_json(folder / name).get("steps")
    if not isinstance(steps, list):
        raise PeerCheckpointError(f"{name}.steps = {steps!r} cannot be imported; it must be a list")
    for number, entry in enumerate(steps):
        step = Fields(entry, f"{name}.steps[{number}]")
        kind = step.take("registry_name", step.take("class", None))
        step.section("config", {}).require("float_dtype", (None, "float32"), None)
        if kind == wanted:
            found = step
        elif kind not in NEUTRAL_STEPS:
            raise step.refusal("registry_name", kind, f"{wanted}, {', '.join(NEUTRAL_STEPS)}")
    if found is None:
        raise PeerCheckpointError(f"{name} has no step {wanted}")
    config = found.section("config", {})
    only = config.take("normalize_observation_keys", None)
    if not (only is None or isinstance(only, list)):
        raise config.refusal("normalize_observation_keys", only, "a list of features")
    by_type, features = config.section("norm_map", {}), config.section("features", {})
    kinds = {key: str(features.section(key).take("type")) for key in features.names()}
    modes = {
        key: str(by_type.take(kind, "IDENTITY"))
        for key, kind in kinds.items()
        if only is None or kind == "ACTION" or key in only
    }
    state = found.take("state_file", None)
    figures = read_safetensors(folder / Path(str(state)).name) if state else {}
    epsilon = config.take("eps", EPSILON)
    if not isinstance(epsilon, float) or not 0.0 < epsilon < 1.0:
        raise config.refusal("eps", epsilon, "a number between 0 and 1")
    return FeatureStatistics(figures, modes, epsilon)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file with a mapping.

    Raises:
        PeerCheckpointError: it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PeerCheckpointError(f"{path.parent} has no {path.name}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise PeerCheckpointError(f"{path.name} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise PeerCheckpointError(f"{path.name} is damaged: it is no mapping")
    return content


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file on the processor.

    Raises:
        PeerCheckpointError: it is missing or damaged.
    """
    if not path.is_file():
        raise PeerCheckpointError(f"{path.parent} has no {path.name}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise PeerCheckpointError(f"{path.name} is damaged: {error}") from None
