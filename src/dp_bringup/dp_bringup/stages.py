"""The two stages that need a running cell: recording demonstrations and evaluating a policy.

Each starts its own graph as child processes, runs episodes on it and ends it, whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dp_core.contract import load_contract
from dp_sim.task import load_task

from dp_bringup.episodes import EpisodeResult, EpisodeRunner
from dp_bringup.graph import build_graph
from dp_bringup.processes import ProcessGroup
from dp_bringup.session import CellSession

OnEpisode = Callable[[EpisodeResult], None]


def record_demonstrations(
    folder: Path, recordings: Path, cell: str, task: str, seeds: Sequence[int], on_episode: OnEpisode
) -> None:
    """Let the scripted operator demonstrate, in lock step and as fast as the machine can.

    Args:
        folder: receives logs and node parameters.
        recordings: receives one folder for each episode.
        cell: name or path of the contract.
        task: name of the task.
        seeds: one scene each.
        on_episode: called after each episode.
    """
    nodes = {"cell": cell, "task": task, "record_dir": recordings, "rate": 0.0, "lock_step": True}
    if seeds:
        _run("teleop", folder, cell, task, {**nodes, "seed": seeds[0]}, seeds, on_episode)


def evaluate_policy(
    folder: Path,
    recordings: Path,
    cell: str,
    task: str,
    checkpoint: Path,
    seeds: Sequence[int],
    on_episode: OnEpisode,
    rate: float = 1.0,
    runtime: str = "auto",
) -> None:
    """Let the policy drive, by default in real time.

    Args:
        folder: as in :func:`record_demonstrations`, like `recordings`, `cell`, `task`, `seeds` and `on_episode`.
        recordings: see there.
        cell: see there.
        task: see there.
        checkpoint: folder of the trained policy.
        seeds: see there.
        on_episode: see there.
        rate: simulated seconds per second.
        runtime: what runs its networks, see :class:`dp_policy.engine.Engine`.
    """
    nodes = {"cell": cell, "task": task, "record_dir": recordings, "rate": rate, "checkpoint": checkpoint}
    nodes["runtime"] = runtime
    nodes["teleop"] = "false"  # nobody takes over from a policy that is being scored
    if seeds:
        _run("deploy", folder, cell, task, {**nodes, "seed": seeds[0]}, seeds, on_episode)


def _run(
    mode: str,
    folder: Path,
    cell: str,
    task: str,
    choices: dict[str, Any],
    seeds: Sequence[int],
    on_episode: OnEpisode,
) -> None:
    contract = load_contract(cell)
    load_task(task)  # an unknown task is refused before anything starts
    nodes = build_graph(mode, **choices)
    with ProcessGroup(folder) as group:
        group.start_graph(nodes)
        with CellSession(group, contract) as session:
            session.wait_until_ready()
            if mode == "deploy":
                session.wait_for_policy()
            else:
                session.wait_for_operator()
            runner = EpisodeRunner(session, task)
            run = runner.demonstrate if mode == "teleop" else runner.evaluate
            for seed in seeds:
                on_episode(run(seed))
