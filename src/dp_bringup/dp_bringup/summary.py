"""Figures of a set of episodes, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dp_bringup.episodes import EpisodeResult
from dp_bringup.statistics import wilson_interval


def episode_figures(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Success with its 95 % Wilson interval, collisions, sides and durations of a set of episodes."""
    count = len(results)
    successes = sum(result.success for result in results)
    collided = sum(result.collisions > 0 for result in results)
    low, high = wilson_interval(successes, count)
    sides = [result.side for result in results if result.success]
    return {
        "episodes": count,
        "successes": successes,
        "success": successes / count if count else 0.0,
        "success_interval": [low, high],
        "collision_rate": collided / count if count else 0.0,
        "side_counts": {side: sides.count(side) for side in ("left", "right")},
        "mean_duration_s": sum(result.duration_s for result in results) / count if count else 0.0,
        "wall_s": sum(result.wall_s for result in results),
        "real_time_factor": _real_time_factor(results),
    }


def _real_time_factor(results: Sequence[EpisodeResult]) -> float:
    """Simulated seconds per second on the wall while someone drove."""
    wall_s = sum(result.driving_wall_s for result in results)
    return sum(result.duration_s for result in results) / wall_s if wall_s else 0.0


def describe_conditions(results: Sequence[EpisodeResult]) -> str:
    """What success means: each condition of the task with the value at the end of the last successful episode."""
    last = next((result for result in reversed(results) if result.success and result.conditions), None)
    if last is None:
        return "all conditions of the task at once; no episode met them"
    return f"all of these at once (values of seed {last.seed}): " + "; ".join(last.conditions.values())


def describe_episodes(results: Sequence[EpisodeResult]) -> str:
    """One line for each episode that failed, then the summary."""
    figures = episode_figures(results)
    lines = [f"  seed {r.seed}: failed: {r.reason}" for r in results if not r.success]
    low, high = figures["success_interval"]
    sides = figures["side_counts"]
    lines.append(
        f"success {figures['successes']}/{figures['episodes']} = {figures['success']:.0%} "
        f"(95 % interval {low:.0%} to {high:.0%}); left {sides['left']}, right {sides['right']}; "
        f"collisions in {figures['collision_rate']:.0%}; {figures['real_time_factor']:.1f} x real time"
    )
    lines.append(f"success means {describe_conditions(results)}")
    return "\n".join(lines)
