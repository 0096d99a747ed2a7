"""Evaluations: against a plain loop, for any number of processes, and with every mistake that a user can make."""

import json
import math
from collections import deque

import dp_benchmark.evaluation as evaluation
import numpy as np
import pytest
import torch
from dp_benchmark.errors import BenchmarkError, UnsuitablePolicyError
from dp_benchmark.evaluation import FIRST_SEED, evaluate_pusht, score_figures
from dp_benchmark.lockstep import EpisodeResult
from dp_benchmark.policies import choose_runtime, find_checkpoint, load_policy, run_by
from dp_benchmark.pusht_environment import load_simulator
from dp_core.configuration import ConfigurationError
from dp_dataset.pusht import block_keypoints
from dp_policy.checkpoint import CheckpointError, load_checkpoint
from dp_policy.runtime import selection
from dp_policy.runtime.artefact import export_policy
from dp_policy.runtime.packed_product import packing_available
from dp_policy.runtime.processor import processor_name
from dp_policy.runtime.selection import Choice, Stored


def not_to_be_measured(*_):
    raise AssertionError("measured although the choice is there")


@torch.inference_mode()
def play_plainly(checkpoint, seed, max_steps):
    """One episode straight on gym-pusht: the receding horizon in its simplest form."""
    loaded = load_checkpoint(checkpoint)
    action = loaded.config.action
    env = load_simulator()(obs_type="state")
    state, _ = env.reset(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    states = deque([state] * loaded.config.observation.history, maxlen=loaded.config.observation.history)
    coverages, left = [], None
    while len(coverages) < max_steps:
        window = [np.concatenate((block_keypoints(s[2:]).ravel(), s[:2])) for s in states]
        features = loaded.policy.encode({}, torch.tensor(np.array(window), dtype=torch.float32)[None])
        chunk = loaded.policy.plan(features, left, 0, generator)
        left = chunk[:, action.steps :]
        for target in chunk[0, : action.steps].numpy():
            state, _, terminated, _, info = env.step(np.clip(target, 0, 512))
            states.append(state)
            coverages.append(info["coverage"])
            if terminated or len(coverages) == max_steps:
                return coverages, terminated
    return coverages, False


def test_an_episode_is_a_plain_receding_horizon_loop(tiny_checkpoint):
    for offset in range(3):  # one episode per group: batches of one
        score = evaluate_pusht(tiny_checkpoint, 1, offset, max_steps=37)
        coverages, success = play_plainly(tiny_checkpoint, FIRST_SEED + offset, 37)
        episode = score.episodes[0]
        assert episode.max_coverage == pytest.approx(max(coverages), abs=1e-9)
        assert episode.final_coverage == pytest.approx(coverages[-1], abs=1e-9)
        assert (episode.steps, episode.success) == (len(coverages), success)


@pytest.mark.parametrize("runtime", ["published", "auto", "int8"])
def test_every_runtime_plays_the_same_episodes_but_for_rounding(tiny_checkpoint, runtime):
    plain, other = (evaluate_pusht(tiny_checkpoint, 3, max_steps=8, runtime=name) for name in ("reference", runtime))
    assert plain.runtime == "reference" and other.runtime.split(":")[0] == runtime
    for one, another in zip(plain.episodes, other.episodes, strict=True):
        assert one.initial_state == another.initial_state and one.steps == another.steps == 8
        assert one.final_coverage == pytest.approx(another.final_coverage, abs=0.05)


@pytest.mark.skipif(not packing_available(torch.float32), reason="this build of torch has no packed products")
@pytest.mark.parametrize("runtime", ["auto", "int8"])
def test_a_runtime_that_was_chosen_once_is_that_of_every_process(tiny_checkpoint, monkeypatch, runtime):
    monkeypatch.setattr(selection, "fastest_ms", not_to_be_measured)
    loaded = load_policy(tiny_checkpoint)
    chosen = Stored(Choice("onednn-fp32"), processor_name(), torch.get_num_threads())
    policy = run_by(loaded, runtime, chosen).policy
    assert policy.head.denoiser is not loaded.policy.head.denoiser  # although it may not be the fastest
    features, generator = torch.zeros(5, policy.head.condition_dim), torch.Generator()
    with torch.inference_mode():
        chunks = [one.plan(features, None, 0, generator.manual_seed(0)) for one in (policy, loaded.policy)]
    normalised = [loaded.policy.normaliser.action.normalise(chunk) for chunk in chunks]
    assert (normalised[0] - normalised[1]).abs().max() < 1e-3
    assert run_by(loaded, "reference", None) is loaded


def test_the_choice_of_an_export_is_not_measured_again(tiny_checkpoint, tmp_path, monkeypatch):
    export_policy(load_policy(tiny_checkpoint), tmp_path / "export", torch.get_num_threads(), "reference")
    monkeypatch.setattr(selection, "fastest_ms", not_to_be_measured)
    assert choose_runtime(load_policy(tmp_path / "export"), "auto").choice == Choice()


def test_results_do_not_depend_on_the_number_of_workers(tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(evaluation, "GROUP_SIZE", 2)
    alone = evaluate_pusht(tiny_checkpoint, 5, 3, workers=1, max_steps=40)
    together = evaluate_pusht(tiny_checkpoint, 5, 3, workers=2, max_steps=40)
    assert [episode.row() for episode in alone.episodes] == [episode.row() for episode in together.episodes]
    assert [episode.seed for episode in alone.episodes] == [FIRST_SEED + 3 + i for i in range(5)]
    assert len({episode.initial_state for episode in alone.episodes}) == 5


def test_another_seed_gives_other_episodes_and_noise(tiny_checkpoint):
    first, again, other = (evaluate_pusht(tiny_checkpoint, 2, seed, max_steps=20) for seed in (0, 0, 50))
    assert [e.row() for e in first.episodes] == [e.row() for e in again.episodes]
    assert first.episodes[0].initial_state != other.episodes[0].initial_state


def test_sampling_is_changed_for_the_same_weights(tiny_checkpoint):
    score = evaluate_pusht(tiny_checkpoint, 1, max_steps=8, sampling={"inference_steps": 7, "sampler": "ddim"})
    assert score.evaluations == 7
    before, after = load_checkpoint(tiny_checkpoint), load_policy(tiny_checkpoint, {"inference_steps": 7})
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.policy.state_dict().values(), after.policy.state_dict().values(), strict=True)
    )


