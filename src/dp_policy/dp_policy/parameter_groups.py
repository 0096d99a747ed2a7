"""Which parameters share a weight decay and a share of the learning rate (groups of AdamW).

A module may carry two attributes, which hold for everything in it unless a module further in says otherwise:

* ``learning_rate_scale: float``, share of the learning rate (0.1 for pretrained trunks);
* ``decay_matrices_only: bool``, only the weight matrices of linear and attention layers decay, by
  ``training.transformer_weight_decay``; biases, norms, embeddings and positions do not (the optimiser groups of the
  diffusion transformer, arXiv 2303.04137).

What lies in the observation encoder decays by ``training.encoder_weight_decay``, the rest by
``training.weight_decay``, biases and norms included, as the paper's U-Net was trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from dp_policy.training_config import TrainingConfig

#: Name of the child that is the observation encoder of a policy.
ENCODER = "encoder"


@dataclass(frozen=True)
class ParameterGroup:
    """Trainable parameters of one module that are stepped alike.

    Attributes:
        weight_decay: of AdamW, per unit of learning rate.
        learning_rate_scale: share of the learning rate.
        names: as ``named_parameters`` of the module gives them, in its order.
    """

    weight_decay: float
    learning_rate_scale: float
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    """What holds at one place of the module tree."""

    decay: float
    scale: float = 1.0
    matrices_only: bool = False


def parameter_groups(module: nn.Module, training: TrainingConfig) -> list[ParameterGroup]:
    """Sort the trainable parameters of a policy into groups.

    Args:
        module: the policy; a child called ``encoder`` is its observation encoder.
        training: the three weight decays.

    Returns:
        groups without duplicates or omissions; shared parameters are counted once, where they come first.

    Raises:
        ValueError: a ``learning_rate_scale`` is negative.
    """
    groups: dict[tuple[float, float], ParameterGroup] = {}
    seen: set[int] = set()

    def visit(part: nn.Module, prefix: str, place: _Place) -> None:
        scale = float(getattr(part, "learning_rate_scale", place.scale))
        if scale < 0:
            raise ValueError(f"learning_rate_scale of {prefix or type(part).__name__} is {scale}; must be 0 or more")
        place = _Place(place.decay, scale, bool(getattr(part, "decay_matrices_only", place.matrices_only)))
        for name, parameter in part.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            key = (_decay(part, name, place, training), place.scale)
            groups.setdefault(key, ParameterGroup(*key)).names.append(prefix + name)
        for name, child in part.named_children():
            decay = training.encoder_weight_decay if part is module and name == ENCODER else place.decay
            visit(child, f"{prefix}{name}.", _Place(decay, place.scale, place.matrices_only))

    visit(module, "", _Place(training.weight_decay))
    return list(groups.values())


def _decay(owner: nn.Module, name: str, place: _Place, training: TrainingConfig) -> float:
    if not place.matrices_only:
        return place.decay
    is_matrix = isinstance(owner, nn.Linear | nn.MultiheadAttention) and name.endswith("weight")
    return training.transformer_weight_decay if is_matrix else 0.0
