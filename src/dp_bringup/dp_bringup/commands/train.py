"""`dp train`: train a policy from a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from dp_bringup.results import add_json_argument, write_results

EXAMPLES = """examples:
  dp train runs/latest/place.zarr --out runs/place_small
  dp train runs/latest/place.zarr --out runs/place_small --steps 8000 --resume
  dp train runs/latest/place.zarr --out runs/place_paper --policy paper
Follow it with: tensorboard --logdir runs"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("store", type=Path, help="training store written by `dp dataset build`")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, figures and configuration")
    parser.add_argument("--policy", default="small", help="name in config/policies or a YAML file (default: small)")
    parser.add_argument("--steps", type=int, help="optimiser steps (default: as the policy file says)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and noise (default: 0)")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in --out")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Train with a progress bar, then say where the checkpoint is."""
    from dp_core.contract import config_directory
    from dp_policy.config import load_policy_config
    from dp_trainer.train import TrainingProgress, train

    from dp_bringup.progress import bar

    file = Path(args.policy)
    if file.suffix not in (".yaml", ".yml"):
        file = config_directory() / "policies" / f"{args.policy}.yaml"
    config = load_policy_config(file)
    total = args.steps if args.steps is not None else config.training.steps
    with bar(total, "train", "step") as shown:

        def progress(state: TrainingProgress) -> None:
            shown.set_postfix(loss=f"{state.loss:.4f}", refresh=False)
            shown.update(state.step - shown.n)

        result = train(args.store, config, args.out, total, args.seed, progress, args.resume)
    print(f"checkpoint: {result.checkpoint}")
    summary = {
        "checkpoint": str(result.checkpoint),
        "steps": total,
        "loss": sum(result.losses[-50:]) / max(1, len(result.losses[-50:])),
        "samples_per_s": result.samples_per_s,
        "wall_s": result.wall_s,
        "validation": vars(result.validation) if result.validation else None,
    }
    write_results(args.json, "train", [], summary)
    return 0
