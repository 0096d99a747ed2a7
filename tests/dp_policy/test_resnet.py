"""The trunk against a plain reference written from the paper's table: no module of ours, functions of torch only."""

from __future__ import annotations

import pytest
import torch
from dp_policy.resnet import ResNet
from torch import Tensor
from torch.nn import functional

Weights = dict[str, Tensor]
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def reference_norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    """Groups of 16 channels by hand, or the stored statistics of BatchNorm if there are any."""
    scale, bias = (weights[f"{name}.{key}"][:, None, None] for key in ("weight", "bias"))
    if f"{name}.running_mean" in weights:
        mean, var = (weights[f"{name}.running_{key}"][:, None, None] for key in ("mean", "var"))
        return (x - mean) / (var + 1e-5).sqrt() * scale + bias
    groups = x.reshape(x.shape[0], x.shape[1] // 16, -1)
    centred = groups - groups.mean(-1, keepdim=True)
    unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return unit.reshape(x.shape) * scale + bias


def reference_block(x: Tensor, weights: Weights, name: str, stride: int) -> Tensor:
    y = functional.conv2d(x, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
    y = reference_norm(y, weights, f"{name}.bn1").relu()
    y = reference_norm(functional.conv2d(y, weights[f"{name}.conv2.weight"], padding=1), weights, f"{name}.bn2")
    if f"{name}.downsample.0.weight" in weights:
        x = functional.conv2d(x, weights[f"{name}.downsample.0.weight"], stride=stride)
        x = reference_norm(x, weights, f"{name}.downsample.1")
    return (x + y).relu()


def reference_resnet(x: Tensor, weights: Weights, depth: int) -> Tensor:
    x = reference_norm(functional.conv2d(x, weights["conv1.weight"], stride=2, padding=3), weights, "bn1").relu()
    x = functional.max_pool2d(x, 3, 2, 1)
    for stage, blocks in enumerate(BLOCKS[depth], 1):
        for block in range(blocks):
            x = reference_block(x, weights, f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1)
    return x


def randomised(trunk: ResNet) -> ResNet:
    """Scales, biases and statistics away from the ones and zeros they start with."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in trunk.state_dict().items():
            if value.ndim == 1:
                low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
                value.copy_(low + torch.rand(value.shape, generator=generator))
    return trunk


@pytest.mark.parametrize(("depth", "norm"), [(18, "group"), (34, "group"), (18, "frozen_batch")])
def test_trunk_equals_the_reference(depth: int, norm: str) -> None:
    trunk = randomised(ResNet(depth, norm)).train()  # frozen statistics stay frozen while training
    images = torch.randn(2, 3, 40, 64, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    with torch.no_grad():
        expected = reference_resnet(images, before, depth)
        torch.testing.assert_close(trunk(images), expected, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in trunk.state_dict().items())


@pytest.mark.parametrize(
    ("depth", "norm", "count"),
    # torchvision's 11,689,512 and 21,797,672 without the classifier's 513,000
    [(18, "group", 11_176_512), (18, "frozen_batch", 11_176_512), (34, "group", 21_284_672)],
)
def test_parameters_are_those_of_the_published_resnets(depth: int, norm: str, count: int) -> None:
    assert sum(parameter.numel() for parameter in ResNet(depth, norm).parameters()) == count


def test_map_sizes() -> None:
    assert ResNet()(torch.zeros(1, 3, 96, 65)).shape == (1, 512, 3, 3)


def test_sixteen_channels_per_group() -> None:
    groups = {module.num_channels: module.num_groups for module in ResNet().modules() if hasattr(module, "num_groups")}
    assert groups == {64: 4, 128: 8, 256: 16, 512: 32}
