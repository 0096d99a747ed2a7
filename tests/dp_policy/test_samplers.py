from __future__ import annotations

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from dp_policy.config import DiffusionConfig, PolicyConfig, PolicyConfigError
from dp_policy.sampler_variants import sampler_variants
from dp_policy.samplers import build_sampler, forward_process
from torch import Tensor

MEAN, DEVIATION = 0.4, 0.5


def exact_prediction(config: DiffusionConfig, chunk: Tensor, level: int) -> Tensor:
    """Of the best possible network on data N(MEAN, DEVIATION^2), for any kind of prediction."""
    bar = forward_process(config).alphas_cumprod[level].double()
    variance = bar * DEVIATION**2 + 1 - bar
    epsilon = (1 - bar).sqrt() * (chunk - bar.sqrt() * MEAN) / variance
    clean = MEAN + bar.sqrt() * DEVIATION**2 / variance * (chunk - bar.sqrt() * MEAN)
    return {"epsilon": epsilon, "sample": clean, "v": bar.sqrt() * epsilon - (1 - bar).sqrt() * clean}[
        config.prediction
    ]


def run(config: DiffusionConfig, noise: Tensor) -> Tensor:
    sampler, chunk, generator = build_sampler(config), noise, torch.Generator().manual_seed(1)
    sampler.begin()
    for index, level in enumerate(sampler.timesteps):
        chunk = sampler.step(exact_prediction(config, chunk, int(level)), index, chunk, generator)
    return chunk


