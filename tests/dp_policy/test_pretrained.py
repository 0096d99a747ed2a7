"""Pretrained encoders: tiny random models saved as their makers save them, against the makers' own forward pass."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dp_policy.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.encoders import ObservationEncoder
from dp_policy.parameter_groups import parameter_groups
from dp_policy.policy import Policy, build_policy
from dp_policy.pretrained_trunk import PretrainedWeightsError
from dp_policy.pretrained_weights import load_pretrained_weights, resolve_pretrained
from dp_policy.resnet import ResNet
from safetensors.torch import load_file, save_file
from torch import Tensor

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def make_model(kind: str) -> Any:
    """A tiny model with random weights; norms and biases are random too, so that none of them can be forgotten."""
    torch.manual_seed(7)
    if kind == "vit":
        model = transformers.ViTModel(transformers.ViTConfig(**SMALL, intermediate_size=64), add_pooling_layer=False)
    elif kind == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL))
    elif kind == "dinov2_with_registers":
        model = transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**SMALL))
    elif kind == "clip":
        vision = {**SMALL, "intermediate_size": 64}
        text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        config = transformers.CLIPConfig(text_config={**text, "vocab_size": 50}, vision_config=vision)
        model = transformers.CLIPModel(config)
    else:
        sizes = {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [1, 1], "layer_type": "basic"}
        model = transformers.ResNetModel(transformers.ResNetConfig(**sizes))
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            value += torch.rand(value.shape, generator=generator) * (0.5 if "var" in name or "weight" in name else 0.1)
    return model.eval()


def save_model(folder: Path, kind: str, **preprocessor: Any) -> Any:
    model = make_model(kind)
    model.save_pretrained(folder)
    figures = {"image_mean": MEAN, "image_std": STD, **preprocessor}
    (folder / "preprocessor_config.json").write_text(json.dumps(figures))
    return model.vision_model if kind == "clip" else model


def trained_on(config: PolicyConfig) -> Policy:
    """A policy as training starts with it."""
    policy = build_policy(resolve_pretrained(config))
    load_pretrained_weights(policy)
    return policy


@pytest.fixture(name="pretrained")
def pretrained_fixture(small_config: Callable[..., PolicyConfig], tmp_path: Path) -> Callable[..., PolicyConfig]:
    def make(pooling: str = "token", features: int = 0, size: int = 32, **encoder: Any) -> PolicyConfig:
        observation = {"image_height": size, "image_width": size, "proprioception_dim": 0}
        encoder = {"weights": str(tmp_path), "pooling": pooling, "features": features, **encoder}
        return small_config(observation=observation, encoder={"kind": "pretrained", **encoder})

    return make


def standardised(frame: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 as the makers' image processors hand it to their models."""
    return ((frame / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("pooling", ["token", "mean"])
@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("kind", ["vit", "dinov2", "dinov2_with_registers", "clip"])
def test_transformers_have_the_features_of_their_makers(
    tmp_path: Path, pretrained: Callable[..., PolicyConfig], kind: str, size: int, pooling: str
) -> None:
    model = save_model(tmp_path, kind)
    policy = trained_on(pretrained(pooling, size=size)).eval()
    frame = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    options = {} if kind.startswith("dinov2") else {"interpolate_pos_encoding": size != 32}
    with torch.no_grad():
        theirs = model(pixel_values=standardised(frame), **options)
        ours = policy.encode_frame({"front": frame}, torch.zeros(2, 0))
    if pooling == "token":
        expected = theirs.last_hidden_state[:, 0] if kind == "vit" else theirs.pooler_output
    else:
        registers = 4 if kind == "dinov2_with_registers" else 0
        expected = theirs.last_hidden_state[:, 1 + registers :].mean(dim=1)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_patches_keep_their_places(tmp_path: Path, pretrained: Callable[..., PolicyConfig]) -> None:
    """Map (row, column) is patch row * columns + column of an image that is wider than high."""
    model = save_model(tmp_path, "vit")
    policy = trained_on(pretrained("keypoints", size=48, crop=(16, 40)))
    pixels = torch.randn(1, 3, 16, 40)
    trunk = policy.encoder.networks["front"].trunk
    with torch.no_grad():
        patches = model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state[0, 1:]
        maps = trunk(pixels)[0][0]
    assert maps.shape == (32, 2, 5)
    torch.testing.assert_close(maps[:, 1, 3], patches[5 + 3], atol=1e-5, rtol=0)


def test_resnet_keeps_its_statistics(tmp_path: Path, pretrained: Callable[..., PolicyConfig]) -> None:
    model = save_model(tmp_path, "resnet")
    policy = trained_on(pretrained("mean", size=48)).train()
    frame = torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = model(pixel_values=standardised(frame)).pooler_output.flatten(1)
        for _ in range(2):
            features = policy.encode_frame({"front": frame}, torch.zeros(2, 0))
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)


def test_gradient_reaches_every_weight_at_a_tenth_of_the_rate(
    tmp_path: Path, pretrained: Callable[..., PolicyConfig]
) -> None:
    save_model(tmp_path, "dinov2")
    policy = trained_on(pretrained("token", features=4))
    frame = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    policy.encode_frame({"front": frame}, torch.zeros(2, 0)).square().sum().backward()
    trunk = {
        f"encoder.networks.front.trunk.{name}" for name, _ in policy.encoder.networks["front"].trunk.named_parameters()
    }
    parameters = dict(policy.named_parameters())
    assert all(parameters[name].grad is not None and parameters[name].grad.abs().sum() > 0 for name in trunk)
    scales = {
        name: group.learning_rate_scale
        for group in parameter_groups(policy, policy.config.training)
        for name in group.names
    }
    assert {name for name, scale in scales.items() if scale == 0.1} == trunk
    assert set(scales.values()) == {0.1, 1.0}


def test_a_rate_of_zero_freezes(tmp_path: Path, pretrained: Callable[..., PolicyConfig]) -> None:
    save_model(tmp_path, "vit")
    policy = trained_on(pretrained("token", features=4, pretrained_learning_rate_scale=0.0))
    trained = {name for name, parameter in policy.encoder.named_parameters() if parameter.requires_grad}
    assert trained == {"networks.front.project.weight", "networks.front.project.bias"}


@pytest.mark.parametrize("kind", ["clip", "dinov2", "resnet"])
def test_checkpoint_needs_no_other_files(tmp_path: Path, pretrained: Callable[..., PolicyConfig], kind: str) -> None:
    weights = tmp_path / "weights"
    save_model(weights, kind)
    policy = trained_on(pretrained("mean", weights=str(weights))).eval()
    frame = {"front": torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)}
    expected = policy.encode_frame(frame, torch.zeros(1, 0))
    save_checkpoint(tmp_path / "checkpoint", policy, {})
    weights.rename(tmp_path / "gone")
    loaded = load_checkpoint(tmp_path / "checkpoint")
    torch.testing.assert_close(loaded.policy.encode_frame(frame, torch.zeros(1, 0)), expected)
    info = json.loads((tmp_path / "checkpoint" / "checkpoint.json").read_text())
    assert str(tmp_path) not in json.dumps(info["config"]["encoder"]["architecture"])


