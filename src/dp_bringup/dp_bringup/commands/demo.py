"""`dp demo`: the whole loop on the simulated cell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dp_bringup.results import add_json_argument, write_results

EXAMPLES = """examples:
  dp demo                              # place: record, train, deploy, report in under half an hour on two cores
  dp demo --task reach_around
  dp demo --quick                      # the loop in miniature, two minutes; the policy learns nothing
  dp demo --full                       # more demonstrations and steps
  dp demo --resume runs/latest         # continue where a run stopped"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--task", help="place, reach_around or grasp_moving (default: place)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", help="miniature, for tests")
    size.add_argument("--full", dest="size", action="store_const", const="full", help="more of everything")
    parser.add_argument("--cell", default="sim_franka", help="cell contract (default: sim_franka)")
    parser.add_argument("--policy", default="small", help="name in config/policies (default: small)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument("--demonstrations", type=int, help="override the number of demonstrations")
    parser.add_argument("--steps", type=int, help="override the number of optimiser steps")
    parser.add_argument("--episodes", type=int, help="override the number of scored episodes")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders (default: runs)")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="continue this run folder with its own plan")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Make or continue a run; the exit status is 0 when the loop ran, whatever the policy scored."""
    import dataclasses

    from dp_sim.task import load_task

    from dp_bringup.demo import Demo
    from dp_bringup.demo_plan import DemoState, load_state, make_plan
    from dp_bringup.report import demo_summary, demo_table
    from dp_bringup.run_folder import new_run_folder, only_worker

    if args.resume is not None:
        state = load_state(args.resume)
    else:
        task = args.task or "place"
        load_task(task)
        plan = make_plan(task, args.size or "default", args.cell, args.policy, args.seed)
        asked = {name: getattr(args, name) for name in ("demonstrations", "steps", "episodes")}
        plan = dataclasses.replace(plan, **{name: value for name, value in asked.items() if value is not None})
        state = DemoState(new_run_folder(args.runs).resolve(), plan)
        state.save()
    try:
        with only_worker(state.folder):
            Demo(state).run()
    except KeyboardInterrupt:
        print(f"\nstopped; what was recorded is kept. Continue with: dp demo --resume {state.folder}", file=sys.stderr)
        raise
    print()
    for name, value in demo_table(state):
        print(f"{name:24s} {value}")
    rows = [result.row() for result in (*state.demonstrations, *state.evaluations)]
    summary = demo_summary(state)
    write_results(state.folder / "demo.json", "demo", rows, summary)
    write_results(args.json, "demo", rows, summary)
    return 0
