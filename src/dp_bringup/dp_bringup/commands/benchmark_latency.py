"""`dp benchmark latency`: success, seams and jerk against added inference latency, for ways to execute chunks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_bringup.errors import CommandError
from dp_bringup.latency_benchmark.conditions import (
    DEFAULT_ADDED_MS,
    DEFAULT_METHODS,
    METHODS,
    Condition,
    Outcome,
    make_conditions,
)
from dp_bringup.results import add_json_argument, add_reference_argument, write_results

if TYPE_CHECKING:
    from dp_bringup.latency_benchmark.campaign import Campaign


def configure(latency: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    latency.add_argument(
        "--checkpoint",
        action="append",
        required=True,
        metavar="TASK=FOLDER",
        help="trained policy of a task; once for each task",
    )
    latency.add_argument("--tasks", help="only these of them (default: all)")
    latency.add_argument("--methods", default=DEFAULT_METHODS, help=f"of {', '.join(METHODS)} ({DEFAULT_METHODS})")
    latency.add_argument("--added", default=DEFAULT_ADDED_MS, help=f"latencies added, ms (default: {DEFAULT_ADDED_MS})")
    latency.add_argument("--jittered", default="400", help="latencies run with jitter too, ms; empty: none (400)")
    latency.add_argument("--jitter", type=int, default=50, help="half width of the uniform jitter, ms (default: 50)")
    latency.add_argument("--base", type=int, default=40, help="latency with nothing added, ms (default: 40)")
    latency.add_argument("--episodes", type=int, default=50, help="unseen starts per condition (default: 50)")
    latency.add_argument("--seed", type=int, default=0, help="offset into the seeds kept for evaluation (default: 0)")
    latency.add_argument("--parallel", type=int, default=2, help="processes; they change no figure (default: 2)")
    what = "of the engine: reference gives the same figures everywhere, auto the fast paths (default: reference)"
    latency.add_argument("--runtime", default="reference", help=what)
    add_reference_argument(latency)
    latency.add_argument("--dds", type=int, default=0, metavar="N", help="then N episodes of ours over DDS")
    latency.add_argument("--dds-added", default="0,400", help="latencies added there, ms (default: 0,400)")
    latency.add_argument("--cell", default="sim_franka", help="cell contract (default: sim_franka)")
    latency.add_argument("--out", type=Path, help="folder of outcomes, continued if it holds some (default: a new one)")
    add_json_argument(latency)


def run(args: argparse.Namespace) -> int:
    """Play what is missing, then write table, figure and JSON."""
    from dp_benchmark.plots import load_pyplot
    from dp_core.configuration import require_choice
    from dp_policy.runtime.selection import RUNTIMES
    from dp_sim.cameras import choose_backend

    from dp_bringup.episodes import FIRST_EVALUATION_SEED
    from dp_bringup.latency_benchmark.campaign import Campaign, Settings
    from dp_bringup.run_folder import new_run_folder, only_worker

    _check_numbers(args)
    checkpoints = read_checkpoints(args.checkpoint, _words(args.tasks or ""))
    conditions = make_conditions(
        checkpoints, _words(args.methods), _numbers(args.added), _numbers(args.jittered), args.jitter
    )
    load_pyplot()  # says what to install where matplotlib is missing
    require_choice("--runtime", args.runtime, RUNTIMES)
    settings = Settings(args.cell, args.base, args.runtime, check_checkpoints(checkpoints, args.cell))
    choose_backend()  # once, not in each process
    first = FIRST_EVALUATION_SEED + args.seed
    seeds = range(first, first + args.episodes)
    out = args.out or new_run_folder(Path("runs"))
    out.mkdir(parents=True, exist_ok=True)
    print(f"latency benchmark: {out}; {len(conditions)} conditions of {args.episodes} episodes", flush=True)
    with only_worker(out):
        campaign = Campaign(out, settings)
        done = campaign.load(conditions, seeds)
        try:
            _play(campaign, checkpoints, seeds, args.parallel, len(conditions) * args.episodes, done)
        except KeyboardInterrupt:
            print(f"\nto continue: the same command with --out {out}")
            raise
        summary = _write(out, campaign, args.episodes) | {"folder": str(out), "seed": args.seed, "code": campaign.code}
        rows = summary.pop("rows")
        if args.dds:
            rows += _play_over_dds(out, checkpoints, args, seeds[: args.dds])
        write_results(out / "results.json", "benchmark latency", rows, summary)
    write_results(args.json, "benchmark latency", rows, summary)
    return 0


def _check_numbers(args: argparse.Namespace) -> None:
    """Whatever would stop the DDS part, too, before hours of episodes."""
    if args.episodes < 1 or args.parallel < 1:
        raise CommandError(f"--episodes {args.episodes} and --parallel {args.parallel} must be positive")
    if args.base < 0 or args.seed < 0:
        raise CommandError(f"--base {args.base} and --seed {args.seed} must not be negative")
    if not 0 <= args.dds <= args.episodes:
        raise CommandError(f"--dds {args.dds} is not valid; valid: 0 to the number of --episodes, {args.episodes}")
    dds_added = _numbers(args.dds_added)
    if args.dds and (not dds_added or min(dds_added) < 0):
        raise CommandError(f"--dds-added {args.dds_added!r} is not valid; for example 0,400")


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in _words(text)]
    except ValueError:
        raise CommandError(f"{text!r} is no list of whole milliseconds, such as 0,200,400") from None


def read_checkpoints(given: list[str], tasks: list[str]) -> dict[str, Path]:
    """Task to checkpoint folder.

    Raises:
        CommandError: not TASK=FOLDER, a task named twice or without a checkpoint.
    """
    found: dict[str, Path] = {}
    for text in given:
        task, _, folder = text.partition("=")
        if not task or not folder or task in found:
            raise CommandError(f"--checkpoint {text} is not TASK=FOLDER, or its task is named twice")
        found[task] = Path(folder)
    missing = [task for task in tasks if task not in found]
    if missing:
        raise CommandError(f"--tasks {','.join(missing)}: no --checkpoint of it; given: {', '.join(found)}")
    return {task: found[task] for task in tasks} if tasks else found


def check_checkpoints(checkpoints: dict[str, Path], cell: str) -> dict[str, str]:
    """Task to policy id.

    Raises:
        CheckpointError: a folder that is no checkpoint.
        CommandError: a policy that was trained for another cell.
        UnknownTaskError: the simulated cell has no such task.
    """
    from dp_core.contract import Contract, contract_difference, load_contract
    from dp_policy.checkpoint import read_checkpoint_info
    from dp_sim.task import load_task

    contract = load_contract(cell)
    found = {}
    for task, folder in checkpoints.items():
        load_task(task)
        info = read_checkpoint_info(folder)
        if not info["contract"]:
            raise CommandError(f"{folder} carries no cell contract: it cannot drive a robot")
        difference = contract_difference(Contract.from_dict(info["contract"], source=str(folder)), contract)
        if difference:
            raise CommandError(f"{folder} was trained for another cell; {'; '.join(difference)}")
        found[task] = str(info["policy_id"])
    return found


def _play(
    campaign: Campaign, checkpoints: dict[str, Path], seeds: range, processes: int, total: int, done: int
) -> None:
    from dp_bringup.progress import bar

    with bar(total, "latency", "episode", initial=done) as shown:

        def on_episode(condition: Condition, outcome: Outcome) -> None:
            shown.set_postfix_str(f"{condition.name} {'success' if outcome.success else 'failure'}", refresh=False)
            shown.update()

        campaign.run(checkpoints, seeds, processes, on_episode)
    if campaign.walls_s:
        mean_s = sum(campaign.walls_s) / len(campaign.walls_s)
        print(f"{len(campaign.walls_s)} episodes, {mean_s:.2f} s each in one process")


def _play_over_dds(
    out: Path, checkpoints: dict[str, Path], args: argparse.Namespace, seeds: range
) -> list[dict[str, Any]]:
    """Some conditions of ours through the real nodes; a condition that is done is not run again."""
    from dp_benchmark.json_files import read_json, write_json

    from dp_bringup.latency_benchmark.real_graph import describe, play_over_dds
    from dp_bringup.progress import bar

    conditions = [Condition(task, "ours", added) for task in checkpoints for added in _numbers(args.dds_added)]
    rows = []
    with bar(len(conditions) * len(seeds), "over DDS", "episode") as shown:
        for condition in conditions:
            folder = out / "dds" / f"{condition.name}-{seeds.start}-{len(seeds)}"
            if not (folder / "row.json").is_file():
                checkpoint = checkpoints[condition.task]
                row = play_over_dds(folder, condition, checkpoint, args.cell, seeds, lambda _: shown.update())
                write_json(folder / "row.json", row)
            rows.append(read_json(folder / "row.json"))
            print(describe(rows[-1]), flush=True)
    return rows


def _write(out: Path, campaign: Campaign, episodes: int) -> dict[str, Any]:
    from dp_bringup.latency_benchmark.figures import plot_latency
    from dp_bringup.latency_benchmark.tables import latency_overview, latency_rows, latency_summary, latency_table

    rows, summary = latency_rows(campaign.outcomes), latency_summary(campaign.outcomes)
    table = f"{latency_overview(rows)}\n{latency_table(rows)}"
    (out / "table.md").write_text(table, encoding="utf-8")
    plot_latency(rows, out / "latency.png", f"Simulated cell, {episodes} unseen starts per condition")
    print(f"\n{table}\n{summary}\nwritten to {out}: table.md, latency.png, results.json, episodes/")
    return {"rows": rows, **summary}
