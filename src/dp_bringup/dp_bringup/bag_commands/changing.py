"""`dp bag repair`, `dp bag label` and `dp bag trim`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

from dp_recorder.bag_tools.bag_folders import find_bags
from dp_recorder.bag_tools.labelling import Label, label_episode, read_labels
from dp_recorder.bag_tools.repairing import REPAIRABLE, Repair, repair_bag
from dp_recorder.bag_tools.trimming import Trim, trim_bag

from dp_bringup.bag_commands.batch import for_each_bag
from dp_bringup.errors import CommandError
from dp_bringup.results import write_results

OnProgress = Callable[[int], None]


def repair_bags(args: argparse.Namespace) -> int:
    """Repair what needs it; returns 1 if something could not be, or with --dry-run if something needs it."""

    def repair(folder: Path, on_progress: OnProgress) -> Repair:
        return repair_bag(folder, backup=not args.no_backup, dry_run=args.dry_run, on_progress=on_progress)

    done, problems = for_each_bag(find_bags(args.bags, discarded=True), "repair", repair, passes=2)
    counts: dict[str, int] = {}
    for result in done:
        counts[result.state] = counts.get(result.state, 0) + 1
        if not result.problems:
            continue
        kept = f"{result.message_count} messages, {result.duration_s:.2f} s"
        print(f"{result.folder}: {result.state}, {kept}{', verdict ' + result.verdict if result.verdict else ''}")
        for text in result.problems:
            print(f"  found: {text}")
        for text in result.lost:
            print(f"  lost: {text}")
        if result.backup is not None:
            print(f"  the old file is kept as {result.backup}")
    print(", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing repaired")
    write_results(args.json, "bag repair", [dataclasses.asdict(r) for r in done], {**counts, "refused": problems})
    return 1 if problems or (args.dry_run and counts.get(REPAIRABLE)) else 0


def label_bags(args: argparse.Namespace) -> int:
    """Label episodes, all alike or each by a line of a CSV file; returns 1 if one could not be."""
    folders = find_bags(args.bags, discarded=True)
    common = Label(outcome=args.outcome or "", note=args.note or "", task=args.task or "")
    if (common == Label()) == (args.csv is None):
        raise CommandError("say either what to set (--outcome, --note, --task) or a list (--csv FILE)")
    labels = {folder.name: common for folder in folders}
    if args.csv is not None:
        labels = read_labels(args.csv)
        missing = sorted(labels.keys() - {folder.name for folder in folders})
        if missing:
            raise CommandError(f"{args.csv} names {', '.join(missing)}, not found in {', '.join(map(str, args.bags))}")
    chosen = [folder for folder in folders if folder.name in labels]

    def label(folder: Path, on_progress: OnProgress) -> Path:
        return label_episode(folder, labels[folder.name])

    placed, problems = for_each_bag(chosen, "label", label, passes=0)
    for folder in placed:
        print(f"labelled {folder}")
    return 1 if problems else 0


def trim_bags(args: argparse.Namespace) -> int:
    """Cut each bag; returns 1 if one could not be."""
    if args.auto == (args.start is not None or args.end is not None):
        raise CommandError("say what to keep: --start and --end, or --auto, not both")
    if args.in_place and args.out is not None:
        raise CommandError("--in-place puts nothing into --out; give one of them")

    def trim(folder: Path, on_progress: OnProgress) -> Trim:
        return trim_bag(
            folder,
            start_s=args.start,
            end_s=args.end,
            auto=args.auto,
            out=args.out,
            in_place=args.in_place,
            on_progress=on_progress,
        )

    done, problems = for_each_bag(find_bags(args.bags), "trim", trim, passes=2)
    for result in done:
        kept = f"{result.start_s:.2f} s to {result.end_s:.2f} s, {result.message_count} messages"
        print(f"{result.folder}: {kept}{', verdict ' + result.verdict if result.verdict else ''}")
    write_results(args.json, "bag trim", [dataclasses.asdict(r) for r in done], {"refused": problems})
    return 1 if problems else 0
