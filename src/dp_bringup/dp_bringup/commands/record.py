"""`dp record`: record demonstrations with the scripted operator."""

from __future__ import annotations

import argparse
from pathlib import Path

from dp_bringup.results import add_json_argument, write_results

EXAMPLES = """examples:
  dp record --task place --episodes 50 --out runs/place_demonstrations
  dp record --task reach_around --episodes 20 --seed 100 --out runs/more
For a person at a SpaceMouse: dp up teleop --operator false"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--cell", default="sim_franka", help="cell contract (default: sim_franka)")
    parser.add_argument("--task", default="place", help="task of the cell (default: place)")
    parser.add_argument("--episodes", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first scene; then one more each (default: 0)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the episodes")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Record and print one line for each episode."""
    from dp_bringup.episodes import EpisodeResult
    from dp_bringup.progress import bar
    from dp_bringup.stages import record_demonstrations
    from dp_bringup.summary import describe_episodes, episode_figures

    results: list[EpisodeResult] = []
    with bar(args.episodes, "record", "episode") as shown:

        def on_episode(result: EpisodeResult) -> None:
            results.append(result)
            shown.set_postfix(success=f"{sum(r.success for r in results)}/{len(results)}", refresh=False)
            shown.update()

        seeds = range(args.seed, args.seed + args.episodes)
        record_demonstrations(args.out / "session", args.out, args.cell, args.task, seeds, on_episode)
    print(describe_episodes(results))
    write_results(args.json, "record", [r.row() for r in results], episode_figures(results))
    return 0
