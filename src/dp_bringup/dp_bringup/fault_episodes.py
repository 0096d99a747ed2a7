"""Random fault episodes on the virtual clock: the real control core in a cell where much goes wrong.

An episode is made from its seed alone: limits, rates and regions of the cell, what people and the policy ask for, and
what fails. Every message takes the way that it takes in the control node: real chunk messages through their check,
everything else through the input gate. :mod:`dp_bringup.fault_checker` judges what came out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dp_benchmark.processes import run_jobs
from dp_control.core import ControlCore, ControlInputs, ControlOutput
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_bringup.fault_arms import SphereKinematics
from dp_bringup.fault_cells import random_cell
from dp_bringup.fault_checker import Verdict, check
from dp_bringup.fault_inbox import Inbox
from dp_bringup.fault_scripts import Script, random_script
from dp_bringup.fault_trace import NAMES, Recording, Trace, Violation
from dp_bringup.fault_world import FaultWorld, mode_of
from dp_bringup.measured_motion import QUANTITIES

Array = NDArray[np.float64]

EPISODES_PER_JOB = 25
#: Violations kept in the summary; more say nothing new.
KEPT_VIOLATIONS = 200


@dataclass(frozen=True)
class FaultSummary:
    """What came of many episodes.

    Attributes:
        episodes: how many ran.
        steps: control cycles in all.
        violations: broken rules, each with the seed that reproduces it; the first 200.
        faults: how many faults of each kind happened.
        worst: largest share of each limit that any command reached (1.0 is the limit).
        depth: deepest that any command went outside its region, m or rad.
        modes: control cycles in each mode.
        seconds: wall time.
    """

    episodes: int
    steps: int
    violations: tuple[Violation, ...]
    faults: dict[str, int]
    worst: dict[str, float]
    depth: float
    modes: dict[str, int]
    seconds: float


@dataclass(frozen=True)
class Episode:
    """One episode and its verdict."""

    contract: Contract
    script: Script
    trace: Trace
    verdict: Verdict
    faults: Counter[str]


def run_episode(seed: int, alter: Callable[[ControlOutput, int], ControlOutput] | None = None) -> Episode:
    """Play the episode of a seed.

    Args:
        seed: makes everything.
        alter: changes an output before it is sent (output, step); to show that the checker sees it.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # some messages hold 1e300
        return _play(seed, alter)


def _play(seed: int, alter: Callable[[ControlOutput, int], ControlOutput] | None) -> Episode:
    rng = np.random.default_rng(seed)
    contract = random_cell(rng)
    script = random_script(rng, contract.control.rate_hz)
    world = FaultWorld(rng, contract, script)
    with_joints = bool(rng.random() < 0.3)
    if with_joints and seed % 2:  # joints are what is commanded, and where a mode starts
        contract = replace(contract, robot=replace(contract.robot, back_end="joint", description="none"))
    kinematics = SphereKinematics(world.start[:3], float(rng.uniform(0.05, 0.5))) if with_joints else None
    core, inbox, recording = ControlCore(contract, kinematics), Inbox(contract, with_joints), Recording()
    period_s = 1.0 / contract.control.rate_hz
    output: ControlOutput | None = None
    crash: Violation | None = None
    command: Array | None = None
    last = 0
    for tick in range(1, int(script.duration_s / period_s) + 1):
        now_s = tick * period_s
        faults = script.active(now_s)
        kinds = {fault.kind for fault in faults}
        world.advance(now_s, faults, command, mode_of(output))
        command = None
        if "loop_stall" in kinds:
            continue
        now_ns = world.ros_ns(now_s)
        for sample in world.network.deliver(now_s, "network_stall" in kinds):
            inbox.take(sample, now_ns)
        request = world.operator.request(now_s, mode_of(output))
        inputs = inbox.inputs(now_ns, request, world, kinds)
        try:
            output = core.step(inputs, now_ns, tick - last)
        except Exception as error:  # it would end the node's worker, and with it the process
            crash = Violation("exception", seed, now_s, 1.0, 0.0, repr(error))
            break
        if alter is not None:
            output = alter(output, len(recording.rows))
        last, command = tick, output.pose
        _record(recording, tick, now_ns, inputs, output, inbox, contract.robot.back_end)
    along = None if with_joints else world.along()
    trace = recording.trace(along)
    verdict = check(trace, contract, seed)
    if crash is not None:
        verdict = replace(verdict, violations=(crash, *verdict.violations))
    return Episode(contract, script, trace, verdict, world.counts)