def test_other_sampling_keeps_the_memory_layout(save_tiny, tmp_path):
    observation = {"images": True, "cameras": ["image"], "state": ["agent_position"], "proprioception_dim": 2}
    encoder = {"kind": "compact", "width": 4, "keypoints": 2, "features": 4, "blocks": 1}
    seeing = save_tiny(tmp_path / "image", observation=observation, encoder=encoder)
    strides = [
        [weight.stride() for weight in load_policy(seeing, sampling).policy.parameters()]
        for sampling in ({}, {"inference_steps": 3})
    ]
    assert strides[0] == strides[1]


def test_policies_that_act_on_every_step_and_see_images(save_tiny, tmp_path):
    action = {"horizon": 2, "steps": 1, "past": 1}
    per_step = save_tiny(tmp_path / "bet", method="bet", action=action, bet={"layers": 1, "width": 8, "bins": 4})
    assert evaluate_pusht(per_step, 2, max_steps=5).episodes[1].steps == 5
    observation = {"images": True, "cameras": ["image"], "state": ["agent_position"], "proprioception_dim": 2}
    encoder = {"kind": "compact", "width": 4, "keypoints": 2, "features": 4, "blocks": 1}
    seeing = save_tiny(tmp_path / "image", observation=observation, encoder=encoder)
    assert evaluate_pusht(seeing, 2, max_steps=10).episodes[1].steps == 10


