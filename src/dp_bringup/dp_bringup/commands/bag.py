"""`dp bag`: list, describe, check, repair, label, cut, picture and play recorded episodes."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path

from dp_bringup.results import add_json_argument

EXAMPLES = """examples:
  dp bag ls runs/latest/demonstrations
  dp bag ls recordings --outcome success --verdict good --sort duration
  dp bag ls recordings --state killed
  dp bag info runs/latest/demonstrations/episode_0001_place
  dp bag info some_rosbag2_folder --types
  dp bag check runs/latest/demonstrations
  dp bag check recordings --cell fr3_crisp --strict --json check.json
  dp bag repair recordings --dry-run
  dp bag repair recordings/episode_0007_place
  dp bag label recordings/episode_0007_place --outcome failure --note "dropped the cube"
  dp bag label recordings --csv labels.csv
  dp bag trim recordings/episode_0007_place --start 1.5 --end -2
  dp bag trim recordings --auto --out trimmed
  dp bag thumb recordings --out overview
  dp bag thumb recordings/episode_0007_place --times 12 --no-film
  dp bag play recordings/episode_0007_place --rate 0.5 --clock 100
  dp bag play recordings/episode_0007_place --topics "/camera/.*" --namespace replay --raw-images --wait 10"""

BAG_HELP = "episode, several, or a folder of episodes at any depth"
#: These take the discarded episodes of a folder too; the others only those that are named.
WITH_DISCARDED = ("ls", "repair", "label")

#: Action: one line, more about it, module and function that do it.
ACTIONS = {
    "ls": ("a table of episodes, with totals", "", "showing", "list_bags"),
    "info": (
        "span, size, topics, rates, QoS and contract",
        "Works on any rosbag2 bag in MCAP files, closed or not.",
        "showing",
        "show_bags",
    ),
    "check": (
        "measure whether recordings are sound, against the contract",
        "From the bag alone: rate, jitter, gaps, order of time, clock offset and drift, lost messages, dead pictures\n"
        "(black, frozen, over-exposed), poses, gripper and joints, checksums, metadata.yaml, episode.json.\n"
        "Exit status: 0 all passed, 1 a bag failed (--strict: or warned), 2 nothing to check or bad arguments.",
        "checking",
        "check_bags",
    ),
    "repair": (
        "restore bags of a killed recorder, cut or damaged files",
        "All that is intact goes into a new bag with index, metadata.yaml and episode.json, which takes the old one's\n"
        "place in one step; may be interrupted and run again. Bags that are whole are not touched.\n"
        "Exit status: 0 all are whole now, 1 one is not (--dry-run: needs repair), 2 bad arguments.",
        "changing",
        "repair_bags",
    ),
    "label": (
        "set outcome, task or note",
        "Episodes labelled discard move to the folder 'discarded' beside them, and back when they are labelled anew.\n"
        "Exit status: 0 done, 1 one of several could not be labelled, 2 bad arguments.",
        "changing",
        "label_bags",
    ),
    "trim": (
        "cut an episode to a span, or to its motion",
        "Makes a new episode beside the old one, which tells where it comes from (id, SHA-256, span).\n"
        "Latched messages from before the cut are kept.\n"
        "Exit status: 0 done, 1 one of several could not be cut, 2 bad arguments.",
        "changing",
        "trim_bags",
    ),
    "thumb": (
        "a contact sheet (PNG) and a small film (MP4) of each episode",
        "All cameras at evenly spread times; side by side in real time. Exit status: 0 done, 1 one of several has no\n"
        "pictures, 2 bad arguments.",
        "pictures",
        "picture_bags",
    ),
    "play": (
        "publish a bag with the timing and QoS it was recorded with",
        "What may move a robot (targets, commands, chunks, teleop) is left out unless --with-commands, and nothing is\n"
        "played under a name that another node publishes, such as the pose of a live robot.\n"
        "In a terminal: space pauses, right arrow plays one message, q ends.\n"
        "Exit status: 0 played, 1 something was not published or --wait found nobody, 2 refused.",
        "playing",
        "play_bags",
    ),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (line, more, _, _) in ACTIONS.items():
        description = f"{line[0].upper()}{line[1:]}." + (f"\n\n{more}" if more else "")
        action = actions.add_parser(name, help=line, description=description)
        default = {"nargs": "*", "default": [Path(".")]} if name == "ls" else {"nargs": "+"}
        text = BAG_HELP if name in WITH_DISCARDED else f"{BAG_HELP} (without discarded ones)"
        action.add_argument("bags", metavar="BAG", type=Path, help=text, **default)
        _ARGUMENTS[name](action)
        if name != "label":
            add_json_argument(action)


def _configure_ls(parser: argparse.ArgumentParser) -> None:
    outcomes, verdicts = ("unlabelled", "success", "failure", "discard"), ("good", "suspect", "bad")
    states = ("closed", "recording", "killed", "foreign")
    keys = ("id", "task", "outcome", "verdict", "duration", "size", "state", "operator")
    parser.add_argument("--outcome", nargs="+", choices=outcomes, default=[], help="only these")
    parser.add_argument("--verdict", nargs="+", choices=verdicts, default=[], help="only these")
    parser.add_argument("--state", nargs="+", choices=states, default=[], help="only these")
    parser.add_argument("--task", default="", help="only tasks in which this text occurs")
    parser.add_argument("--sort", choices=keys, default="id", help="(default: id)")
    parser.add_argument("--reverse", action="store_true", help="greatest first")


def _configure_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--types", action="store_true", help="also print the hash of each message type")


def _configure_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cell", help="hold against this contract (name or YAML file), not the one in the bag")
    parser.add_argument("--strict", action="store_true", help="warnings fail too")
    parser.add_argument("--brief", action="store_true", help="no tables, and nothing of bags that passed")


def _configure_repair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what is wrong")
    parser.add_argument("--no-backup", action="store_true", help="do not keep the old file as .mcap.orig")


def _configure_label(parser: argparse.ArgumentParser) -> None:
    outcomes = ("success", "failure", "discard", "unlabelled")
    parser.add_argument("--outcome", choices=outcomes, help="new outcome")
    parser.add_argument("--note", metavar="TEXT", help="text to add to the note")
    parser.add_argument("--task", metavar="TEXT", help="new task text; the folder keeps its name")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="a line for each episode: id,outcome,note,task")


def _configure_trim(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--start", metavar="S", type=float, help="begin, s; negative: before the end (default: 0)")
    parser.add_argument("--end", metavar="S", type=float, help="end, s; negative: before the end (default: the end)")
    parser.add_argument("--auto", action="store_true", help="from first to last motion, with 0.3 s of rest around it")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for the new episodes (default: beside the old)")
    parser.add_argument("--in-place", action="store_true", help="replace the episode; its bag is kept as .mcap.orig")


def _configure_thumb(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for the pictures (default: each bag's own)")
    parser.add_argument("--times", metavar="N", type=int, default=8, help="times on the sheet, 1 to 64 (default: 8)")
    parser.add_argument("--height", metavar="PX", type=int, default=160, help="of a picture, 32 to 1080 (default: 160)")
    parser.add_argument("--rate", metavar="HZ", type=float, default=15.0, help="of the film, 1 to 60 (default: 15)")
    parser.add_argument("--no-film", action="store_true", help="only the contact sheet")


def _configure_play(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=1.0, help="times real time, 0.01 to 100 (default: 1)")
    parser.add_argument("--start", metavar="S", type=float, default=0.0, help="begin so far into the bag, s (0)")
    parser.add_argument("--duration", metavar="S", type=float, help="play so much of the bag, s (default: to its end)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end")
    parser.add_argument("--topics", metavar="T", nargs="+", help="only these (names or regular expressions)")
    parser.add_argument("--exclude", metavar="T", nargs="+", help="all but these (names or regular expressions)")
    parser.add_argument("--remap", metavar="A:=B", nargs="+", help="publish A as B")
    parser.add_argument("--namespace", default="", help="put before every name that is not remapped")
    parser.add_argument(
        "--clock", metavar="HZ", type=float, nargs="?", const=40.0, default=0.0, help="publish /clock (40 Hz)"
    )
    parser.add_argument("--pause", action="store_true", help="begin paused; space goes on")
    parser.add_argument("--wait", metavar="S", type=float, help="first wait so long for subscribers of every topic, s")
    parser.add_argument("--raw-images", action="store_true", help="publish recorded JPEG pictures as raw ones")
    parser.add_argument(
        "--with-commands", action="store_true", help="also play what may move a robot, and beside live publishers"
    )


_ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "ls": _configure_ls,
    "info": _configure_info,
    "check": _configure_check,
    "repair": _configure_repair,
    "label": _configure_label,
    "trim": _configure_trim,
    "thumb": _configure_thumb,
    "play": _configure_play,
}


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    _, _, module, function = ACTIONS[args.action]
    return int(getattr(importlib.import_module(f"dp_bringup.bag_commands.{module}"), function)(args))
