"""The policy files for Push-T: they suit it, and what they say of each other is true."""

from pathlib import Path

import pytest
from dp_benchmark.policies import check_suits_pusht
from dp_bringup.commands import benchmark
from dp_policy.config import DENOISER_METHODS, METHODS, load_policy_config

FOLDER = Path(__file__).resolve().parents[2] / "config" / "policies" / "pusht"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_suits_push_t_and_bears_its_name(file):
    config = load_policy_config(file)
    check_suits_pusht(config, file.stem)
    assert config.name == f"pusht_{file.stem}"
    if config.method in DENOISER_METHODS:  # the recorded plan: first action at the newest frame, eight executed
        assert (config.action.horizon, config.action.steps) == (16, 8)
        assert config.action.past == (config.observation.history - 1 if "paper" in file.stem else 0)


def test_the_commands_compare_what_there_is():
    assert set(benchmark.METHODS.split(",")) <= {file.stem for file in FILES}
    assert set(benchmark.TWO_WAY_METHODS.split(",")) == set(METHODS)


def test_there_is_a_file_for_every_method():
    assert {load_policy_config(file).method for file in FILES} == set(METHODS)


@pytest.mark.parametrize(
    "file", [file for file in FILES if "in the method alone" in file.read_text()], ids=lambda file: file.stem
)
def test_what_is_said_to_differ_in_the_method_alone_does(file):
    def rest(config):
        return {key: part for key, part in config.to_dict().items() if key not in ("name", "method", config.method)}

    config, diffusion = load_policy_config(file), load_policy_config(FOLDER / "diffusion.yaml")
    assert config.method != diffusion.method and rest(config) == rest(diffusion)


def test_the_papers_files_keep_the_checkpoints_that_the_paper_averages():
    papers = [load_policy_config(file) for file in FILES if "paper" in file.stem]
    assert len(papers) == 3
    assert all(config.training.kept_checkpoints == 10 and config.diffusion.sampler == "ddpm" for config in papers)
