"""Settings of the baselines: their networks, losses and inference. Defaults are those of the papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dp_core.configuration import require_choice as check_choice

from dp_policy.config_error import PolicyConfigError, check_range


def _check(section: Any, low: float, high: float, *keys: str) -> None:
    for key in keys:
        check_range(key, getattr(section, key), low, high)


@dataclass(frozen=True)
class LstmGmmConfig:
    """LSTM with a mixture of Gaussians (robomimic BC-RNN-GMM, arXiv 2108.03298).

    Needs an action for each frame: ``action.horizon = observation.history``, ``action.past = history - 1``.

    Attributes:
        layers: LSTM layers.
        hidden: numbers per layer (robomimic: 400 for numbers, 1000 for images and long tasks).
        modes: Gaussians of the mixture.
        min_std: least standard deviation in training, normalised units.
        low_noise: chunks are drawn with standard deviation 1e-4 around a drawn mode instead of the trained one.
    """

    layers: int = 2
    hidden: int = 1000
    modes: int = 5
    min_std: float = 1e-4
    low_noise: bool = True

    def __post_init__(self) -> None:
        _check(self, 1, 16, "layers")
        _check(self, 1, 8192, "hidden")
        _check(self, 1, 256, "modes")
        _check(self, 1e-8, 1.0, "min_std")


@dataclass(frozen=True)
class IbcConfig:
    """Implicit behavioural cloning (arXiv 2109.00137): an energy of observation and action sequence.

    The two recipes of the paper: ``negatives: uniform`` (256 of them) with ``inference: derivative_free``, and
    ``negatives: langevin`` (8 of them) with ``inference: langevin`` (512 samples). Action sequences are flattened:
    beyond some ten numbers (horizon times dim) uniform samples no longer reach the data.

    Attributes:
        network: ``residual`` (pre-activation blocks of two layers, the paper) or ``mlp`` (real-stanford: width 1024,
            depth 4, dropout 0.1).
        width: numbers per layer.
        depth: hidden layers; even for ``residual``.
        dropout: after each hidden activation.
        boundary_buffer: samples reach beyond the least and largest action by this share of the range.
        negatives: counter-examples of the training, ``uniform`` or ``langevin`` (uniform ones moved downhill, with a
            penalty on steep energies).
        negative_count: counter-examples per observation.
        gradient_margin: slope of the energy from which on ``langevin`` training penalises.
        gradient_weight: weight of that penalty.
        inference: ``derivative_free`` (resample and perturb) or ``langevin``.
        samples: action sequences per draw at inference.
        select: ``best`` hands out the sequence of least energy, ``sample`` draws one by its probability.
        iterations: rounds of the derivative-free search.
        noise: standard deviation of its first perturbation, normalised units.
        shrink: factor on the standard deviation after each round.
        langevin_iterations: Langevin steps, in training and at inference.
        langevin_step: first step size.
        langevin_final_step: last step size.
        langevin_power: of the polynomial between them.
        langevin_noise: scale of the noise.
        langevin_clip: largest change of a number per step, as a share of half its range.
        langevin_refine_step: first step size of a second run at inference; 0: no second run.
    """

    network: str = "residual"
    width: int = 128
    depth: int = 8
    dropout: float = 0.0
    boundary_buffer: float = 0.05
    negatives: str = "uniform"
    negative_count: int = 256
    gradient_margin: float = 1.0
    gradient_weight: float = 1.0
    inference: str = "derivative_free"
    samples: int = 16384
    select: str = "best"
    iterations: int = 3
    noise: float = 0.33
    shrink: float = 0.5
    langevin_iterations: int = 100
    langevin_step: float = 0.1
    langevin_final_step: float = 1e-5
    langevin_power: float = 2.0
    langevin_noise: float = 1.0
    langevin_clip: float = 0.1
    langevin_refine_step: float = 0.1

    def __post_init__(self) -> None:
        check_choice("network", self.network, ("residual", "mlp"))
        check_choice("negatives", self.negatives, ("uniform", "langevin"))
        check_choice("inference", self.inference, ("derivative_free", "langevin"))
        check_choice("select", self.select, ("best", "sample"))
        _check(self, 1, 8192, "width")
        _check(self, 1, 64, "depth")
        _check(self, 0.0, 0.9, "dropout")
        _check(self, 1, 1_000_000, "negative_count", "samples")
        _check(self, 1, 1000, "iterations", "langevin_iterations")
        _check(self, 0.0, 1.0, "boundary_buffer", "shrink")
        _check(self, 0.0, 10.0, "noise", "langevin_noise", "langevin_refine_step", "langevin_power")
        _check(self, 0.0, 1000.0, "gradient_margin", "gradient_weight")
        _check(self, 1e-8, 10.0, "langevin_step", "langevin_final_step", "langevin_clip")
        if self.network == "residual" and self.depth % 2:
            raise PolicyConfigError(f"depth = {self.depth} is not valid; network residual has blocks of two layers")

    @property
    def evaluations(self) -> int:
        """Passes of the energy network per chunk, each over all samples (Langevin: with their gradients)."""
        if self.inference == "derivative_free":
            return self.iterations
        return self.langevin_iterations * (2 if self.langevin_refine_step else 1) + 1


@dataclass(frozen=True)
class BetConfig:
    """Behaviour transformer (arXiv 2206.11251): the bin of an action, and its offset from the bin's centre.

    Needs an action for each frame: ``action.horizon = observation.history``, ``action.past = history - 1``.

    Attributes:
        bins: k-means clusters of single actions.
        kmeans_iterations: rounds of the clustering.
        layers: transformer blocks.
        heads: attention heads.
        width: channels.
        embedding_dropout: after the input embedding.
        residual_dropout: at the end of attention and perceptron.
        attention_dropout: of the attention weights.
        focal_gamma: of the focal loss of the bins; 0: cross entropy.
        offset_scale: weight of the squared error of the offsets (1000 where a bin is wide, 100000 where actions are
            tiny).
    """

    bins: int = 24
    kmeans_iterations: int = 50
    layers: int = 4
    heads: int = 4
    width: int = 72
    embedding_dropout: float = 0.1
    residual_dropout: float = 0.1
    attention_dropout: float = 0.1
    focal_gamma: float = 2.0
    offset_scale: float = 1000.0

    def __post_init__(self) -> None:
        _check(self, 1, 4096, "bins")
        _check(self, 1, 10_000, "kmeans_iterations")
        _check(self, 1, 64, "layers", "heads")
        _check(self, 1, 8192, "width")
        _check(self, 0.0, 0.9, "embedding_dropout", "residual_dropout", "attention_dropout")
        _check(self, 0.0, 10.0, "focal_gamma")
        _check(self, 0.0, 1e7, "offset_scale")
        if self.width % self.heads:
            raise PolicyConfigError(f"width = {self.width} is not valid; it must be a multiple of heads = {self.heads}")
