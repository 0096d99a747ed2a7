"""How many steps fit into a given time: measured before a run begins, so that its schedule fits its length."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from dp_policy.config import PolicyConfig, PolicyConfigError

from dp_trainer.run_folder import RunFolder
from dp_trainer.train import prepare_run
from dp_trainer.training_run import TrainingRun
from dp_trainer.windows import TrainingData

#: Steps before the clock runs: memory is allocated, caches fill, networks compile.
WARM_UP_STEPS = 3
#: Measured steps, and the share of the budget that measuring may last (s, at most).
LEAST_STEPS, SHARE, MOST_S = 5, 0.02, 20.0


def steps_for_budget(store: str | Path | TrainingData, config: PolicyConfig, seconds: float, seed: int = 0) -> int:
    """Steps of a configuration that fit into some wall time, validations and checkpoints included.

    A throwaway run is trained for a few seconds; the time for that and for loading is not part of the budget. The
    run that follows is as deterministic as any other: give it the number as ``steps``.

    Args:
        store: as for :func:`dp_trainer.train.train`.
        config: as for :func:`dp_trainer.train.train`.
        seconds: budget of the training loop, s.
        seed: of the run.

    Returns:
        at least 1; the same in all processes.

    Raises:
        PolicyConfigError: ``seconds`` is not above 0.
        and what :func:`dp_trainer.train.train` raises before its first step.
    """
    if not seconds > 0:
        raise PolicyConfigError(f"a budget of {seconds:g} s is not valid; it must be above 0")
    run = prepare_run(store, config, seed)
    training = run.config.training
    step_s = _step_s(run, min(MOST_S, SHARE * seconds))
    validation_s, checkpoint_s = _validation_s(run), _checkpoint_s(run)
    per_step = step_s + checkpoint_s / training.checkpoint_interval
    if training.validation_interval:
        per_step += validation_s / training.validation_interval
    steps = torch.tensor([(seconds - validation_s - checkpoint_s) / per_step], device=run.device)
    run.group.share([steps])
    return max(1, int(steps))


def _step_s(run: TrainingRun, least_s: float) -> float:
    """Wall time of a step, s: the mean over at least ``LEAST_STEPS`` steps and ``least_s``."""
    most = run.config.training.steps + WARM_UP_STEPS + 1_000_000
    with run.loader(0, most) as loader:
        for step in range(WARM_UP_STEPS):
            float(run.step(step, loader.take()).loss)
        begin, step = time.perf_counter(), WARM_UP_STEPS
        going = torch.ones(1, device=run.device)
        while going:
            float(run.step(step, loader.take()).loss)
            step += 1
            done = step - WARM_UP_STEPS
            going.fill_(float(done < LEAST_STEPS or time.perf_counter() - begin < least_s))
            run.group.share([going])  # all processes take the same number of steps
        return (time.perf_counter() - begin) / done


def _validation_s(run: TrainingRun) -> float:
    begin = time.perf_counter()
    run.score()
    return time.perf_counter() - begin


def _checkpoint_s(run: TrainingRun) -> float:
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place), run.config.with_training(wandb=""))
        begin = time.perf_counter()
        folder.write_checkpoint(1, run.averaged_policy().state_dict(), run.config, {}, {}, run.state())
        wall = time.perf_counter() - begin
        folder.close()
    return wall
