from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from dp_policy.config import DENOISER_METHODS, METHODS, PolicyConfig
from dp_trainer.process_group import ProcessGroup, ProcessGroupError
from dp_trainer.training_run import TrainingRun
from dp_trainer.windows import TrainingData, load_training_data, resolve_config


@pytest.fixture(scope="module")
def data(blob_store: Path) -> TrainingData:
    return load_training_data(blob_store)


def run_steps(
    data: TrainingData, config: PolicyConfig, steps: int = 5
) -> tuple[TrainingRun, list[tuple[float, float]]]:
    run = TrainingRun(data, resolve_config(config, data), seed=2)
    with run.loader(0, steps) as loader:
        figures = [run.step(step, loader.take()) for step in range(steps)]
    return run, [(float(each.loss), float(each.gradient_norm)) for each in figures]


@pytest.mark.parametrize("pieces", [2, 8])
def test_micro_batches_are_the_whole_batch(
    data: TrainingData, state_config: Callable[..., PolicyConfig], pieces: int
) -> None:
    """Noise included. The weights of padded steps make the pieces count differently: a plain mean would be wrong."""
    whole, wanted = run_steps(data, state_config())
    split, found = run_steps(data, state_config(accumulation=pieces))
    assert [pytest.approx(row, rel=1e-4) for row in wanted] == found
    for name, master, other in zip(
        whole.optimiser.names, whole.optimiser.masters, split.optimiser.masters, strict=True
    ):
        torch.testing.assert_close(other, master, atol=2e-5, rtol=1e-3, msg=name)


def test_micro_batches_of_images(data: TrainingData, state_config: Callable[..., PolicyConfig]) -> None:
    """Random crops are drawn for the whole batch too."""
    mapping = state_config().to_dict() | {
        "observation": {"history": 2},
        "encoder": {"kind": "compact", "width": 8, "features": 8, "crop_ratio": 0.75, "random_shift": 2},
    }
    whole, split = (
        PolicyConfig.from_dict({**mapping, "training": {**mapping["training"], "accumulation": pieces}})
        for pieces in (1, 4)
    )
    assert [pytest.approx(row, rel=1e-4) for row in run_steps(data, whole, 3)[1]] == run_steps(data, split, 3)[1]


def test_a_batch_that_cannot_be_split_evenly_is_refused(
    data: TrainingData, state_config: Callable[..., PolicyConfig]
) -> None:
    config = resolve_config(state_config(accumulation=2), data)
    assert [(part.start, part.rows) for part in TrainingRun(data, config, 0).parts] == [(0, 8), (8, 8)]
    with pytest.raises(ProcessGroupError, match=r"batch_size = 16 .* 3 processes with 2 .* multiple of 6"):
        TrainingRun(data, config, 0, ProcessGroup(0, 3))


def test_dropout_repeats_and_differs_between_steps(
    data: TrainingData, state_config: Callable[..., PolicyConfig]
) -> None:
    """It draws from torch's own generator, which a resumed run finds in another state."""
    mapping = state_config().to_dict()
    mapping["denoiser"] = {"kind": "transformer", "transformer": {"layers": 1, "heads": 2, "width": 16}}
    config = PolicyConfig.from_dict(mapping)
    _, first = run_steps(data, config)
    torch.manual_seed(12345)
    run = TrainingRun(data, resolve_config(config, data), seed=2)
    with run.loader(0, 5) as loader:
        again = []
        for step in range(5):
            torch.rand(step + 1)  # somebody else draws in between
            figures = run.step(step, loader.take())
            again.append((float(figures.loss), float(figures.gradient_norm)))
    assert again == first
    with run.loader(0, 1) as loader:
        pieces = loader.take()
        losses = {run._loss(step, pieces[0]).item() for step in range(3)}
    assert len(losses) == 3


@pytest.mark.parametrize("precision", ["bf16", "amp"])
def test_low_precision_follows_float32(
    data: TrainingData, state_config: Callable[..., PolicyConfig], precision: str
) -> None:
    wanted = run_steps(data, state_config())[1]
    run, found = run_steps(data, state_config(precision=precision))
    assert found != wanted and all(master.dtype == torch.float32 for master in run.optimiser.masters)
    for (loss, norm), (low_loss, low_norm) in zip(wanted, found, strict=True):
        assert low_loss == pytest.approx(loss, rel=0.03) and low_norm == pytest.approx(norm, rel=0.1)


