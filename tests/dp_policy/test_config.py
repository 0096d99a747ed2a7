from __future__ import annotations

from pathlib import Path

import pytest
from dp_policy.config import PolicyConfig, PolicyConfigError, load_policy_config

POLICIES = Path(__file__).parents[2] / "config" / "policies"


@pytest.mark.parametrize("name", ["small", "paper"])
def test_shipped_files_parse_and_survive_a_round_trip(name: str) -> None:
    config = load_policy_config(POLICIES / f"{name}.yaml")
    assert config.name == name
    assert PolicyConfig.from_dict(config.to_dict()) == config


def test_paper_file_has_the_papers_numbers() -> None:
    config = load_policy_config(POLICIES / "paper.yaml")
    assert config.denoiser.sizes == (256, 512, 1024)
    assert (config.observation.history, config.action.horizon, config.action.steps) == (2, 16, 8)
    assert config.diffusion.prediction == "epsilon"
    assert round(240 * config.encoder.crop_ratio) == 216
    assert round(320 * config.encoder.crop_ratio) == 288


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"name": "x", "encodr": {}}, ["encodr", "encoder", "training"]),
        ({"name": "x", "encoder": {"kidn": "compact"}}, ["encoder.kidn", "kind"]),
        ({"name": "x", "encoder": {"kind": "vit"}}, ["encoder.kind", "vit", "compact", "resnet18"]),
        ({"name": "x", "action": {"steps": 17}}, ["action.steps", "17", "16"]),
        ({"name": "x", "action": {"prefix": 16}}, ["action.prefix", "16", "15"]),
        ({"name": "x", "action": {"prefix": 2, "past": 1}}, ["prefix = 2", "past = 1", "valid: past = 0"]),
        ({"name": "x", "method": "bet", "action": {"prefix": 2}}, ["prefix = 2", "bet", "diffusion, flow"]),
        ({"name": "x", "action": {"horizon": 10}}, ["horizon", "10", "multiple of 4"]),
        ({"name": "x", "denoiser": {"sizes": [20]}}, ["denoiser.sizes", "20", "multiple of 8"]),
        ({"name": "x", "training": {"batch_size": "many"}}, ["training.batch_size", "many", "int"]),
        ({}, ["name"]),
    ],
)
def test_errors_name_key_value_and_choices(mapping: dict, words: list[str]) -> None:
    with pytest.raises(PolicyConfigError) as error:
        PolicyConfig.from_dict(mapping)
    for word in words:
        assert word in str(error.value)


def test_missing_file_lists_what_is_there() -> None:
    with pytest.raises(PolicyConfigError, match=r"smal.*paper, small"):
        load_policy_config(POLICIES / "smal.yaml")


def test_unknown_training_override() -> None:
    with pytest.raises(PolicyConfigError, match=r"training\.step .*steps"):
        load_policy_config(POLICIES / "small.yaml").with_training(step=3)


def test_only_what_does_not_touch_the_weights_may_change_after_training() -> None:
    config = PolicyConfig(name="x")
    assert config.with_sampling(inference_steps=4, spacing="leading").diffusion.inference_steps == 4
    for changes, words in (
        ({"prediction": "sample"}, ["diffusion.prediction", "sampler"]),
        ({"sampler": "euler"}, ["diffusion.sampler", "euler", "dpmsolver++"]),
        ({"inference_steps": 0}, ["diffusion.inference_steps", "0", "100"]),
    ):
        with pytest.raises(PolicyConfigError) as caught:
            config.with_sampling(**changes)
        assert all(word in str(caught.value) for word in words)
    with pytest.raises(PolicyConfigError, match="valid keys here: none"):
        PolicyConfig(name="x", method="regression").with_sampling(inference_steps=2)
