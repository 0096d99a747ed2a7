"""The arguments and the course of `dp bench soak`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dp_bringup.errors import CommandError
from dp_bringup.results import add_json_argument, write_results


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("checkpoint", type=Path, help="folder with model.safetensors and checkpoint.json")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default: 30)")
    parser.add_argument("--cell", default="sim_franka", help="cell contract (default: sim_franka)")
    parser.add_argument("--task", default="place", help="task of the cell (default: place)")
    parser.add_argument("--seed", type=int, default=0, help="offset into the seeds kept for evaluation (default: 0)")
    parser.add_argument("--keep", action="store_true", help="keep the recordings of episodes without fault too")
    parser.add_argument("--out", type=Path, help="folder of tables, figure and logs (default: a new one under runs/)")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Operate, judge, print and write; 1 when a limit was broken, 130 when Ctrl-C came before one was."""
    from dp_benchmark.plots import load_pyplot
    from dp_core.contract import load_contract
    from dp_sim.task import load_task

    from dp_bringup.progress import bar
    from dp_bringup.run_folder import new_run_folder, only_worker
    from dp_bringup.soak.operation import SoakRecord, SoakSettings, operate

    if not args.minutes > 0.0:
        raise CommandError(f"--minutes {args.minutes:g} is not valid; more than 0")
    if args.seed < 0:
        raise CommandError(f"--seed {args.seed} must not be negative: those are starts of demonstrations")
    if not (args.checkpoint / "checkpoint.json").is_file():
        raise CommandError(f"{args.checkpoint} is no checkpoint: it has no checkpoint.json")
    load_contract(args.cell)
    load_task(args.task)
    load_pyplot()  # says what to install where matplotlib is missing, half an hour before the picture
    out = args.out or new_run_folder(Path("runs"))
    out.mkdir(parents=True, exist_ok=True)
    print(f"soak: {out}; Ctrl-C ends it early and tells what there was", flush=True)
    settings = SoakSettings(args.checkpoint, args.minutes, args.cell, args.task, args.seed, args.keep)
    record = SoakRecord()
    with only_worker(out), bar(round(60.0 * args.minutes), "soak", "s") as shown:

        def on_progress(operated_s: float, episodes: int) -> None:
            missed = sum(len(audit.missed) for _, audit in record.episodes)
            shown.set_postfix(episodes=episodes, missed=missed, refresh=False)
            shown.update(min(round(operated_s), shown.total) - shown.n)

        operate(settings, out, record, on_progress)
    return report(record, settings.minutes, out, args.json)


def report(record: Any, minutes: float, out: Path, json_file: Path | None) -> int:
    """Print and write what a soak has found; returns the exit status."""
    from dp_bringup.soak.tables import plot_memory, soak_tables
    from dp_bringup.soak.verdict import judge, soak_figures, soak_rows, unexplained

    figures, rows = soak_figures(record), soak_rows(record)
    judgements = judge(figures, minutes)
    kept = all(judgement.kept for judgement in judgements)
    tables = soak_tables(judgements, rows, figures)
    (out / "table.md").write_text(tables, encoding="utf-8")
    summary = {**figures, "kept": kept, "limits": {j.what: j.limit for j in judgements}}
    write_results(out / "results.json", "bench soak", rows, summary)
    write_results(json_file, "bench soak", rows, summary)
    plot_memory(record.samples, out / "soak_memory.png")
    print(f"\n{tables}")
    for line in unexplained(rows):
        print(line)
    broken = [judgement.what for judgement in judgements if not judgement.kept]
    print(f"{'kept all limits' if kept else 'broken: ' + ', '.join(broken)}; written to {out}")
    if record.ended_early == "ended by Ctrl-C" and broken == ["duration"]:
        print("dp: interrupted", file=sys.stderr)
        return 130
    return 0 if kept else 1
