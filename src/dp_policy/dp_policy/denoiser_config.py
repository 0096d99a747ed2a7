"""The network that predicts chunks from noise, condition and step."""

from __future__ import annotations

from dataclasses import dataclass, field

from dp_core.configuration import require_choice as check_choice

from dp_policy.config_error import PolicyConfigError, check_range


@dataclass(frozen=True)
class TransformerConfig:
    """The time-series diffusion transformer (arXiv 2303.04137).

    Attributes:
        layers: decoder layers.
        heads: attention heads.
        width: channels.
        embedding_dropout: dropout of the input embedding.
        attention_dropout: dropout inside the layers.
        causal: an action attends to itself and earlier ones only.
        condition_layers: encoder layers over the condition tokens; 0: a two-layer perceptron instead.
    """

    layers: int = 8
    heads: int = 4
    width: int = 256
    embedding_dropout: float = 0.0
    attention_dropout: float = 0.3
    causal: bool = True
    condition_layers: int = 0

    def __post_init__(self) -> None:
        for key, most in (("layers", 256), ("heads", 256), ("width", 65_536)):
            check_range(key, getattr(self, key), 1, most)
        check_range("condition_layers", self.condition_layers, 0, 256)
        for key in ("embedding_dropout", "attention_dropout"):
            check_range(key, getattr(self, key), 0.0, 0.9)
        if self.width % self.heads:
            raise PolicyConfigError(f"width = {self.width} is not valid; it must be a multiple of heads = {self.heads}")


@dataclass(frozen=True)
class DenoiserConfig:
    """The network over the chunk: a conditional 1-D U-Net (the keys below) or a transformer (its own section).

    Attributes:
        kind: ``unet1d`` or ``transformer``.
        sizes: channels per level.
        kernel: taps of the main convolutions.
        groups: GroupNorm groups.
        step_features: width of the diffusion-step embedding.
        activation: ``mish`` (the paper) or ``silu`` (six times cheaper on a processor).
        conv_backend: ``auto``, ``native`` (torch), ``gemm`` (unfold and matrix product) or ``winograd`` (fewest
            products); same weights.
    """

    kind: str = "unet1d"
    sizes: tuple[int, ...] = (256, 512, 1024)
    kernel: int = 5
    groups: int = 8
    step_features: int = 256
    activation: str = "mish"
    conv_backend: str = "auto"
    transformer: TransformerConfig = field(default_factory=TransformerConfig)

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("unet1d", "transformer"))
        check_choice("activation", self.activation, ("mish", "silu"))
        check_choice("conv_backend", self.conv_backend, ("auto", "native", "gemm", "winograd"))
        if not self.sizes or any(size % self.groups for size in self.sizes):
            raise PolicyConfigError(
                f"sizes = {list(self.sizes)} is not valid; each must be a multiple of {self.groups}"
            )
        if self.kernel % 2 == 0:
            raise PolicyConfigError(f"kernel = {self.kernel} is not valid; it must be odd")

    @property
    def horizon_multiple(self) -> int:
        """The number of predicted actions must be a multiple of this."""
        return 2 ** (len(self.sizes) - 1) if self.kind == "unet1d" else 1
