from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_policy.checkpoint import CheckpointError, load_checkpoint
from dp_policy.config import PolicyConfig, load_policy_config
from dp_policy.engine import Engine
from dp_trainer.run_folder import RunFolderError, checkpoint_folders
from dp_trainer.train import TrainingDivergedError, train
from dp_trainer.windows import WindowSampler, load_training_data


def tiny_config(**training: object) -> PolicyConfig:
    return PolicyConfig.from_dict(
        {
            "name": "tiny",
            "observation": {"history": 1},
            "action": {"dim": 10, "horizon": 16, "steps": 8},
            "encoder": {"kind": "compact", "width": 24, "keypoints": 16, "features": 32, "blocks": 1},
            "denoiser": {"sizes": [32, 64], "step_features": 32, "activation": "silu"},
            "diffusion": {"prediction": "sample", "inference_steps": 5},
            "training": {
                "steps": 40,
                "batch_size": 16,
                "noise_draws": 2,
                "learning_rate": 2e-3,
                "warmup_steps": 10,
                "gradient_clip": 1.0,
                "validation_fraction": 0.02,
                "validation_interval": 0,
                "checkpoint_interval": 10,
                "constant_action_columns": [2],  # the task is flat
                **training,
            },
        }
    )


def read_losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "losses.jsonl").read_text().splitlines()]


def test_learns_to_move_to_what_it_sees(blob_store: Path, tmp_path: Path, blob_episode: Callable) -> None:
    """On unseen scenes chunks end at the goal, which only the image tells, and pass it on either side."""
    config = tiny_config(steps=400, batch_size=32, checkpoint_interval=400, precision="bf16")
    result = train(blob_store, config, tmp_path, seed=1)
    assert np.mean(result.losses[-20:]) < 0.3 * np.mean(result.losses[:20])
    loaded = load_checkpoint(result.checkpoint)
    assert loaded.contract["name"] == "sim_franka"
    rng = np.random.default_rng(99)
    episodes = [blob_episode(rng) for _ in range(40)]

    def chunks(step: int) -> np.ndarray:
        images = torch.from_numpy(np.stack([episode.images["front"][step : step + 1] for episode in episodes]))
        state = torch.from_numpy(np.stack([episode.proprioception[step : step + 1] for episode in episodes]))
        policy = loaded.policy
        return policy.plan(policy.encode({"front": images}, state), generator=torch.Generator().manual_seed(0)).numpy()

    goals = np.stack([episode.action[-1, :2] for episode in episodes])
    error = np.linalg.norm(chunks(4)[:, 15, :2] - goals, axis=1).mean()
    constant = np.linalg.norm(goals.mean(axis=0) - goals, axis=1).mean()
    assert error < 0.6 * constant
    straight = 0.5 + (goals[:, 0] - 0.5) / 2
    sides = np.sign(chunks(0)[:, 9, 0] - straight)
    assert 8 <= (sides > 0).sum() <= 32


def test_resumed_run_gives_the_same_curve(blob_store: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(blob_store, tiny_config(steps=20), whole, seed=3)

    class StopError(Exception):
        pass

    def stop(progress: object) -> None:
        if progress.step == 14:  # type: ignore[attr-defined]
            raise StopError

    with pytest.raises(StopError):
        train(blob_store, tiny_config(steps=20), cut, seed=3, progress=stop)
    result = train(blob_store, tiny_config(steps=20), cut, seed=3, resume=True)
    assert result.first_step == 10
    assert read_losses(cut) == read_losses(whole)
    weights = [load_checkpoint(checkpoint_folders(folder)[-1]) for folder in (whole, cut)]
    assert weights[0].policy_id == weights[1].policy_id


def test_divergence_stops_and_keeps_the_last_good_checkpoint(blob_store: Path, tmp_path: Path) -> None:
    """A learning rate that blows the weights up within a few steps."""
    config = tiny_config(learning_rate=1e12, gradient_clip=0.0, checkpoint_interval=1, warmup_steps=0)
    with pytest.raises(TrainingDivergedError, match=r"diverged at step \d+: loss (nan|inf), .*checkpoint is") as caught:
        train(blob_store, config, tmp_path)
    step = int(re.search(r"at step (\d+)", str(caught.value)).group(1))  # type: ignore[union-attr]
    newest = checkpoint_folders(tmp_path)[-1]
    assert newest.name == f"step_{step:07d}" and str(newest) in str(caught.value)
    weights = load_checkpoint(newest).policy.state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
    assert len(read_losses(tmp_path)) == step


def test_divergence_names_the_batch_and_leaves_the_weights_alone(blob_store: Path, tmp_path: Path) -> None:
    """Ten episodes of absurd but finite numbers: the first batch with a window of theirs ends the run."""
    config = tiny_config(checkpoint_interval=1, validation_fraction=0.0, batch_size=4)
    data = load_training_data(blob_store)
    poisoned = data.actions.clone()
    poisoned[40:240] = 1e25  # episodes 2 to 11; their squares are beyond float32
    data = dataclasses.replace(data, actions=poisoned)
    sampler = WindowSampler(data, config, np.arange(len(data.episode_ends)), 5)
    windows = [sampler.indices(step, 4) for step in range(40)]
    step = next(i for i, batch in enumerate(windows) if ((batch >= 40) & (batch < 240)).any())
    assert step > 0
    episodes = sorted(set((windows[step] // 20).tolist()))
    listed = re.escape(f"windows {windows[step].tolist()} of episodes {episodes}")
    with pytest.raises(TrainingDivergedError, match=rf"step {step}: loss (inf|nan), .*{listed}"):
        train(data, config, tmp_path, seed=5)
    assert checkpoint_folders(tmp_path)[-1].name == f"step_{step:07d}"


def test_errors_for_folders(blob_store: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(blob_store, tiny_config(), tmp_path, resume=True)
    train(blob_store, tiny_config(), tmp_path, steps=2)
    with pytest.raises(RunFolderError, match="resume it or choose"):
        train(blob_store, tiny_config(), tmp_path, steps=2)
    with pytest.raises(ValueError, match="steps"):
        train(blob_store, tiny_config(), tmp_path, steps=0)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_shipped_policies_train(blob_store: Path, tmp_path: Path, name: str) -> None:
    """Both files run as they are, but for the size of the paper's U-Net and the batch."""
    config = load_policy_config(Path(__file__).parents[2] / "config" / "policies" / f"{name}.yaml")
    config = dataclasses.replace(config, denoiser=dataclasses.replace(config.denoiser, sizes=(16, 32, 64)))
    config = config.with_training(batch_size=2, constant_action_columns=(2,))
    result = train(blob_store, config, tmp_path, steps=2)
    loaded = load_checkpoint(result.checkpoint)
    assert loaded.config.observation.cameras == ("front",)
    assert Engine(loaded, warmup_runs=0).infer(*Engine(loaded).blank_observation()).actions.shape == (16, 10)