def test_the_average_moves_at_every_step(data: TrainingData, state_config: Callable[..., PolicyConfig]) -> None:
    """Against the recursion written out, with two micro-batches: one move per step, not one per micro-batch."""
    config = resolve_config(state_config(accumulation=2), data)
    run = TrainingRun(data, config, seed=2)
    average = run.optimiser.masters[0].detach().clone()
    with run.loader(0, 4) as loader:
        for step in range(4):
            run.step(step, loader.take())
            decay = min(0.9999, 1 - max(step, 1) ** -0.75)
            average = decay * average + (1 - decay) * run.optimiser.masters[0].detach()
    torch.testing.assert_close(run.ema.averages[0], average)
    names = dict(run.averaged_policy().named_parameters())
    torch.testing.assert_close(names[run.optimiser.names[0]], average)


def test_a_resumed_run_keeps_what_was_fitted(data: TrainingData, state_config: Callable[..., PolicyConfig]) -> None:
    """Cluster centres and normaliser are those of the run, even if this machine would compute others."""
    mapping = {**state_config().to_dict(), "method": "bet", "action": {"horizon": 2, "past": 1, "steps": 1}}
    mapping["bet"] = {"layers": 1, "heads": 2, "width": 16, "bins": 4}
    config = resolve_config(PolicyConfig.from_dict(mapping), data)
    first, second = TrainingRun(data, config, seed=2), TrainingRun(data, config, seed=2)
    state = {name: tensor + 0.25 if name.startswith("fitted.") else tensor for name, tensor in first.state().items()}
    second.load_state(state)
    for policy in (second.policy, second.averaged_policy()):
        for name, wanted in first.policy.state_dict().items():
            moved = name == "head.bins.centres" or name.startswith("normaliser.")
            torch.testing.assert_close(policy.state_dict()[name], wanted + 0.25 * moved, rtol=0, atol=0, msg=name)


def test_validation_repeats_and_tells_units(data: TrainingData, state_config: Callable[..., PolicyConfig]) -> None:
    run, _ = run_steps(data, state_config(validation_windows=100), 2)
    assert run.held_out is not None
    first, again = run.score(), run.score()
    assert first == again and first is not None
    mean = run.averaged_policy()
    windows = 100  # three batches of 32 and one of 4
    assert len(run.held_out.windows) == windows
    batch = run.held_out.batch(run.held_out.indices(0, windows))
    generator = torch.Generator().manual_seed(2)
    squares, distances, count = 0.0, 0.0, 0
    for rows in (range(windows)[first : first + 32] for first in range(0, windows, 32)):
        chosen = torch.tensor(list(rows))
        with torch.no_grad():
            planned = mean.plan(mean.encode({}, batch.proprioception[chosen]), generator=generator)
            part = run.held_out.batch(run.held_out.indices(0, windows)[chosen.numpy()])
            mean.loss(part, 1, generator)
        for chunk, wanted, weights in zip(planned, batch.actions[chosen], batch.weights[chosen], strict=True):
            for step in range(4):
                if weights[step] == 1:
                    difference = chunk[step] - wanted[step]
                    scaled = difference / mean.normaliser.action.scale
                    squares += float(scaled.square().mean())
                    distances += float(difference[:3].norm())
                    count += 1
    assert first.action_error == pytest.approx((squares / count) ** 0.5, rel=1e-4)
    assert first.position_error == pytest.approx(distances / count, rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_may_be_split(data: TrainingData, state_config: Callable[..., PolicyConfig], method: str) -> None:
    """Whatever a method draws while it trains, how many actions are given too, it must draw for the whole batch."""
    no_dropout = {f"{place}_dropout": 0.0 for place in ("embedding", "residual", "attention")}
    sizes = {
        "lstm_gmm": {"hidden": 16, "layers": 1},
        "ibc": {"width": 16, "depth": 2, "negative_count": 8},
        "bet": {"layers": 1, "heads": 2, "width": 16, "bins": 4, **no_dropout},
    }
    mapping = {**state_config().to_dict(), "method": method}  # padded steps count less, for IBC whole sequences
    if method in sizes:
        mapping[method] = sizes[method]
    if method in DENOISER_METHODS:
        mapping["action"]["prefix"] = 4
    if method in ("lstm_gmm", "bet"):  # one action for each frame
        mapping["action"] = {"horizon": 2, "past": 1, "steps": 1}
    config = PolicyConfig.from_dict(mapping)
    whole, wanted = run_steps(data, config, 2)
    _, found = run_steps(data, config.with_training(accumulation=4), 2)
    assert whole.config.method == method
    assert found == [pytest.approx(row, rel=1e-3) for row in wanted]