def test_other_version_of_transformers_is_named(tmp_path: Path, pretrained: Callable[..., PolicyConfig]) -> None:
    save_model(tmp_path / "weights", "vit")
    policy = trained_on(pretrained(weights=str(tmp_path / "weights")))
    save_checkpoint(tmp_path / "checkpoint", policy, {})
    path = tmp_path / "checkpoint" / "checkpoint.json"
    info = json.loads(path.read_text())
    info["config"]["encoder"]["architecture"]["transformers_version"] = "3.1.0"
    path.write_text(json.dumps(info))
    with pytest.raises(CheckpointError, match=r"described by transformers 3.1.0, and .* is installed"):
        load_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize("kind", ["vit", "clip", "resnet"])
def test_half_precision(tmp_path: Path, pretrained: Callable[..., PolicyConfig], kind: str) -> None:
    """As bf16 training runs it; images of another size than that of the pretraining."""
    save_model(tmp_path, kind)
    policy = trained_on(pretrained("mean", size=48)).eval()
    frame = {"front": torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8)}
    with torch.no_grad():
        exact = policy.encode_frame(frame, torch.zeros(2, 0))
        rounded = policy.set_precision(torch.bfloat16).encode_frame(frame, torch.zeros(2, 0))
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("shared", [True, False])
def test_every_camera_gets_the_weights(small_config: Callable[..., PolicyConfig], tmp_path: Path, shared: bool) -> None:
    save_model(tmp_path, "vit")
    encoder = {"kind": "pretrained", "weights": str(tmp_path), "pooling": "token", "features": 0, "shared": shared}
    cameras = {"cameras": ["front", "wrist"], "proprioception_dim": 0}
    policy = trained_on(small_config(observation=cameras, encoder=encoder)).eval()
    picture = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    features = policy.encode_frame({"front": picture, "wrist": picture}, torch.zeros(1, 0))
    torch.testing.assert_close(features[:, :32], features[:, 32:])
    assert len(policy.encoder.networks) == (1 if shared else 2)


