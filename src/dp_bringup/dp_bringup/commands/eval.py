"""`dp eval sim`: score a checkpoint in the simulated cell, through the real nodes; `dp eval pusht`: on Push-T."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_bringup.errors import CommandError
from dp_bringup.results import add_json_argument, add_reference_argument, write_results

if TYPE_CHECKING:
    from dp_benchmark.evaluation import PushTScore
    from dp_benchmark.lockstep import EpisodeResult

EXAMPLES = """examples:
  dp eval sim runs/latest/checkpoint --task place --episodes 20
  dp eval sim runs/latest/checkpoint --task place --episodes 5 --seed 7 --json result.json
  dp eval pusht --checkpoint runs/pusht --episodes 100 --seed 0 --workers 2
  dp eval sim runs/latest/checkpoint --task place --runtime reference
  dp eval pusht --checkpoint runs/pusht --runtime auto --json fast.json
  dp eval pusht --checkpoint runs/pusht --episodes 4 --videos 4 --out runs/pusht_videos
  dp eval pusht --checkpoint runs/pusht --episodes 100 --sampler ddim --spacing trailing --inference-steps 4"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="sim|pusht")
    sim = actions.add_parser("sim", help="on the simulated cell")
    sim.add_argument("checkpoint", type=Path, help="folder with model.safetensors and checkpoint.json")
    sim.add_argument("--cell", default="sim_franka", help="cell contract (default: sim_franka)")
    sim.add_argument("--task", default="place", help="task of the cell (default: place)")
    sim.add_argument("--episodes", type=int, default=20, help="how many unseen starts (default: 20)")
    sim.add_argument("--seed", type=int, default=0, help="offset into the seeds kept for evaluation (default: 0)")
    sim.add_argument("--rate", type=float, default=1.0, help="simulated seconds per second (default: 1, real time)")
    sim.add_argument(
        "--runtime",
        default="auto",
        help="what runs the networks: auto or int8, measured at each start unless the checkpoint is an export, or "
        "reference, the plain path (default: auto)",
    )
    add_reference_argument(sim)
    sim.add_argument("--out", type=Path, help="folder for recordings and logs (default: a new one under runs/)")
    add_json_argument(sim)
    _configure_pusht(actions.add_parser("pusht", help="on Push-T (gym-pusht)"))


