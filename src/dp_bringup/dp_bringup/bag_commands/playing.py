"""`dp bag play`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import rclpy
from dp_dataset.bag_reader import BagReader
from dp_recorder.bag_tools.bag_folders import find_bags
from dp_recorder.bag_tools.play_selection import PlayFilter, select_topics
from dp_recorder.bag_tools.playback import LATE_S, BagPlayer, PlayResult, PlaySettings
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from dp_bringup.bag_commands.play_keys import PlayKeys
from dp_bringup.errors import CommandError
from dp_bringup.progress import bar
from dp_bringup.results import write_results

#: So long a reliable publisher gets to hand over what it has sent before it goes, s.
_HAND_OVER_S = 0.5
#: So long a live cell is looked for before anything is published, s.
_LOOK_AROUND_S = 0.5


def play_bags(args: argparse.Namespace) -> int:
    """Play the bags one after the other; returns 1 if a message could not be published or nobody came."""
    folders = find_bags(args.bags)
    wanted = PlayFilter(
        topics=args.topics or (),
        exclude=args.exclude or (),
        remap=dict(_remapping(text) for text in args.remap or ()),
        namespace=args.namespace,
        with_commands=args.with_commands,
        raw_images=args.raw_images,
        clock=args.clock > 0,
    )
    settings = PlaySettings(args.rate, args.start, args.duration, args.loop, args.clock, args.pause)
    if args.loop and len(folders) > 1:
        raise CommandError(f"--loop plays one bag, not {len(folders)}")
    status, rows = 0, []
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = Node("bag_player", start_parameter_services=False, enable_rosout=False)
        try:
            for folder in folders:
                result, unheard = _play(node, BagReader(folder), wanted, settings, args.wait)
                status |= _report(result, unheard)
                rows.append({"bag": str(folder), **vars(result), "unheard": unheard})
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()
    write_results(args.json, "bag play", rows, {"late_s": LATE_S})
    return status


def _play(
    node: Node, bag: BagReader, wanted: PlayFilter, settings: PlaySettings, wait_s: float | None
) -> tuple[PlayResult, list[str]]:
    topics, refused = select_topics(bag.topic_details, wanted)
    if refused:
        print(f"left out, for they may move a robot (--with-commands plays them): {', '.join(refused)}")
    player = BagPlayer(node, bag, topics, settings)
    if not wanted.with_commands and (occupied := player.occupied(_LOOK_AROUND_S)):
        raise CommandError(
            f"{', '.join(occupied)}: published by another node at this moment; whoever acts on it, a robot too, would "
            "act on the recording. Play under other names (--namespace replay), or add --with-commands"
        )
    unheard: list[str] = []
    if wait_s is not None:
        print(f"waiting for subscribers of {len(topics)} topics, {wait_s:g} s at most", flush=True)
        unheard = player.wait_for_subscribers(wait_s)
    length_s = (bag.end_ns - bag.start_ns) / 1e9
    with PlayKeys() as keys, bar(max(1, round(length_s)), bag.folder.name, "s", shown=sys.stderr.isatty()) as shown:
        if keys.usable:
            print("space pauses, right arrow plays one message while paused, q ends")

        def on_time(position_s: float, paused: bool) -> None:
            place = int(position_s)
            if place != shown.n:
                shown.n = place
                shown.set_postfix_str("paused" if paused else "", refresh=False)
                shown.refresh()

        try:
            result = player.play(keys.read, on_time)
        except KeyboardInterrupt:
            result = player.result
            print()
    # A publisher that goes at once takes what is still on its way with it.
    time.sleep(_HAND_OVER_S)
    return result, unheard


def _report(result: PlayResult, unheard: Sequence[str]) -> int:
    for name, count in result.published.items():
        print(f"  {count:7d} {name}")
    late = f"{result.late} more than {1e3 * LATE_S:.0f} ms late" if result.late else "none late"
    print(
        f"{sum(result.published.values())} messages published, {late}; "
        f"99 % within {1e3 * result.late_p99_s:.2f} ms, the latest after {1e3 * result.latest_s:.2f} ms"
    )
    for name, reason in result.failed.items():
        print(f"not published on {name}: {reason}", file=sys.stderr)
    if unheard:
        print(f"nobody listened to {', '.join(unheard)}", file=sys.stderr)
    return 1 if result.failed or unheard else 0


def _remapping(text: str) -> tuple[str, str]:
    source, separator, target = text.partition(":=")
    if not separator or not source or not target:
        raise CommandError(f"--remap {text}: expected FROM:=TO, for example /robot/ee_pose:=/replay/ee_pose")
    return source, target
