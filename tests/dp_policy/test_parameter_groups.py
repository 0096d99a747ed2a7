from __future__ import annotations

import pytest
from dp_policy.config import PolicyConfig, TrainingConfig
from dp_policy.parameter_groups import parameter_groups
from dp_policy.policy import build_policy
from torch import nn

TRAINING = TrainingConfig(weight_decay=0.1, transformer_weight_decay=0.2, encoder_weight_decay=0.3)


class Block(nn.Module):
    """What a transformer is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.decay_matrices_only = True
        self.attention = nn.MultiheadAttention(4, 1)
        self.norm = nn.LayerNorm(4)
        self.tokens = nn.Embedding(3, 4)
        self.layer = nn.Linear(4, 4)
        self.position = nn.Parameter(nn.init.zeros_(nn.Linear(4, 1).weight))


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.encoder[0].learning_rate_scale = 0.1
        self.head = nn.ModuleDict({"block": Block(), "out": nn.Linear(4, 2), "frozen": nn.Linear(2, 2)})
        self.head["frozen"].requires_grad_(False)


def table(module: nn.Module) -> dict[str, tuple[float, float]]:
    return {n: (g.weight_decay, g.learning_rate_scale) for g in parameter_groups(module, TRAINING) for n in g.names}


def test_every_kind_of_parameter_by_hand() -> None:
    assert table(Whole()) == {
        "encoder.0.weight": (0.3, 0.1),
        "encoder.0.bias": (0.3, 0.1),
        "encoder.1.weight": (0.3, 1.0),
        "encoder.1.bias": (0.3, 1.0),
        "head.block.attention.in_proj_weight": (0.2, 1.0),
        "head.block.attention.out_proj.weight": (0.2, 1.0),
        "head.block.attention.in_proj_bias": (0.0, 1.0),
        "head.block.attention.out_proj.bias": (0.0, 1.0),
        "head.block.norm.weight": (0.0, 1.0),
        "head.block.norm.bias": (0.0, 1.0),
        "head.block.tokens.weight": (0.0, 1.0),
        "head.block.layer.weight": (0.2, 1.0),
        "head.block.layer.bias": (0.0, 1.0),
        "head.block.position": (0.0, 1.0),
        "head.out.weight": (0.1, 1.0),
        "head.out.bias": (0.1, 1.0),
    }


def test_shared_parameters_are_counted_once() -> None:
    module = Whole()
    module.head["out"].weight = module.head["block"].layer.weight
    assert sum(name.endswith(("out.weight", "layer.weight")) for name in table(module)) == 1


def test_a_pretrained_trunk_inside_a_transformer_rule() -> None:
    module = Whole()
    module.head["block"].layer.learning_rate_scale = 0.5
    assert table(module)["head.block.layer.weight"] == (0.2, 0.5)


def test_a_negative_share_of_the_learning_rate_is_refused() -> None:
    module = Whole()
    module.encoder[0].learning_rate_scale = -1.0
    with pytest.raises(ValueError, match=r"learning_rate_scale of encoder\.0\. is -1"):
        parameter_groups(module, TRAINING)


@pytest.mark.parametrize("kind", ["unet1d", "transformer"])
def test_a_policy_is_covered_whole(kind: str) -> None:
    config = PolicyConfig.from_dict(
        {
            "name": "test",
            "observation": {"cameras": ["front"], "image_height": 32, "image_width": 32},
            "encoder": {"kind": "compact", "width": 8},
            "denoiser": {"kind": kind, "sizes": [8, 16], "transformer": {"layers": 1, "width": 16, "heads": 2}},
        }
    )
    policy = build_policy(config)
    groups = parameter_groups(policy, TRAINING)
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(name for name, _ in policy.named_parameters())
    decays = {group.weight_decay for group in groups}
    assert decays == ({0.1, 0.3} if kind == "unet1d" else {0.0, 0.2, 0.3})