_NOTHING = np.full(7, np.nan)
#: Their controllers hold the arm at measured joints, so a mode starts there; those of the others at the measured pose.
_BACK_ENDS_OF_JOINTS = ("joint", "effort")


def _record(
    recording: Recording,
    tick: int,
    t_ns: int,
    inputs: ControlInputs,
    output: ControlOutput,
    inbox: Inbox,
    back_end: str,
) -> None:
    measured = inputs.measured_pose
    recording.poses.append(_NOTHING if output.pose is None else np.array(output.pose))
    recording.twists.append(np.array(output.twist))
    recording.measured.append(_NOTHING if measured is None else measured.value)
    joints = inputs.joints  # which are the pose, see SphereKinematics
    if joints is not None and back_end in _BACK_ENDS_OF_JOINTS:
        recording.starts.append(joints.value)
    else:
        recording.starts.append(recording.measured[-1])
    recording.rows.append(
        (
            tick, t_ns, int(output.mode), -1 if inputs.mode is None else inputs.mode, inbox.measured_ns, inbox.twist_ns,
            inbox.plan_end_ns, output.width, output.input_alive, inputs.resume, inbox.contact_s,
            inbox.held(t_ns), inbox.hand,
        )
    )  # fmt: skip


def run_fault_episodes(
    count: int = 10_000, seed: int = 0, workers: int = 2, on_done: Callable[[int, int], None] | None = None
) -> FaultSummary:
    """Play the episodes of the seeds ``seed ... seed + count - 1``.

    Args:
        count: how many; 10,000 take a few minutes on two cores.
        seed: of the first one; with ``count`` 1 it reproduces a single episode.
        workers: processes; 1 runs in this one.
        on_done: called with the episodes done and the violations found so far.
    """
    began = time.monotonic()
    size = max(1, min(EPISODES_PER_JOB, count // (4 * max(workers, 1))))
    jobs = [tuple(range(first, min(first + size, seed + count))) for first in range(seed, seed + count, size)]
    done = {"episodes": 0, "violations": 0}

    def tell(_job: int, news: Any) -> None:
        done["episodes"] += news[0]
        done["violations"] += news[1]
        if on_done is not None:
            on_done(done["episodes"], done["violations"])

    if workers <= 1:
        parts = [_run_job(job, lambda news: tell(0, news)) for job in jobs]
    else:
        parts = run_jobs(_run_job, jobs, workers, tell)
    return _sum(parts, time.monotonic() - began)


def _run_job(seeds: Sequence[int], tell: Callable[[Any], None]) -> FaultSummary:
    """Some episodes, in this process."""
    parts = []
    for seed in seeds:
        episode = run_episode(seed)
        modes = Counter(NAMES[int(mode)] for mode in episode.trace.mode)
        worst = dict(zip(QUANTITIES, map(float, episode.verdict.shares), strict=True))
        violations, depth = episode.verdict.violations, episode.verdict.depth
        parts.append(
            FaultSummary(1, len(episode.trace.tick), violations, dict(episode.faults), worst, depth, dict(modes), 0.0)
        )
        tell((1, len(violations)))
    return _sum(parts, 0.0)


def _sum(parts: Sequence[FaultSummary], seconds: float) -> FaultSummary:
    faults: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    for part in parts:
        faults.update(part.faults)
        modes.update(part.modes)
    return FaultSummary(
        episodes=sum(part.episodes for part in parts),
        steps=sum(part.steps for part in parts),
        violations=tuple(v for part in parts for v in part.violations)[:KEPT_VIOLATIONS],
        faults=dict(sorted(faults.items())),
        worst={name: max((part.worst[name] for part in parts), default=0.0) for name in QUANTITIES},
        depth=max((part.depth for part in parts), default=0.0),
        modes=dict(modes),
        seconds=seconds,
    )
