"""A recording session with a person: starts or joins the graph, opens the desk, and sums up."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dp_core.configuration import require_range
from dp_core.contract import Contract, load_contract
from dp_recorder.plan_file import Plan, load_plan

from dp_bringup.domain import dds_environment
from dp_bringup.errors import CommandError
from dp_bringup.graph import NodeSpec, build_graph
from dp_bringup.operator_desk.desk import Desk
from dp_bringup.operator_desk.recorder_link import RecorderLink
from dp_bringup.operator_desk.terminal import Terminal
from dp_bringup.processes import ProcessGroup
from dp_bringup.results import write_results
from dp_bringup.run_folder import new_run_folder
from dp_msgs.msg import EpisodeState

ATTACH_PATIENCE_S = 10.0
INTERRUPTED = 130


def record_by_person(args: argparse.Namespace, simulated: bool) -> int:
    """Let a person record until he quits; returns the exit status.

    Args:
        args: Of `dp record`.
        simulated: The cell is simulated, so that scenes are reset by seed.
    """
    contract = load_contract(args.cell)
    plan = load_plan(args.plan) if args.plan else None  # a bad plan is refused before anything starts
    desk = _attached(args, contract, plan, simulated) if args.attach else _started(args, contract, plan, simulated)
    print(_summary(desk, args.out))
    figures = Counter(row["outcome"] for row in desk.rows)
    write_results(args.json, "record", desk.rows, {"episodes": len(desk.rows), "outcomes": dict(figures)})
    return INTERRUPTED if desk.interrupted else 0


def _started(args: argparse.Namespace, contract: Contract, plan: Plan | None, simulated: bool) -> Desk:
    """Record on a graph of our own."""
    nodes = person_graph(args)
    folder = args.run or new_run_folder(Path("runs"))
    with ProcessGroup(folder, isolated=simulated) as group:
        group.start_graph(nodes)
        print(f"{', '.join(node.name for node in nodes)} starting; logs in {group.log_dir}")
        print(group.ros_place)
        with contextlib.closing(RecorderLink(contract, group.check)) as link, Terminal() as terminal:
            seeds = _scene_seeds(args, plan) if simulated else None
            desk = Desk(link, terminal, contract.name, args.quiet, scene_seed=seeds)
            desk.plan_seeds = plan is not None and plan.seed is not None
            desk.run()
    return desk


def _attached(args: argparse.Namespace, contract: Contract, plan: Plan | None, simulated: bool) -> Desk:
    """Record on a graph that runs already; its recorder keeps its folder and its parameters, but for the plan."""
    os.environ.setdefault("ROS_DOMAIN_ID", "0")
    for name, value in dds_environment(Path("build") / "desk_logs", isolated=simulated).items():
        os.environ.setdefault(name, value)
    with contextlib.closing(RecorderLink(contract)) as link:
        domain = os.environ["ROS_DOMAIN_ID"]
        what = f"a recorder on ROS_DOMAIN_ID={domain} (start one: dp up teleop; it prints its domain)"
        link.wait_for(lambda: link.state is not None, ATTACH_PATIENCE_S, what)
        if plan is not None:
            link.wait_for(lambda: bool(link.recorder_name), ATTACH_PATIENCE_S, "the recorder's name")
            link.set_recorder(plan=str(_plan_path(args.plan)))
            link.wait_for(lambda: bool(link.replies), ATTACH_PATIENCE_S, "the recorder to take the plan")
            reply = link.replies.popleft()
            if not reply.ok:
                raise CommandError(f"the recorder refused the plan: {reply.text}")
        with Terminal() as terminal:
            desk = Desk(link, terminal, contract.name, args.quiet, drives=False)
            desk.run()
    return desk


def person_graph(args: argparse.Namespace) -> tuple[NodeSpec, ...]:
    """The teleop graph without the scripted operator, its recorder set up for a person."""
    choices = {"cell": args.cell, "record_dir": args.out, "operator": "false", "seed": args.seed}
    nodes = build_graph("teleop", **choices, task=args.task)
    parameters: dict[str, Any] = {"task": args.task, "operator": args.name, "auto_start": args.auto_start}
    if args.plan:
        parameters["plan"] = str(_plan_path(args.plan))
    for name, high in (("countdown", 60), ("reset_pause", 3600), ("max_duration", 36000)):
        value = getattr(args, name)
        if value is not None:
            require_range(f"--{name.replace('_', '-')}", value, 0, high, "s")
            parameters[f"{name}_s"] = value
    return tuple(
        dataclasses.replace(node, parameters={**node.parameters, **parameters})
        if node.package == "dp_recorder"
        else node
        for node in nodes
    )


def _plan_path(name: str) -> Path | str:
    """The plan as the recorder finds it, which may work in another folder."""
    return Path(name).resolve() if Path(name).is_file() else name


def _scene_seeds(args: argparse.Namespace, plan: Plan | None) -> Callable[[EpisodeState], int]:
    """Seed of the coming episode's scene: the plan's for its item, else the next one."""
    given = iter(range(args.seed, args.seed + 10**9))
    if plan is None or plan.seed is None:
        return lambda state: next(given)
    first = plan.seed
    return lambda state: first + max(int(state.plan_number), 1) - 1


def _summary(desk: Desk, out: Path | None) -> str:
    """What was recorded, in a few lines."""
    state, rows = desk.link.state, desk.rows
    counts = Counter(f"{row['outcome']} ({row['verdict']})" for row in rows)
    listing = ", ".join(f"{count} {what}" for what, count in counts.items())
    place = f" in {out}" if out is not None else ""
    lines = [f"{len(rows)} episodes closed{place}{': ' + listing if listing else ''}"]
    if state is not None and state.plan_length:
        where = f"item {state.plan_number} of {state.plan_length} is next" if state.plan_number else "the plan is done"
        lines.append(f"{where}; the same command goes on from there")
    return "\n".join(lines)
