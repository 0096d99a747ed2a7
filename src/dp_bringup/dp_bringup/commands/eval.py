"""`dp eval sim`: score a checkpoint in the simulated cell, through the real nodes."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

from dp_bringup.results import add_json_argument, write_results

EXAMPLES = """examples:
  dp eval sim runs/latest/checkpoint --task place --episodes 20
  dp eval sim runs/latest/checkpoint --task place --episodes 5 --seed 7 --json result.json"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="sim")
    sim = actions.add_parser("sim", help="on the simulated cell")
    sim.add_argument("checkpoint", type=Path, help="folder with model.safetensors and checkpoint.json")
    sim.add_argument("--cell", default="sim_franka", help="cell contract (default: sim_franka)")
    sim.add_argument("--task", default="place", help="task of the cell (default: place)")
    sim.add_argument("--episodes", type=int, default=20, help="how many unseen starts (default: 20)")
    sim.add_argument("--seed", type=int, default=0, help="offset into the seeds kept for evaluation (default: 0)")
    sim.add_argument("--rate", type=float, default=1.0, help="simulated seconds per second (default: 1, real time)")
    sim.add_argument("--out", type=Path, help="folder for recordings and logs (default: a new one under runs/)")
    add_json_argument(sim)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print one line for each episode and the summary."""
    from dp_bringup.episodes import FIRST_EVALUATION_SEED, EpisodeResult
    from dp_bringup.ledger import read_ledger
    from dp_bringup.progress import bar
    from dp_bringup.stages import evaluate_policy
    from dp_bringup.summary import describe_episodes, episode_figures

    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = args.out or Path("runs") / f"eval-{stamp}"
    results: list[EpisodeResult] = []
    with bar(args.episodes, "evaluate", "episode") as shown:

        def on_episode(result: EpisodeResult) -> None:
            results.append(result)
            shown.set_postfix(success=f"{sum(r.success for r in results)}/{len(results)}", refresh=False)
            shown.update()

        first = FIRST_EVALUATION_SEED + args.seed
        seeds = range(first, first + args.episodes)
        recordings = out / "rollouts"
        evaluate_policy(out, recordings, args.cell, args.task, args.checkpoint, seeds, on_episode, args.rate)
    print(describe_episodes(results))
    ledger = read_ledger(Path(result.path) for result in results).summary()
    write_results(args.json, "eval sim", [r.row() for r in results], {**episode_figures(results), "ledger": ledger})
    return 0
