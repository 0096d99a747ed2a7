"""`dp bag ls` and `dp bag info`."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections import Counter
from datetime import UTC, datetime

from dp_recorder.bag_tools.bag_folders import find_bags
from dp_recorder.bag_tools.description import BagDescription, describe_bag
from dp_recorder.bag_tools.listing import SORT_KEYS, ListedBag, list_bag, select

from dp_bringup.bag_commands.batch import for_each_bag, size_text, table
from dp_bringup.results import write_results

_EPISODE_KEYS = ("id", "state", "task", "operator", "outcome", "note", "verdict", "reasons", "seed", "software_version")


def list_bags(args: argparse.Namespace) -> int:
    """Print the list and its totals."""
    everything = [list_bag(folder) for folder in find_bags(args.bags, discarded=True)]
    chosen = select(everything, outcomes=args.outcome, verdicts=args.verdict, states=args.state, task=args.task)
    chosen.sort(key=SORT_KEYS[args.sort], reverse=args.reverse)
    header = ("id", "task", "outcome", "verdict", "duration", "size", "state", "operator")
    # Sessions number their episodes alike: only the folder tells them apart.
    parents = {str(bag.folder.parent) for bag in chosen}
    root = os.path.commonpath(parents) if len(parents) > 1 else None
    rows = [_cells(bag, bag.id if root is None else os.path.relpath(bag.folder, root)) for bag in chosen]
    print("\n".join(table(header, rows, (False, False, False, False, True, True, False, False))))
    outcomes, verdicts = Counter(bag.outcome for bag in chosen), Counter(bag.verdict for bag in chosen)
    duration_s, size_bytes = sum(bag.duration_s for bag in chosen), sum(bag.size_bytes for bag in chosen)
    print(
        f"{len(chosen)} of {len(everything)} episodes, {duration_s / 60:.1f} min, {size_text(size_bytes)}; "
        f"outcome: {_counted(outcomes)}; verdict: {_counted(verdicts)}"
    )
    killed = [bag for bag in chosen if bag.state == "killed"]
    if killed:
        print(f"{len(killed)} were cut off; to restore them: dp bag repair {killed[0].folder}")
    totals: dict[str, object] = {"episodes": len(chosen), "duration_s": duration_s, "size_bytes": size_bytes}
    totals |= {"outcomes": dict(outcomes), "verdicts": dict(verdicts)}
    write_results(args.json, "bag ls", [dataclasses.asdict(bag) for bag in chosen], totals)
    return 0


def _cells(bag: ListedBag, name: str) -> tuple[str, ...]:
    return (
        name,
        bag.task or "-",
        bag.outcome or "-",
        bag.verdict or "-",
        f"{bag.duration_s:.1f} s",
        size_text(bag.size_bytes),
        bag.state,
        bag.operator or "-",
    )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name or 'none'}" for name, count in counts.most_common()) or "none"


def show_bags(args: argparse.Namespace) -> int:
    """Print everything that the bags say of themselves."""
    described, problems = for_each_bag(find_bags(args.bags), "read", describe_bag)
    for bag in described:
        _print_description(bag, args.types)
    rows = [{"bag": str(bag.path), **row} for bag in described for row in bag.topics]
    summary = {
        str(bag.path): {
            "whole": bag.whole,
            "contract_name": bag.contract_name,
            "size_bytes": bag.size_bytes,
            "start_ns": bag.start_ns,
            "duration_s": bag.duration_s,
            "message_count": bag.message_count,
            **{key: bag.episode[key] for key in (*_EPISODE_KEYS, "contract_hash") if key in bag.episode},
        }
        for bag in described
    }
    write_results(args.json, "bag info", rows, summary)
    return 1 if problems else 0


def _print_description(bag: BagDescription, with_types: bool) -> None:
    begun = datetime.fromtimestamp(bag.start_ns / 1e9, UTC).isoformat(sep=" ", timespec="milliseconds")
    print(f"{bag.path}{'' if bag.whole else ' (not closed: read as a stream)'}")
    print(f"  size: {size_text(bag.size_bytes)}, {bag.message_count} messages")
    print(f"  span: {bag.duration_s:.3f} s from {begun} ({bag.start_ns} ns)")
    for key in _EPISODE_KEYS:
        value = bag.episode.get(key)
        if value not in (None, "", []):
            print(f"  {key}: {'; '.join(value) if isinstance(value, list) else value}")
    if bag.episode:
        print(f"  contract: {bag.contract_name or 'none'} ({bag.episode.get('contract_hash', 'no hash')})")
    header = ("topic", "type", "messages", "rate", "data", "qos", *(("type hash",) if with_types else ()))
    rows = [
        (
            row["topic"],
            row["type"],
            str(row["messages"]),
            f"{row['rate_hz']:.2f} Hz",
            size_text(row["bytes"]),
            row["qos"] or "-",
            *((row["type_hash"] or "-",) if with_types else ()),
        )
        for row in bag.topics
    ]
    right = (False, False, True, True, True, False, *((False,) if with_types else ()))
    print("\n".join(f"  {line}" for line in table(header, rows, right)))
