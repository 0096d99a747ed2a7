"""`dp bench policy`: ms per chunk as published and by the engine, with what it costs in memory and accuracy."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_bringup.errors import CommandError
from dp_bringup.results import add_json_argument, add_reference_argument, write_results

if TYPE_CHECKING:
    from dp_bringup.policy_bench.cases import Network
    from dp_bringup.policy_bench.measure import Timing

DESCRIPTION = """Time one chunk, from images to actions. Each network runs as published (float32, Conv1d, every frame of
the window encoded, diffusers' loop) and by the engine, in processes of their own that take turns; same weights, sampler
and noise, and the largest difference of the chunks is told. Without a checkpoint: two 240x320 cameras cropped to
216x288, ResNet-18, U-Net [256, 512, 1024] with DDIM 16, 8, 4, 2 and flow 4, 2, and the small policy; their weights are
untrained and scaled so that chunks look like chunks. Keep the machine quiet meanwhile."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--checkpoint", type=Path, help="a trained policy instead of the built-in networks")
    parser.add_argument("--threads", default="1,2", help="processor threads, each measured by itself (default: 1,2)")
    parser.add_argument("--rounds", type=int, help="turns of each way in each case (default: 8, quick: 2)")
    parser.add_argument("--runtime", default="auto", help="of the engine: auto, int8 or reference (default: auto)")
    add_reference_argument(parser)
    parser.add_argument("--quick", action="store_true", help="fewer cases and rounds, one thread: a rough look")
    parser.add_argument("--out", type=Path, help="folder of the tables (default: a new one under runs/)")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from dp_bringup.policy_bench.measure import measure, summarise
    from dp_bringup.progress import bar
    from dp_bringup.run_folder import new_run_folder, only_worker

    timing = _timing(args)
    with tempfile.TemporaryDirectory(prefix="dp_bench_") as scratch:
        networks = _networks(args, Path(scratch))
        out = args.out or new_run_folder(Path("runs"))
        out.mkdir(parents=True, exist_ok=True)
        print(f"policy bench: {out}", flush=True)
        with only_worker(out), bar(timing.turns(networks), "policy", "turn") as shown:

            def on_turn(what: str) -> None:
                shown.set_postfix_str(what, refresh=False)
                shown.update()

            def keep(rows: list[dict[str, Any]]) -> None:
                _write(rows, summarise(rows), out)

            rows = measure(networks, timing, on_turn, keep)
    summary = summarise(rows)
    write_results(args.json, "bench policy", rows, summary)
    print(f"\n{(out / 'table.md').read_text(encoding='utf-8')}")
    for key, value in summary.items():
        print(f"{key}: {'not measured' if value is None else f'{value:.4g}'}")
    print(f"written to {out}: table.md and results.json")
    return 0


def _timing(args: argparse.Namespace) -> Timing:
    """How long is measured, checked."""
    from dp_policy.runtime.selection import RUNTIMES

    from dp_bringup.policy_bench.measure import Timing

    rounds = args.rounds if args.rounds is not None else (2 if args.quick else 8)
    if rounds < 1:
        raise CommandError(f"--rounds {rounds} is not valid; at least 1")
    if args.runtime not in RUNTIMES:
        raise CommandError(f"--runtime {args.runtime!r} is not valid; valid: {', '.join(RUNTIMES)}")
    asked = "1" if args.quick and args.threads == "1,2" else args.threads
    parts = [part.strip() for part in asked.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise CommandError(f"--threads {args.threads!r} is not valid; valid: numbers from 1 on, for example 1,2")
    threads = tuple(dict.fromkeys(int(part) for part in parts))
    return Timing(rounds, 0.2 if args.quick else 1.0, threads=threads, runtime=args.runtime)


def _networks(args: argparse.Namespace, scratch: Path) -> list[Network]:
    from dp_bringup.policy_bench.cases import trained_network, untrained_networks

    if args.checkpoint is None:
        return untrained_networks(scratch, args.quick)
    from dp_benchmark.policies import find_checkpoint
    from dp_policy.checkpoint import load_checkpoint

    folder = find_checkpoint(args.checkpoint)
    return [trained_network(folder, load_checkpoint(folder).config, args.quick)]


def _write(rows: list[dict[str, Any]], summary: dict[str, Any], out: Path) -> None:
    """Tables and figures in the folder, also of a bench that does not come to its end."""
    from dp_bringup.policy_bench.tables import all_tables

    (out / "table.md").write_text(all_tables(rows), encoding="utf-8")
    write_results(out / "results.json", "bench policy", rows, summary)