def test_videos_have_a_frame_for_every_step(tiny_checkpoint, tmp_path):
    imageio = pytest.importorskip("imageio.v2")
    score = evaluate_pusht(tiny_checkpoint, 3, max_steps=13, videos=2, video_folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed_100000.mp4", "seed_100001.mp4"]
    for episode in score.episodes[:2]:
        reader = imageio.get_reader(tmp_path / f"seed_{episode.seed}.mp4")
        frames = list(reader.iter_data())
        assert len(frames) == episode.steps == 13
        assert frames[0].shape == (256, 256, 3) and frames[0].std() > 10
        assert reader.get_meta_data()["fps"] == pytest.approx(10)


def test_figures_by_hand():
    rows = [(0.95, False), (0.96, True), (0.475, False), (0.0, False)]
    episodes = [EpisodeResult(i, success, best, best, 300, (0.0,) * 5) for i, (best, success) in enumerate(rows)]
    figures = score_figures(episodes)
    assert figures["success"] == 0.25 and figures["successes"] == 1 and figures["episodes"] == 4
    assert figures["mean_max_coverage"] == pytest.approx((0.95 + 0.96 + 0.475) / 4)
    assert figures["score"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)  # the paper's: at most 1 per episode
    z, p, n = 1.959964, 0.25, 4
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    assert figures["success_interval"] == pytest.approx([centre - half, centre + half])
    low, high = figures["mean_max_coverage_interval"]
    assert 0 <= low < figures["mean_max_coverage"] < high <= 0.96


def test_summary_is_plain_data(tiny_checkpoint):
    summary = evaluate_pusht(tiny_checkpoint, 2, max_steps=8).summary()
    assert json.loads(json.dumps(summary)) == summary
    assert {"success", "mean_max_coverage", "episodes", "score", "chunk_ms_p50", "parameters"} <= set(summary)
    assert summary["evaluations_per_chunk"] == 2 and summary["chunk_ms_p50"] > 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"episodes": 0}, "episodes = 0"),
        ({"workers": 0}, "workers = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"max_steps": 0}, "max_steps = 0"),
        ({"videos": -1}, "videos = -1"),
        ({"videos": 1}, "no folder"),
    ],
)
def test_numbers_out_of_range(tiny_checkpoint, arguments, named):
    with pytest.raises(BenchmarkError, match=named):
        evaluate_pusht(tiny_checkpoint, **arguments)


@pytest.mark.parametrize(
    ("sampling", "named"),
    [
        ({"sampler": "magic"}, "magic.*ddim, ddpm"),
        ({"inference_steps": 0}, "inference_steps"),
        ({"inference_steps": 101}, "1 to 100"),
        ({"speed": 2}, "diffusion.speed"),
    ],
)
def test_sampling_that_does_not_fit(tiny_checkpoint, sampling, named):
    with pytest.raises(ConfigurationError, match=named):
        evaluate_pusht(tiny_checkpoint, sampling=sampling)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"observation": {"images": True, "cameras": ["wrist"], "proprioception_dim": 20}, "encoder": {"width": 4}},
            "camera wrist; Push-T has camera image",
        ),
        ({"observation": {"state": ["keypoints"], "proprioception_dim": 18}, "action": {"dim": 10}}, "10 numbers"),
        ({"observation": {"state": [], "proprioception_dim": 10}}, "10 numbers of proprioception"),
        ({"observation": {"state": ["tool_pose"], "proprioception_dim": 2}}, "vector tool_pose"),
    ],
)
def test_policies_of_other_tasks_are_refused(save_tiny, tmp_path, changes, named):
    with pytest.raises(UnsuitablePolicyError, match=f"not for Push-T.*{named}"):
        evaluate_pusht(save_tiny(tmp_path / "foreign", **changes), 1)


def test_an_action_that_is_not_finite_is_an_error(save_tiny, tmp_path):
    folder = save_tiny(tmp_path / "broken")
    loaded = load_checkpoint(folder)
    with torch.no_grad():
        for weight in loaded.policy.parameters():
            weight.fill_(float("nan"))
    from dp_policy.checkpoint import save_checkpoint

    save_checkpoint(folder, loaded.policy, {}, {})
    with pytest.raises(BenchmarkError, match="not finite"):
        evaluate_pusht(folder, 1)


def test_the_newest_checkpoint_of_a_run_is_found(save_tiny, tmp_path):
    run = tmp_path / "run"
    for step in (4, 12):
        save_tiny(run / "checkpoints" / f"step_{step:07d}")
    assert find_checkpoint(run).name == "step_0000012"
    assert find_checkpoint(run / "checkpoints" / "step_0000004").name == "step_0000004"
    (run / "checkpoints" / "best").symlink_to("step_0000004")
    assert find_checkpoint(run / "checkpoints" / "best").name == "step_0000004"
    assert find_checkpoint(run).name == "step_0000012"
    with pytest.raises(CheckpointError, match="nothing_there"):
        find_checkpoint(tmp_path / "nothing_there")


def test_time_per_chunk_is_measured_with_a_plan_in_execution(save_tiny, tmp_path):
    """Candidates are drawn only then: on every device they belong to the time."""
    folder = save_tiny(tmp_path / "choosy", diffusion={"candidates": 5})
    loaded, drawn = load_checkpoint(folder), []
    sample = loaded.policy.head.sample

    def counting(features, generator, draws, plan):
        drawn.append(draws)
        return sample(features, generator, draws, plan)

    loaded.policy.head.sample = counting
    for make in (evaluation._processor_inference, lambda policy: evaluation._device_inference(policy, "cpu")):
        drawn.clear()
        assert make(loaded)() > 0
        assert set(drawn) == {5}
