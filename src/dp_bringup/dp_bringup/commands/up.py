"""`dp up`: start a node graph and keep it until Ctrl-C."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from dp_bringup.graph import MODES, OPTIONS, build_graph, options_of
from dp_bringup.processes import ProcessGroup
from dp_bringup.results import add_reference_argument
from dp_bringup.run_folder import new_run_folder

EXAMPLES = """examples:
  dp up teleop --task place                     # simulated cell, scripted operator, recorder
  dp up teleop --operator false                 # drive it yourself: publish spacenav/joy (spacenav node)
  dp up deploy --checkpoint runs/latest/checkpoint
  dp up teleop --cell my_cell --cameras false   # realsense-ros or another driver publishes the images
The same graphs by launch: ros2 launch launch/teleop.launch.py cell:=sim_franka"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the graph, and each option that graphs have."""
    parser.add_argument("graph", choices=MODES, help="which graph to start")
    parser.add_argument("--run", type=Path, help="folder for logs and parameters (default: a new one under runs/)")
    for option in OPTIONS:
        flag = f"--{option.name.replace('_', '-')}"
        parser.add_argument(flag, default=option.default, help=f"{option.description} (default: {option.default})")
    add_reference_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Start the graph, watch it, end it."""
    known = options_of(args.graph)
    given = {option.name: getattr(args, option.name) for option in OPTIONS}
    # An option of the other graph is refused there, unless it was left alone.
    choices = {o.name: given[o.name] for o in OPTIONS if o in known or given[o.name] != o.default}
    nodes = build_graph(args.graph, **choices)
    folder = args.run or new_run_folder(Path("runs"))
    simulated = any(node.executable == "sim_node" for node in nodes)
    with ProcessGroup(folder, isolated=simulated) as group:
        group.start_graph(nodes)
        print(f"{args.graph}: {', '.join(node.name for node in nodes)}; logs in {group.log_dir}")
        print(f"{group.ros_place}; Ctrl-C ends it")
        while True:
            group.check()
            time.sleep(0.5)