def _configure_pusht(pusht: argparse.ArgumentParser) -> None:
    pusht.add_argument("folder", nargs="?", type=Path, help="the checkpoint, as with --checkpoint")
    pusht.add_argument("--checkpoint", type=Path, help="checkpoint folder, or a training run: its newest checkpoint")
    pusht.add_argument("--episodes", type=int, default=100, help="how many unseen starts (default: 100)")
    pusht.add_argument("--seed", type=int, default=0, help="offset into the seeds kept for evaluation (default: 0)")
    pusht.add_argument("--workers", type=int, default=2, help="processes; they change no figure (default: 2)")
    pusht.add_argument("--max-steps", type=int, default=300, help="steps of 0.1 s per episode (default: 300)")
    pusht.add_argument("--videos", type=int, default=0, metavar="K", help="film the first K episodes (default: 0)")
    pusht.add_argument("--out", type=Path, help="folder for videos (default: a new one under runs/)")
    pusht.add_argument(
        "--runtime",
        default="reference",
        help="what runs the networks: reference, the plain path; published, as the paper's code does; auto or int8, as "
        "the engine does on a robot, measured at each start unless the checkpoint is an export (default: reference)",
    )
    add_reference_argument(pusht)
    pusht.add_argument("--device", default="cpu", help="torch device of the policy (default: cpu)")
    pusht.add_argument(
        "--last", type=int, metavar="N", help="score the last N checkpoints of a run (the paper's protocol: 10)"
    )
    add_sampling_arguments(pusht)
    add_json_argument(pusht)


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what changes how a trained policy draws its chunks."""
    parser.add_argument("--sampler", help="of a diffusion policy, for example ddpm or ddim (default: as trained)")
    parser.add_argument(
        "--inference-steps", type=int, metavar="N", help="network evaluations per chunk (ddpm takes all levels)"
    )
    parser.add_argument("--spacing", help="of the noise levels: trailing, leading or linspace")


def sampling_changes(args: argparse.Namespace) -> dict[str, Any]:
    """What was asked for of :func:`add_sampling_arguments`."""
    asked = {"sampler": args.sampler, "inference_steps": args.inference_steps, "spacing": args.spacing}
    return {key: value for key, value in asked.items() if value is not None}


def run(args: argparse.Namespace) -> int:
    """Evaluate and print one line for each episode and the summary."""
    return _run_pusht(args) if args.action == "pusht" else _run_sim(args)


def _run_sim(args: argparse.Namespace) -> int:
    from dp_policy.runtime.selection import RUNTIMES

    from dp_bringup.episodes import FIRST_EVALUATION_SEED
    from dp_bringup.episodes import EpisodeResult as CellEpisode
    from dp_bringup.ledger import age_figures, ledger_rows, read_ledger
    from dp_bringup.progress import bar
    from dp_bringup.stages import evaluate_policy
    from dp_bringup.summary import describe_episodes, episode_figures

    if args.runtime not in RUNTIMES:
        raise CommandError(f"--runtime {args.runtime!r} is not valid; valid: {', '.join(RUNTIMES)}")
    if args.episodes < 1:
        raise CommandError(f"--episodes {args.episodes} is not valid; at least 1")
    if args.seed < 0:
        raise CommandError(
            f"--seed {args.seed} is not valid; valid: 0 and above, counted from the starts kept for evaluation: "
            "those before are starts of demonstrations"
        )
    out = args.out or _new_folder()
    results: list[CellEpisode] = []
    with bar(args.episodes, "evaluate", "episode") as shown:

        def on_episode(result: CellEpisode) -> None:
            results.append(result)
            shown.set_postfix(success=f"{sum(r.success for r in results)}/{len(results)}", refresh=False)
            shown.update()

        first = FIRST_EVALUATION_SEED + args.seed
        seeds = range(first, first + args.episodes)
        recordings = out / "rollouts"
        evaluate_policy(
            out, recordings, args.cell, args.task, args.checkpoint, seeds, on_episode, args.rate, args.runtime
        )
    print(describe_episodes(results))
    ledger = read_ledger(Path(result.path) for result in results).summary()
    print("\n".join(f"{name}: {text}" for name, text in ledger_rows(ledger)))
    summary = {**episode_figures(results), **age_figures(ledger), "ledger": ledger}
    write_results(args.json, "eval sim", [r.row() for r in results], summary)
    return 0


def _run_pusht(args: argparse.Namespace) -> int:
    from dp_benchmark.evaluation import checkpoint_figures
    from dp_benchmark.policies import find_checkpoint, last_checkpoints

    if (args.folder is None) == (args.checkpoint is None):
        raise CommandError("name one checkpoint: dp eval pusht --checkpoint FOLDER")
    place = args.checkpoint or args.folder
    videos = (args.out or _new_folder()) / "videos" if args.videos else None
    if args.last is None:
        score = _score_pusht(args, find_checkpoint(place), videos)
        write_results(args.json, "eval pusht", [episode.row() for episode in score.episodes], score.summary())
    else:
        scores = [_score_pusht(args, checkpoint, videos) for checkpoint in last_checkpoints(place, args.last)]
        figures = checkpoint_figures(scores)
        print(
            f"score of the paper over {args.last} checkpoints, best / mean: "
            f"{figures['max_score']:.3f} / {figures['mean_score']:.3f}; "
            f"success {figures['max_success']:.2f} / {figures['mean_success']:.2f}"
        )
        summary = {**scores[-1].summary(), **figures}  # plain keys: the newest checkpoint's, as without --last
        write_results(args.json, "eval pusht", [score.summary() for score in scores], summary)
    if videos:
        print(f"videos: {videos}")
    return 0


def _score_pusht(args: argparse.Namespace, checkpoint: Path, videos: Path | None) -> PushTScore:
    """Evaluate one checkpoint and print its figures."""
    from dp_benchmark.evaluation import evaluate_pusht

    print(f"checkpoint: {checkpoint}", flush=True)
    folder = videos / checkpoint.name if videos and args.last is not None else videos
    with EpisodeBar("evaluate") as watcher:
        score = evaluate_pusht(
            checkpoint,
            args.episodes,
            args.seed,
            args.workers,
            max_steps=args.max_steps,
            sampling=sampling_changes(args),
            videos=args.videos,
            video_folder=folder,
            watcher=watcher,
            device=args.device,
            runtime=args.runtime,
        )
    print(describe_pusht(score.summary()), flush=True)
    return score


class EpisodeBar:
    """Progress bar of a Push-T evaluation, from the moment that everything is checked and loaded."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar: Any = None
        self._solved = 0

    def __enter__(self) -> EpisodeBar:
        return self

    def __exit__(self, *reason: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, episodes: int) -> None:
        """Show the bar."""
        from dp_bringup.progress import bar

        self._bar = bar(episodes, self._what, "episode")

    def episode(self, result: EpisodeResult) -> None:
        """Count an episode."""
        self._solved += result.success
        self._bar.set_postfix(success=f"{self._solved}/{self._bar.n + 1}", refresh=False)
        self._bar.update()


def describe_pusht(figures: dict[str, Any]) -> str:
    """The summary of a Push-T evaluation in three lines."""
    low, high = figures["success_interval"]
    coverage_low, coverage_high = figures["mean_max_coverage_interval"]
    score_low, score_high = figures["score_interval"]
    return (
        f"success (coverage >= 0.95) {figures['successes']}/{figures['episodes']} = {figures['success']:.0%} "
        f"(95 % interval {low:.0%} to {high:.0%})\n"
        f"mean of maximum coverage {figures['mean_max_coverage']:.3f} ({coverage_low:.3f} to {coverage_high:.3f}); "
        f"score of the paper {figures['score']:.3f} ({score_low:.3f} to {score_high:.3f})\n"
        f"{figures['evaluations_per_chunk']} network evaluations and {figures['chunk_ms_p50']:.1f} ms per chunk "
        f"(one thread); {figures['mean_steps']:.0f} steps per episode; {figures['wall_s']:.0f} s for all"
    )


def _new_folder() -> Path:
    return Path("runs") / f"eval-{datetime.datetime.now().strftime('%Y%m%d-%H%M%S')}"
