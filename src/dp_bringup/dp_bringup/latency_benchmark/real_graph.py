"""The same condition through the real node graph: simulator, control and policy node over DDS, in real time.

Only ours runs there. The policy node holds each chunk back by its parameter ``added_latency_s``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dp_core.contract import load_contract
from dp_core.statistics import wilson_interval

from dp_bringup.episodes import EpisodeResult, EpisodeRunner
from dp_bringup.errors import CommandError
from dp_bringup.graph import NodeSpec, build_graph
from dp_bringup.latency_benchmark.conditions import Condition
from dp_bringup.ledger import read_ledger
from dp_bringup.processes import ProcessGroup
from dp_bringup.session import CellSession

ADDED_LATENCY = "added_latency_s"


def delayed(node: NodeSpec, added_s: float) -> NodeSpec:
    """A node of the graph; the policy node holds chunks back."""
    if node.package != "dp_policy_node":
        return node
    return replace(node, parameters={**node.parameters, ADDED_LATENCY: added_s})


def play_over_dds(
    folder: Path,
    condition: Condition,
    checkpoint: Path,
    cell: str,
    seeds: Sequence[int],
    on_episode: Callable[[EpisodeResult], None],
) -> dict[str, Any]:
    """Play some episodes; returns a row of figures, the latency measured by the ledger among them.

    Args:
        folder: receives logs and recordings.
        condition: task and added latency.
        checkpoint: of the policy.
        cell: of the contract.
        seeds: one scene each.
        on_episode: called after each episode.

    Raises:
        CommandError: chunks came sooner than the latency that was to be added.
    """
    recordings = folder / "recordings"
    added_s = 1e-3 * condition.added_ms
    choices = {"cell": cell, "task": condition.task, "checkpoint": checkpoint, "record_dir": recordings}
    nodes = build_graph("deploy", **choices, seed=seeds[0], teleop="false")  # nobody takes over
    results: list[EpisodeResult] = []
    with ProcessGroup(folder) as group:
        group.start_graph([delayed(node, added_s) for node in nodes])
        with CellSession(group, load_contract(cell)) as session:
            session.wait_until_ready()
            session.wait_for_policy()
            runner = EpisodeRunner(session, condition.task)
            for seed in seeds:
                results.append(runner.evaluate(seed))
                on_episode(results[-1])
    ledger = read_ledger(Path(result.path) for result in results).summary()
    ages_s = ledger["observation_to_publication_s"]
    if not ages_s or ages_s["p50"] < added_s:
        raise CommandError(
            f"chunks were {ages_s.get('p50', 0.0):.3f} s old where {added_s:g} s were added: the policy node knows no "
            f"parameter {ADDED_LATENCY}"
        )
    successes = sum(result.success for result in results)
    return {
        "task": condition.task,
        "method": "ours over DDS",
        "added_ms": condition.added_ms,
        "jitter_ms": 0,
        "episodes": len(results),
        "successes": successes,
        "success": successes / len(results),
        "success_interval": wilson_interval(successes, len(results)),
        "seam_m_p50": ledger["seam_position_m"].get("p50"),
        "seam_m_p95": ledger["seam_position_m"].get("p95"),
        "late_actions": ledger["late_actions"],
        "age_s_p50": ages_s["p50"],
        "age_s_p99": ages_s["p99"],
        "duration_s": sum(result.duration_s for result in results) / len(results),
    }


def describe(row: Mapping[str, Any]) -> str:
    """One line for the terminal."""
    low, high = row["success_interval"]
    return (
        f"{row['task']}, {row['method']}, {row['added_ms']} ms added: {row['successes']}/{row['episodes']} "
        f"({low:.0%} to {high:.0%}), chunks {1e3 * row['age_s_p50']:.0f} ms old"
    )