def torchvision_weights(depth: int = 18) -> dict[str, Tensor]:
    """A state dict as torchvision writes it: with classifier and batch counters."""
    generator = torch.Generator().manual_seed(4)
    weights = {name: value.clone() for name, value in ResNet(depth, "frozen_batch").state_dict().items()}
    for name, value in weights.items():
        if value.ndim == 1:
            value += 0.3 * torch.rand(value.shape, generator=generator)
        if name.endswith("running_var"):
            weights = {**weights, name.replace("running_var", "num_batches_tracked"): torch.tensor(9)}
    return {**weights, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize(("depth", "suffix"), [(18, ".safetensors"), (18, ".pth"), (34, ".safetensors")])
def test_torchvision_resnet(tmp_path: Path, pretrained: Callable[..., PolicyConfig], depth: int, suffix: str) -> None:
    """Equal to the trunk with these weights on images normalised as those of ImageNet; BatchNorm stays."""
    weights, path = torchvision_weights(depth), tmp_path / f"resnet{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    policy = trained_on(pretrained("mean", weights=str(path))).train()
    reference = ResNet(depth, "frozen_batch")
    missing, extra = reference.load_state_dict(weights, strict=False)
    assert not missing
    assert all(name.startswith("fc.") or name.endswith("num_batches_tracked") for name in extra)
    frame = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = reference(((frame / 255 - mean) / std).permute(0, 3, 1, 2)).mean(dim=(2, 3))
        torch.testing.assert_close(
            policy.encode_frame({"front": frame}, torch.zeros(2, 0)), expected, atol=1e-4, rtol=1e-4
        )
    assert policy.config.encoder.architecture["norm"] == "frozen_batch"


def test_torchvision_resnet_with_group_norm_takes_the_convolutions(
    tmp_path: Path, pretrained: Callable[..., PolicyConfig]
) -> None:
    weights, path = torchvision_weights(), tmp_path / "resnet.safetensors"
    save_file(weights, path)
    trunk = trained_on(pretrained("mean", weights=str(path), norm="group")).encoder.networks["front"].trunk.model
    assert sum(isinstance(module, torch.nn.GroupNorm) for module in trunk.modules()) == 20
    torch.testing.assert_close(trunk.layer3[1].conv2.weight, weights["layer3.1.conv2.weight"])
    torch.testing.assert_close(trunk.bn1.weight, weights["bn1.weight"])


@pytest.mark.parametrize(
    ("preprocessor", "mean", "std"),
    [
        ({}, MEAN, STD),
        ({"do_normalize": False}, (0, 0, 0), (1, 1, 1)),
        # pixels times 2/255 lie in [0, 2], so in [0, 1] mean and spread are half as large
        ({"rescale_factor": 2 / 255}, tuple(m / 2 for m in MEAN), tuple(s / 2 for s in STD)),
        # figures of pixels in [0, 255]
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [255] * 3}, (0.5,) * 3, (1,) * 3),
    ],
)
def test_image_figures_of_the_weights(
    tmp_path: Path, pretrained: Callable[..., PolicyConfig], preprocessor: dict, mean: tuple, std: tuple
) -> None:
    save_model(tmp_path, "vit", **preprocessor)
    policy = trained_on(pretrained())
    torch.testing.assert_close(policy.normaliser.image_mean, torch.tensor([mean], dtype=torch.float32))
    torch.testing.assert_close(policy.normaliser.image_std, torch.tensor([std], dtype=torch.float32))
    statistics = {key: [1.0] * 10 for key in ("min", "max", "mean", "std")}
    policy.normaliser.fit({"action": statistics})  # the data does not change them
    torch.testing.assert_close(policy.normaliser.image_mean, torch.tensor([mean], dtype=torch.float32))