@pytest.mark.parametrize(
    ("sampler", "spacing", "levels"),
    [
        ("ddim", "trailing", {1: [99], 2: [99, 49], 4: [99, 74, 49, 24], 16: [99, 93, 87, 80]}),
        ("ddim", "leading", {1: [0], 2: [50, 0], 4: [75, 50, 25, 0], 16: [90, 84, 78, 72]}),
        ("ddim", "linspace", {1: [0], 2: [99, 0], 4: [99, 66, 33, 0], 16: [99, 92, 86, 79]}),
        ("dpmsolver++", "trailing", {1: [99], 2: [99, 49], 4: [99, 74, 49, 24], 8: [99, 87, 74, 61]}),
    ],
)
def test_levels_visited(sampler: str, spacing: str, levels: dict[int, list[int]]) -> None:
    for steps, expected in levels.items():
        built = build_sampler(DiffusionConfig(sampler=sampler, spacing=spacing, inference_steps=steps))
        assert len(built.timesteps) == steps
        assert built.timesteps[:4].tolist() == expected


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver++"])
def test_every_number_of_steps_ends_at_the_last_level(sampler: str) -> None:
    """At 29, 31, 58, 62 and 97 of 100 steps diffusers' trailing spacing adds a level -1, which is pure noise."""
    for steps in range(1, 101):
        levels = build_sampler(DiffusionConfig(sampler=sampler, inference_steps=steps)).timesteps
        assert len(levels) == steps and levels[0] == 99 and levels[-1] == round(100 / steps) - 1
    samples = run(DiffusionConfig(sampler=sampler, inference_steps=29, clip_sample=False), torch.randn(20_000, 1, 1))
    assert float(samples.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(samples.std()) == pytest.approx(DEVIATION, rel=0.06)


@pytest.mark.parametrize("spacing", ["leading", "linspace"])
def test_levels_that_would_be_visited_twice_are_refused(spacing: str) -> None:
    with pytest.raises(PolicyConfigError, match=r"inference_steps = 100 .*dpmsolver\+\+ .*visited twice"):
        build_sampler(DiffusionConfig(sampler="dpmsolver++", spacing=spacing, inference_steps=100))


def test_ddpm_visits_every_level() -> None:
    assert build_sampler(DiffusionConfig(sampler="ddpm")).timesteps.tolist() == list(range(99, -1, -1))


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
@pytest.mark.parametrize(
    ("sampler", "steps", "tolerance"), [("ddpm", 100, 0.06), ("ddim", 100, 0.02), ("dpmsolver++", 16, 0.02)]
)
def test_samples_have_the_distribution_of_the_data(prediction: str, sampler: str, steps: int, tolerance: float) -> None:
    """With the exact prediction for a Gaussian, samples must have its mean and deviation, up to the steps' length."""
    config = DiffusionConfig(prediction=prediction, sampler=sampler, inference_steps=steps, clip_sample=False)
    samples = run(config, torch.randn(20_000, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert float(samples.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(samples.std()) == pytest.approx(DEVIATION, rel=tolerance)


@pytest.mark.parametrize("steps", [8, 16])
def test_second_order_beats_first_order_at_equal_steps(steps: int) -> None:
    """The exact flow of a Gaussian takes noise z to MEAN + DEVIATION z (at the last level, up to its tiny signal)."""
    noise = torch.linspace(-2, 2, 41, dtype=torch.float64).view(-1, 1, 1)
    error = {}
    for sampler in ("ddim", "dpmsolver++"):
        config = DiffusionConfig(sampler=sampler, inference_steps=steps, prediction="sample", clip_sample=False)
        error[sampler] = float((run(config, noise) - (MEAN + DEVIATION * noise)).abs().max())
    assert error["dpmsolver++"] < 0.6 * error["ddim"]


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver++"])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_clipping_bounds_a_wrong_prediction_at_pure_noise(sampler: str, prediction: str) -> None:
    """An error of the noise is divided by the signal, 5e-4 at the first level; unclipped it would fill the chunk."""
    config = DiffusionConfig(sampler=sampler, prediction=prediction, inference_steps=1)
    built = build_sampler(config)
    chunk = torch.randn(2, 4, 3)
    wrong = exact_prediction(config, chunk, 99).float() + 0.1
    clean = built.step(wrong, 0, chunk, None)
    assert float(clean.abs().max()) <= 1.0
    assert clean.dtype == torch.float32


def test_a_run_does_not_remember_the_one_before() -> None:
    config = DiffusionConfig(sampler="dpmsolver++", inference_steps=4)
    sampler, noise, results = build_sampler(config), torch.randn(3, 1, 1), []
    for _ in range(2):
        chunk = noise
        sampler.begin()
        for index, level in enumerate(sampler.timesteps):
            chunk = sampler.step(exact_prediction(config, chunk, int(level)).float(), index, chunk, None)
        results.append(chunk)
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
@pytest.mark.parametrize(("spacing", "steps"), [("trailing", 4), ("trailing", 10), ("leading", 7), ("leading", 16)])
def test_ddim_equals_diffusers(prediction: str, spacing: str, steps: int) -> None:
    """Where the steps of diffusers agree with the levels it visits."""
    config = DiffusionConfig(prediction=prediction, spacing=spacing, inference_steps=steps)
    theirs = DDIMScheduler(
        num_train_timesteps=100,
        beta_schedule=config.schedule,
        prediction_type={"v": "v_prediction"}.get(prediction, prediction),
        timestep_spacing=spacing,
    )
    theirs.set_timesteps(steps)
    ours = build_sampler(config)
    chunk = expected = torch.randn(5, 4, 2)
    for index, level in enumerate(theirs.timesteps):
        predicted = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(index)) * 0.5
        expected = theirs.step(predicted, int(level), expected).prev_sample
        chunk = ours.step(predicted, index, chunk, None)
        torch.testing.assert_close(chunk, expected, atol=1e-5, rtol=1e-5)


def test_variants_cover_samplers_spacings_and_steps() -> None:
    variants = sampler_variants(PolicyConfig.from_dict({"name": "test", "diffusion": {"prediction": "sample"}}))
    rows = [(variant.sampler, variant.evaluations) for variant in variants]
    assert rows[:3] == [("ddpm", 100), ("ddim trailing", 1), ("ddim trailing", 2)]
    assert len(rows) == len(set(rows)) == 1 + 4 * 5
    for variant in variants:
        assert len(build_sampler(variant.config.diffusion).timesteps) == variant.evaluations
        assert variant.config.diffusion.prediction == "sample"
    flow = sampler_variants(PolicyConfig.from_dict({"name": "test", "method": "flow", "flow": {"warm_start": 0.5}}))
    assert [variant.config.flow.inference_steps for variant in flow] == [1, 2, 4, 8]
    assert all(variant.config.flow.warm_start == 0.0 for variant in flow), "a warm start runs fewer evaluations"
    ibc = {"name": "test", "method": "ibc", "observation": {"images": False}}
    assert [variant.evaluations for variant in sampler_variants(PolicyConfig.from_dict(ibc))] == [3]
    langevin = {**ibc, "ibc": {"inference": "langevin", "langevin_iterations": 10}}
    assert [variant.evaluations for variant in sampler_variants(PolicyConfig.from_dict(langevin))] == [21]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("inference_steps", 0, "1 to 100"),
        ("sampler", "euler", "ddim, ddpm, dpmsolver++"),
        ("prediction", "v_prediction", "epsilon, sample, v"),
        ("spacing", "karras", "trailing, linspace, leading"),
        ("warm_start", 1.5, "0.0 to 1.0"),
    ],
)
def test_what_is_not_valid_is_named(key: str, value: object, message: str) -> None:
    with pytest.raises(PolicyConfigError, match=rf"diffusion\.{key}.*{value}") as error:
        PolicyConfig.from_dict({"name": "test", "diffusion": {key: value}})
    assert message in str(error.value)
