"""`dp bag thumb`."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from dp_recorder.bag_tools.bag_folders import find_bags
from dp_recorder.bag_tools.picture_layout import ThumbSettings
from dp_recorder.bag_tools.thumbnails import Thumbnails, make_thumbnails

from dp_bringup.bag_commands.batch import for_each_bag
from dp_bringup.results import write_results


def picture_bags(args: argparse.Namespace) -> int:
    """Make the pictures of each bag; returns 1 if one has none."""
    settings = ThumbSettings(args.times, args.height, not args.no_film, args.rate)
    folders = find_bags(args.bags)
    names = Counter(folder.name for folder in folders)

    def picture(folder: Path, on_progress: Callable[[int], None]) -> Thumbnails:
        # Episodes of several sessions have the same names.
        unique = folder.name if names[folder.name] == 1 else f"{folder.resolve().parent.name}_{folder.name}"
        stem = folder / folder.name if args.out is None else args.out / unique
        return make_thumbnails(folder, stem, settings, on_progress)

    done, problems = for_each_bag(folders, "thumb", picture)
    for made in done:
        print(f"{made.sheet}{f' and {made.film}' if made.film else ''}: {len(made.cameras)} cameras")
        for text in made.problems:
            print(f"  left out: {text}")
    write_results(args.json, "bag thumb", [dataclasses.asdict(made) for made in done], {"refused": problems})
    return 1 if problems else 0
