"""Tracking of recorded human-like motion: ways of executing the same chunks, as commanded and as an arm moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from dp_core.contract import Contract, load_contract
from numpy.typing import NDArray

from dp_bringup.control_bench.motion_figures import MotionFigures, judge
from dp_bringup.control_bench.recorded_motion import RecordedMotion, record_motion
from dp_bringup.control_bench.simulated_arms import ARMS, SimulatedArm
from dp_bringup.control_bench.waypoint_chunks import ChunkPlan, Delivery, deliver, end_of_execution_s
from dp_bringup.control_bench.waypoint_methods import (
    Follower,
    LinearSlerp,
    Replay,
    StoppingTrajectories,
    WaypointMethod,
)

Array = NDArray[np.float64]
LINEAR, STOPPING, OURS, REPLAY = "linear + slerp", "stop at each chunk's end", "follower", "the recording itself"
METHODS = (LINEAR, STOPPING, OURS, REPLAY)
COMMANDED = "commanded"
#: What the ratios compare, linear and angular: the smaller ratio counts.
_RATIOS = {
    "velocity_step_ratio": ("velocity_step_m_s", "velocity_step_rad_s"),
    "jerk_ratio": ("jerk_m_s3", "jerk_rad_s3"),
    "error_ratio": ("error_rms_m", "error_rms_rad"),
}


@dataclass(frozen=True)
class TrackingSettings:
    """What is executed.

    Attributes:
        episodes: recorded motions.
        seed: of the first one.
        task: of the simulator.
        cell: of the contract: mapping and limits.
        rate_hz: of commands; divides 1000.
        plan: how the chunks come.
        arms: of `ARMS`, on which they are executed.
    """

    episodes: int = 10
    seed: int = 0
    task: str = "reach_around"
    cell: str = "sim_franka"
    rate_hz: int = 250
    plan: ChunkPlan = field(default_factory=ChunkPlan)
    arms: tuple[str, ...] = tuple(ARMS)


@dataclass(frozen=True)
class Execution:
    """One method on one motion.

    Attributes:
        method: of `METHODS`.
        times_s: (N,) from the start of the motion.
        motions: (N, 7) poses by what moves: `COMMANDED`, or an arm.
        limited: cycles in which our limiter held the command back.
    """

    method: str
    times_s: Array
    motions: dict[str, Array]
    limited: int = 0


@dataclass(frozen=True)
class TrackedMotion:
    """A motion and what the methods made of it, in the order of `METHODS`."""

    motion: RecordedMotion
    executions: tuple[Execution, ...]


def track(settings: TrackingSettings, on_episode: Callable[[int], None]) -> list[TrackedMotion]:
    """Record the motions and execute each by every method; deterministic.

    Args:
        settings: what to execute.
        on_episode: called after each motion with its seed.
    """
    contract = load_contract(settings.cell)
    period_ms = 1000 // settings.rate_hz
    arms = [SimulatedArm(name, settings.task, period_ms) for name in settings.arms]
    tracked = []
    for seed in range(settings.seed, settings.seed + settings.episodes):
        motion = record_motion(settings.task, contract, seed)
        deliveries = deliver(motion, settings.plan)
        executions = tuple(_execute(name, motion, deliveries, contract, settings, arms) for name in METHODS)
        tracked.append(TrackedMotion(motion, executions))
        on_episode(seed)
    return tracked


def _execute(
    name: str,
    motion: RecordedMotion,
    deliveries: Sequence[Delivery],
    contract: Contract,
    settings: TrackingSettings,
    arms: Sequence[SimulatedArm],
) -> Execution:
    method = build_method(name, motion, contract, settings)
    cycles = int(end_of_execution_s(deliveries, settings.plan) * settings.rate_hz)
    times_s = np.arange(cycles) / settings.rate_hz
    commands = command_motion(method, deliveries, times_s)
    moved = {arm.name: arm.execute(motion, commands) for arm in arms}
    return Execution(name, times_s, {COMMANDED: commands, **moved}, getattr(method, "limited", 0))


def build_method(name: str, motion: RecordedMotion, contract: Contract, settings: TrackingSettings) -> WaypointMethod:
    """A method at rest at the start of a motion.

    Raises:
        KeyError: names the valid ones.
    """
    pose, period_ns, plan = motion.poses[0], round(1e9 / settings.rate_hz), settings.plan
    if name == LINEAR:
        return LinearSlerp(pose, contract.limits, period_ns)
    if name == STOPPING:
        overlap = int(np.ceil(max(plan.delay_s) * plan.rate_hz))
        return StoppingTrajectories(pose, plan.executed, overlap)
    if name == OURS:
        return Follower(pose, contract, period_ns)
    if name == REPLAY:
        return Replay(motion)
    raise KeyError(f"no method {name!r}; valid: {', '.join(METHODS)}")


def command_motion(method: WaypointMethod, deliveries: Sequence[Delivery], times_s: Array) -> Array:
    """Commands (N, 7) of a method at the times (N,), s, given chunks as they arrive."""
    waiting = list(deliveries)
    commands = np.empty((len(times_s), 7))
    for i, now_s in enumerate(times_s):
        now_ns = round(1e9 * now_s)
        while waiting and waiting[0].arrival_s <= now_s:
            method.take(waiting.pop(0).chunk, now_ns)
        commands[i] = method.command(now_ns)
    return commands


def tracking_rows(tracked: Sequence[TrackedMotion]) -> list[dict[str, Any]]:
    """A row for each method and what moves: largest steps and errors of all motions, root mean squares over them."""
    rows = []
    for kind in tracked[0].executions[0].motions:
        for place, method in enumerate(METHODS):
            runs = [(one.executions[place], one.motion) for one in tracked]
            figures = [judge(run.motions[kind], run.times_s, motion) for run, motion in runs]
            row = {"part": "tracking", "method": method, "motion": kind, "episodes": len(tracked)}
            rows.append({**row, **_pooled(figures), "limited_cycles": sum(run.limited for run, _ in runs)})
    return rows


def _pooled(figures: Sequence[MotionFigures]) -> dict[str, float]:
    """Largest of the largest, root mean square of the root mean squares, mean of the delays."""
    pooled = {}
    for entry in fields(MotionFigures):
        values = np.array([asdict(one)[entry.name] for one in figures])
        if entry.name == "shift_s":
            pooled[entry.name] = float(values.mean())
        elif "rms" in entry.name or "jerk" in entry.name:
            pooled[entry.name] = float(np.sqrt(np.mean(values**2)))
        else:
            pooled[entry.name] = float(values.max())
    return pooled


def tracking_ratios(rows: Sequence[dict[str, Any]], motion: str = COMMANDED) -> dict[str, float]:
    """Figures of linear + slerp over ours for what moves; of linear and angular the smaller ratio."""
    found = {row["method"]: row for row in rows if row["part"] == "tracking" and row["motion"] == motion}
    theirs, ours = found[LINEAR], found[OURS]
    return {name: min(theirs[key] / ours[key] for key in keys) for name, keys in _RATIOS.items()}
