"""`dp bag info`: describe a recorded episode."""

from __future__ import annotations

import argparse
from pathlib import Path

from dp_bringup.results import add_json_argument, write_results

EXAMPLES = """examples:
  dp bag info runs/latest/demonstrations/episode_0001_place"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="info")
    info = actions.add_parser("info", help="topics, counts, outcome and verdict")
    info.add_argument("bag", type=Path, help="folder of the episode")
    add_json_argument(info)


def run(args: argparse.Namespace) -> int:
    """Print what the bag holds."""
    from dp_dataset.bag_reader import BagReader

    bag = BagReader(args.bag)
    episode = bag.episode
    keys = ("id", "task", "operator", "outcome", "verdict", "seed", "contract_hash", "duration_s", "state")
    print(f"{bag.path}{'' if bag.indexed else ' (not closed: read as a stream)'}")
    for key in keys:
        if key in episode:
            print(f"  {key}: {episode[key]}")
    rows = [
        {"topic": topic, "type": kind, "messages": bag.message_counts.get(topic, 0)}
        for topic, kind in sorted(bag.topics.items())
    ]
    for row in rows:
        print(f"  {row['messages']:7d} {row['topic']:36s} {row['type']}")
    write_results(args.json, "bag info", rows, {key: episode[key] for key in keys if key in episode})
    return 0