def test_given_figures_come_first(
    tmp_path: Path, small_config: Callable[..., PolicyConfig], pretrained: Callable[..., PolicyConfig]
) -> None:
    save_model(tmp_path, "vit")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(PretrainedWeightsError, match=r"no preprocessor_config.json.*set normaliser.image_mean"):
        resolve_pretrained(pretrained())
    given = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}
    encoder = {"kind": "pretrained", "weights": str(tmp_path), "pooling": "token"}
    resolved = resolve_pretrained(small_config(encoder=encoder, normaliser=given))
    assert (resolved.normaliser.images, resolved.normaliser.image_mean) == ("channels", (0.1, 0.2, 0.3))


class _Payload:
    def __reduce__(self) -> tuple:
        return (sys.exit, (3,))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none", None, "does not exist; valid: a folder with config.json"),
        ("model.pth", {"conv1.weight": _Payload()}, "cannot be read as tensors only"),
        ("model.pth", {"state_dict": {"conv1.weight": torch.zeros(1)}}, "is not a state dict"),
        ("model.safetensors", {"conv1.weight": torch.zeros(1)}, "is not a ResNet-18 or 34 of torchvision"),
        ("model.safetensors", b"rubbish", "cannot be read as tensors only"),
        ("", {"config.json": {"model_type": "bert"}}, "is a 'bert'; valid: vit, dinov2"),
        ("", {"config.json": {"model_type": "vit"}}, "has no safetensors file"),
        ("", {}, "config.json cannot be read"),
    ],
)
def test_wrong_weights_are_refused(
    tmp_path: Path, pretrained: Callable[..., PolicyConfig], name: str, content: Any, words: str
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif name.endswith(".pth"):
        torch.save(content, path)
    elif name.endswith(".safetensors"):
        save_file(content, path)
    else:
        for file, text in (content or {}).items():
            (path / file).write_text(json.dumps(text))
    with pytest.raises(PretrainedWeightsError, match=words):
        resolve_pretrained(pretrained(weights=str(path)))


def test_a_missing_weight_is_named(tmp_path: Path, pretrained: Callable[..., PolicyConfig]) -> None:
    save_model(tmp_path, "vit")
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in weights if name.endswith("layernorm.bias") or name.endswith("norm.bias"))
    save_file(
        {name: value for name, value in weights.items() if name != lost},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    policy = build_policy(resolve_pretrained(pretrained()))
    with pytest.raises(PretrainedWeightsError, match=r"lacks .*norm\.bias"):
        load_pretrained_weights(policy)


def test_images_must_divide_into_patches(tmp_path: Path, pretrained: Callable[..., PolicyConfig]) -> None:
    save_model(tmp_path, "vit")
    config = resolve_pretrained(pretrained(size=36))
    with pytest.raises(
        PretrainedWeightsError, match=r"36x36 pixels do not divide into the patches of 8x8.*multiples of 8"
    ):
        build_policy(config)
    assert isinstance(build_policy(resolve_pretrained(pretrained(size=36, crop=(32, 24)))).encoder, ObservationEncoder)


def test_a_resnet_has_no_token(tmp_path: Path, pretrained: Callable[..., PolicyConfig]) -> None:
    save_model(tmp_path, "resnet")
    with pytest.raises(PretrainedWeightsError, match="resnet has no class token; valid: keypoints, mean"):
        build_policy(resolve_pretrained(pretrained("token")))


def test_unresolved_configurations_say_so(pretrained: Callable[..., PolicyConfig]) -> None:
    with pytest.raises(PretrainedWeightsError, match=r"encoder\.architecture is empty"):
        build_policy(pretrained())


def test_missing_package_is_named(
    tmp_path: Path, pretrained: Callable[..., PolicyConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path, "vit")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        PretrainedWeightsError, match=r"needs transformers: pip install 'diffusion-policy-ros2\[pretrained\]'"
    ):
        resolve_pretrained(pretrained())


def test_other_encoders_are_left_alone(small_config: Callable[..., PolicyConfig]) -> None:
    config = small_config()
    assert resolve_pretrained(config) is config
    policy = build_policy(config)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    load_pretrained_weights(policy)
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())
