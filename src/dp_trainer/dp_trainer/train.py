"""Training as one function: a store and a policy configuration in, a checkpoint folder out.

Started by ``accelerate launch`` in several processes it trains one policy in all of them: every process takes its
slice of each batch, and only the main process writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from dp_policy.config import PolicyConfig

from dp_trainer.data_checks import check_training_data
from dp_trainer.loop import TrainingDivergedError, TrainingLoop, TrainingProgress, git_revision
from dp_trainer.process_group import join_processes
from dp_trainer.resume import check_same_run, read_stored_run
from dp_trainer.run_folder import RunFolder, best_checkpoints, check_free, checkpoint_folders, read_training_state
from dp_trainer.training_run import TrainingRun
from dp_trainer.validation import ValidationScore
from dp_trainer.windows import TrainingData, load_training_data, resolve_config, split_episodes


@dataclass(frozen=True)
class TrainResult:
    """What a run hands back.

    Attributes:
        checkpoint: the last one, to deploy or resume.
        best: the one with the lowest validation action error, or None if none was scored.
        losses: per step run by this process.
        first_step: number of the first of them.
        samples_per_s: observations per second, over all processes.
        waiting_share: share of the time spent waiting for data.
        wall_s: time of the loop, validation and checkpoints included.
        validation: last score on held-out episodes, or None if there is none.
        interrupted: whether ``stop`` ended the run before its last step.
    """

    checkpoint: Path
    best: Path | None
    losses: list[float]
    first_step: int
    samples_per_s: float
    waiting_share: float
    wall_s: float
    validation: ValidationScore | None
    interrupted: bool = False


def train(
    store: str | Path | TrainingData,
    config: PolicyConfig,
    out_dir: str | Path,
    steps: int | None = None,
    seed: int = 0,
    progress: Callable[[TrainingProgress], None] | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train a policy.

    Sets the number of torch threads of the process to ``config.training.threads``.

    Args:
        store: training store of the dataset builder or Push-T replay buffer, or what was loaded of one.
        config: policy configuration; open cameras and image sizes are taken from the store.
        out_dir: folder for configuration, figures and checkpoints; one that all processes see.
        steps: overrides ``config.training.steps``.
        seed: of weights, order, noise, augmentation and the held-out split.
        progress: called after every step (on a GPU after every few), in the main process only.
        resume: continue from the newest checkpoint in ``out_dir``, to the same curve.
        stop: asked after every step; true ends the run with a checkpoint from which it can be resumed.

    Raises:
        TrainingDataError: the store is missing, damaged or does not fit the policy.
        TrainingDivergedError: loss or gradient is not finite; the last checkpoint stays.
        CheckpointError: nothing to resume from, or something of another version.
        RunFolderError: ``out_dir`` holds a run and ``resume`` is not asked for, the run to resume was another one,
            or a checkpoint cannot be written.
        FigureError: figures cannot be written, or W&B is asked for and missing.
        PolicyConfigError: ``steps`` is below 1.
        DeviceError: the device or compiler asked for is missing.
        ProcessGroupError: several processes were started and cannot train together.
    """
    out_dir = Path(out_dir)
    config = config.with_training(steps=steps) if steps is not None else config
    if not resume:
        check_free(out_dir)
    run = prepare_run(store, config, seed)
    first_step = 0
    if resume:
        check_same_run(read_stored_run(out_dir), run.config, run.data, seed)
        first_step, tensors, _ = read_training_state(out_dir)
        run.load_state(tensors)
    folder = RunFolder(out_dir, run.config, first_step) if run.group.is_main else None
    loop = TrainingLoop(run, folder, first_step, progress if run.group.is_main else None, stop)
    try:
        loop.run()
    finally:
        if folder is not None:
            folder.close()
    return _result(loop, out_dir)


def prepare_run(store: str | Path | TrainingData, config: PolicyConfig, seed: int) -> TrainingRun:
    """Join the other processes, load and check the data and build the networks; see :func:`train`."""
    torch.set_num_threads(config.training.threads)
    group, device = join_processes(config.training.device)

    def agree(answer: bool) -> bool:
        return group.all_agree(answer, device)

    data = store if isinstance(store, TrainingData) else load_training_data(store, config.observation, agree)
    config = resolve_config(config, data)
    episodes, _ = split_episodes(len(data.episode_ends), config.training.validation_fraction, seed)
    check_training_data(data, config, episodes)
    return TrainingRun(data, config, seed, group, device)


def _result(loop: TrainingLoop, out_dir: Path) -> TrainResult:
    state = loop.state
    newest, best = checkpoint_folders(out_dir)[-1:], best_checkpoints(out_dir)[:1]
    return TrainResult(
        checkpoint=loop.checkpoint or (newest[0] if newest else out_dir),
        best=best[0] if best else None,
        losses=loop.losses,
        first_step=loop.first_step,
        samples_per_s=state.samples_per_s,
        waiting_share=state.waiting_share,
        wall_s=state.elapsed_s,
        validation=loop.score,
        interrupted=loop.interrupted,
    )


__all__ = [
    "TrainResult",
    "TrainingDivergedError",
    "TrainingProgress",
    "git_revision",
    "prepare_run",
    "train",
]
