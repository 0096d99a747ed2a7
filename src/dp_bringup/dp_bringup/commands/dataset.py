"""`dp dataset build` and `dp dataset info`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dp_bringup.results import add_json_argument, write_results

EXAMPLES = """examples:
  dp dataset build runs/latest/demonstrations --out runs/latest/place.zarr
  dp dataset build a/bags b/bags --out both.zarr --outcome success --outcome failure
  dp dataset build runs/recordings --cell my_cell.yaml --out aligned.zarr   # calibrated after recording
  dp dataset info runs/latest/place.zarr"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of both."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|info")
    build = actions.add_parser("build", help="align bags and write them as a store")
    build.add_argument("bags", type=Path, nargs="+", help="folders that hold episodes, at any depth")
    build.add_argument("--out", type=Path, required=True, help="folder of the store, for example place.zarr")
    what = "contract that the bags must agree with, but for latencies: its own hold (default: the one they carry)"
    build.add_argument("--cell", help=what)
    build.add_argument("--outcome", action="append", help="labels of the episodes to take (default: success)")
    build.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    add_json_argument(build)
    info = actions.add_parser("info", help="describe a store")
    info.add_argument("store", type=Path)
    add_json_argument(info)


def run(args: argparse.Namespace) -> int:
    """Build or describe."""
    return _build(args) if args.action == "build" else _info(args)


def _build(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from dp_core.contract import load_contract
    from dp_dataset.build import EpisodeRow, build_store, find_bags

    from dp_bringup.errors import CommandError
    from dp_bringup.progress import bar

    bags = [bag for folder in args.bags for bag in find_bags(folder)]
    if not bags:
        raise CommandError(f"no bags below {', '.join(map(str, args.bags))}")
    contract = load_contract(args.cell) if args.cell else None
    with bar(len(bags), "align", "bag") as shown:

        def progress(done: int, total: int, row: EpisodeRow) -> None:
            shown.update(done - shown.n)

        outcomes = tuple(args.outcome or ("success",))
        summary = build_store(bags, args.out, contract, outcomes, workers=args.workers, progress=progress)
    for row in summary.rows:
        what = f"rejected: {row.rejected}" if row.rejected else f"{row.steps:5d} steps {row.valid_share:6.1%} valid"
        print(f"{row.id:32s} {row.outcome:10s} {row.verdict:8s} {what}{' (reused)' if row.reused else ''}")
    print(f"{summary.path}: {summary.episodes} episodes, {summary.steps} steps in {summary.wall_s:.1f} s")
    figures = {
        "episodes": summary.episodes,
        "steps": summary.steps,
        "contract_hash": summary.contract_hash,
        "wall_s": summary.wall_s,
    }
    write_results(args.json, "dataset build", [asdict(row) for row in summary.rows], figures)
    return 0


def _info(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from dp_dataset.store import open_store

    store = open_store(args.store)
    steps = int(store.episode_ends[-1])
    print(f"{args.store}: {len(store.episodes)} episodes, {steps} steps at {store.rate_hz:g} Hz")
    print(f"cell {store.contract.name}, contract {store.contract_hash}")
    for name, image in store.images.items():
        print(f"camera {name}: {image.shape[2]}x{image.shape[1]}")
    for entry in store.episodes:
        counts = f"{entry.steps:5d} steps, {entry.valid_steps} valid"
        print(f"  {entry.id:32s} {entry.outcome:10s} {counts}, seed {entry.seed}")
    summary = {"episodes": len(store.episodes), "steps": steps, "contract_hash": store.contract_hash}
    write_results(args.json, "dataset info", [asdict(entry) for entry in store.episodes], summary)
    return 0
