"""`dp train`: train a policy from a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_bringup.results import add_json_argument, write_results

if TYPE_CHECKING:
    from dp_policy.config import PolicyConfig
    from dp_trainer.train import TrainResult

EXAMPLES = """examples:
  dp train runs/latest/place.zarr --out runs/place_small
  dp train runs/latest/place.zarr --out runs/place_small --resume             go on after a stop, to the same curve
  dp train runs/latest/place.zarr --out runs/place_small --resume --steps 8000
  dp train pusht_cchi_v7_replay.zarr --policy pusht/diffusion --minutes 15 --out runs/pusht
  dp train pusht_cchi_v7_replay.zarr --policy pusht/diffusion --out runs/big \\
      --set training.batch_size=128 denoiser.sizes=[256,512,1024] training.precision=amp

several GPUs, or several machines that see the same folders (Hugging Face Accelerate):
  accelerate launch --multi_gpu --num_processes 4 -m dp_bringup.cli train STORE --out runs/big --policy paper
  accelerate launch --multi_gpu --num_machines 2 --num_processes 8 --machine_rank 0 --main_process_ip HOST \\
      --main_process_port 29500 -m dp_bringup.cli train STORE --out runs/big --policy paper
The first line also starts several processes on a processor without GPUs (--cpu would start only one).
training.batch_size is that of all processes together: their number does not change the result.

what a run leaves in --out:
  config.yaml, losses.jsonl, tensorboard/, checkpoints/last (resumable), checkpoints/best (lowest validation error)
Follow it with: tensorboard --logdir runs      Weights & Biases: --set training.wandb=PROJECT
Ctrl-C ends after the step in work and leaves a checkpoint; a second one ends at once."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("store", type=Path, help="training store of `dp dataset build`, or a Push-T replay buffer")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, figures and configuration")
    parser.add_argument(
        "--policy", help="name in config/policies or a YAML file (default: small; with --resume that of the run)"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change values of the policy file, e.g. training.batch_size=128 action.horizon=32",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="optimiser steps (default: as the policy file says)")
    length.add_argument(
        "--minutes",
        type=float,
        help="as many steps as fit into this time, measured before training, so that the learning rate's fall fits",
    )
    parser.add_argument(
        "--seed", type=int, help="seed of weights, order and noise (default: 0; with --resume that of the run)"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in --out")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Train with a progress bar, then say where the checkpoints are."""
    from dp_trainer.process_group import is_main_process
    from dp_trainer.train import TrainingProgress, train

    from dp_bringup.progress import bar
    from dp_bringup.stop_request import StopRequest

    config, seed, done = _plan(args)
    total = config.training.steps
    with bar(total, "train", "step", done, shown=is_main_process()) as shown:

        def progress(state: TrainingProgress) -> None:
            shown.set_postfix(
                loss=f"{state.loss:.4f}",
                samples_per_s=f"{state.samples_per_s:.0f}",
                waiting=f"{state.waiting_share:.1%}",
                refresh=False,
            )
            shown.update(state.step - shown.n)

        notice = "ending after this step; Ctrl-C again ends at once" if is_main_process() else ""
        with StopRequest(notice) as stop:
            result = train(args.store, config, args.out, total, seed, progress, args.resume, stop)
    if is_main_process():
        _report(args, config, seed, result)
    return 130 if result.interrupted else 0


def _plan(args: argparse.Namespace) -> tuple[PolicyConfig, int, int]:
    """Configuration with its steps fixed, seed, and steps done.

    With --resume they are those of the run where nothing else is asked for.
    """
    from dp_policy.overrides import override
    from dp_trainer.resume import read_stored_run

    from dp_bringup.errors import CommandError

    if args.seed is not None and args.seed < 0:
        raise CommandError(f"--seed {args.seed} is not valid; it must be 0 or more")
    if not args.resume:
        config = override(_policy_file(args.policy or "small"), args.set)
        return _with_length(args, config), args.seed or 0, 0
    if args.minutes is not None:
        raise CommandError("--minutes fixes the steps when a run begins; with --resume use --steps to change them")
    stored = read_stored_run(args.out)
    base = stored.config if args.policy is None else _policy_file(args.policy)
    steps = args.steps if args.steps is not None else stored.config.training.steps
    config = override(base.with_training(steps=steps), args.set)
    return config, stored.seed if args.seed is None else args.seed, stored.step


def _policy_file(name: str) -> PolicyConfig:
    from dp_core.contract import config_directory
    from dp_policy.config import load_policy_config

    file = Path(name)
    if file.suffix not in (".yaml", ".yml"):
        file = config_directory() / "policies" / f"{name}.yaml"
    return load_policy_config(file)


def _with_length(args: argparse.Namespace, config: PolicyConfig) -> PolicyConfig:
    """The configuration with the steps that --steps or --minutes ask for."""
    if args.steps is not None:
        return config.with_training(steps=args.steps)
    if args.minutes is None:
        return config
    from dp_trainer.budget import steps_for_budget
    from dp_trainer.process_group import is_main_process
    from dp_trainer.run_folder import check_free

    check_free(args.out)
    steps = steps_for_budget(args.store, config, args.minutes * 60, args.seed or 0)
    if is_main_process():
        print(f"{steps} steps fit into {args.minutes:g} min", flush=True)
    return config.with_training(steps=steps)


def _report(args: argparse.Namespace, config: PolicyConfig, seed: int, result: TrainResult) -> None:
    print(f"{result.samples_per_s:.0f} samples/s, {result.waiting_share:.1%} of the time waiting for data")
    print(f"checkpoint: {result.checkpoint}")
    if result.best is not None:
        print(f"best by validation: {result.best}")
    if result.interrupted:
        print(f"interrupted: go on with `dp train {args.store} --out {args.out} --resume`")
    write_results(args.json, "train", [], _summary(config, seed, result))


def _summary(config: PolicyConfig, seed: int, result: TrainResult) -> dict[str, Any]:
    from dp_trainer.process_group import process_count

    tail = result.losses[-50:]
    return {
        "checkpoint": str(result.checkpoint),
        "best": str(result.best) if result.best else None,
        "policy": config.name,
        "steps": config.training.steps,
        "steps_done": result.first_step + len(result.losses),
        "seed": seed,
        "processes": process_count(),
        "loss": sum(tail) / len(tail) if tail else None,
        "samples_per_s": result.samples_per_s,
        "waiting_share": result.waiting_share,
        "wall_s": result.wall_s,
        "interrupted": result.interrupted,
        "validation": vars(result.validation) if result.validation else None,
    }
