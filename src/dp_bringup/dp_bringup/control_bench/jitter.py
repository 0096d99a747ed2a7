"""Period of the loop: ours against a plain rclpy timer, interleaved, alone and with a policy beside it.

Each run is a process of its own with the topics and the work of the control node, while another process sends what a
robot's broadcasters send. Runs of the methods alternate, so that whatever else the machine does hits all of them.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_bringup.control_bench.control_node_loop import METHOD as CONTROL_NODE
from dp_bringup.control_bench.control_node_loop import diagnostics_row, measure_control_node
from dp_bringup.control_bench.loop_subject import LOOPS, SETTLING_S
from dp_bringup.errors import CommandError
from dp_bringup.processes import Child, ProcessGroup, last_words

CONDITIONS = ("idle", "policy")
METHODS = {
    "timer": "rclpy timer",
    "unprivileged": "worker thread, no permissions",
    "worker": "worker thread",
    CONTROL_NODE: "the control node itself",
}
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99_9": 99.9}
_PATIENCE_S = 60.0
Array = NDArray[np.float64]
OnRun = Callable[[str, int], None]


@dataclass(frozen=True)
class JitterSettings:
    """What is measured.

    Attributes:
        seconds: of each run.
        rounds: runs of each method in each condition.
        rate_hz: of the loop.
        traffic_hz: pose and joint messages per second, each.
        policy: file of config/policies whose network runs beside the loop.
        cell: of the contract.
        conditions: of `CONDITIONS`.
        methods: of `LOOPS`.
        control_node: measure the loop of the real control node as well, once in each condition.
        node_seconds: for how long; its statistics look back on 5,000 cycles, and its start is none of them.
    """

    seconds: float = 12.0
    rounds: int = 2
    rate_hz: float = 250.0
    traffic_hz: float = 500.0
    policy: str = "small"
    cell: str = "sim_franka"
    conditions: tuple[str, ...] = CONDITIONS
    methods: tuple[str, ...] = LOOPS
    control_node: bool = True
    node_seconds: float = 20.0

    @property
    def runs(self) -> int:
        """Number of runs in all."""
        return len(self.conditions) * (self.rounds * len(self.methods) + self.control_node)


def measure_jitter(settings: JitterSettings, folder: Path, on_run: OnRun) -> list[dict[str, Any]]:
    """Measure all runs; returns one row of figures for each condition and method.

    Args:
        settings: what to measure.
        folder: gets logs and the raw times of each run.
        on_run: called before each run with what it is, and how many are done.

    Raises:
        CommandError: a process did not do its part; with the end of its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counter = itertools.count()

    def announce(what: str) -> None:
        on_run(what, next(counter))

    rows = []
    with ProcessGroup(folder) as group:
        module = [sys.executable, "-m", "dp_bringup.control_bench.traffic"]
        group.start("traffic", [*module, "--cell", settings.cell, "--rate", f"{settings.traffic_hz:g}"])
        for condition in settings.conditions:
            with ExitStack() as stack:
                beside = _start_policy(group, settings, stack) if condition == "policy" else ""
                periods = _measure_methods(group, settings, condition, folder, announce)
                rows += [_row(condition, beside, method, settings, found) for method, found in periods.items()]
                if settings.control_node:
                    announce(f"{condition}, {METHODS[CONTROL_NODE]}")
                    name = f"control_{condition}"
                    figures = measure_control_node(group, settings.cell, settings.rate_hz, settings.node_seconds, name)
                    rows += [] if figures is None else [diagnostics_row(condition, beside, figures)]
    return rows


def _start_policy(group: ProcessGroup, settings: JitterSettings, stack: ExitStack) -> str:
    """Start inference without pause, ended with the stack; returns what it runs, in its own words."""
    module = [sys.executable, "-m", "dp_bringup.control_bench.policy_load"]
    child = group.start("policy", [*module, "--policy", settings.policy, "--cell", settings.cell])
    stack.callback(_end, group, child)
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        group.check()
        ready = [line for line in child.log.read_text().splitlines() if line.startswith("ready: ")]
        if ready:
            return f"{settings.policy}: {ready[-1].removeprefix('ready: ')}"
        time.sleep(0.1)
    raise CommandError(f"the policy was not ready within {_PATIENCE_S:.0f} s: {last_words(child.log)}")


def _end(group: ProcessGroup, child: Child) -> None:
    child.process.terminate()
    group.wait(child)


def _measure_methods(
    group: ProcessGroup, settings: JitterSettings, condition: str, folder: Path, announce: Callable[[str], None]
) -> dict[str, list[Array]]:
    periods: dict[str, list[Array]] = {method: [] for method in settings.methods}
    for number in range(settings.rounds):
        for method in settings.methods:
            announce(f"{condition}, {METHODS[method]}")
            periods[method].append(_measure_once(group, settings, f"{condition}_{method}_{number}", method, folder))
    return periods


def _measure_once(group: ProcessGroup, settings: JitterSettings, name: str, method: str, folder: Path) -> Array:
    """Periods of one run, microseconds."""
    out = folder / f"{name}.npy"
    module = [sys.executable, "-m", "dp_bringup.control_bench.loop_subject", "--loop", method]
    options = {"--cell": settings.cell, "--rate": settings.rate_hz, "--seconds": settings.seconds, "--out": out}
    child = group.start(name, [*module, *(str(part) for pair in options.items() for part in pair)])
    deadline = time.monotonic() + 3.0 * (SETTLING_S + settings.seconds) + _PATIENCE_S
    while child.process.poll() is None:
        others = [other for other in group.children if other is not child and other.process.poll() is not None]
        if others or time.monotonic() > deadline:
            reason = f"{others[0].name} ended" if others else "took too long"
            raise CommandError(f"{name}: {reason}: {last_words((others or [child])[0].log)}")
        time.sleep(0.1)
    if group.wait(child) != 0 or not out.is_file():
        raise CommandError(f"{name} failed: {last_words(child.log)}")
    return np.asarray(np.diff(np.load(out)) * 1e-3)


def _row(condition: str, beside: str, method: str, settings: JitterSettings, runs: Sequence[Array]) -> dict[str, Any]:
    nominal_us = 1e6 / settings.rate_hz
    periods = np.concatenate(runs)
    jitter = np.abs(periods - nominal_us)
    row: dict[str, Any] = {"part": "jitter", "condition": condition, "beside": beside, "method": method}
    for name, percentile in PERCENTILES.items():
        row[f"period_{name}_us"] = float(np.percentile(periods, percentile))
        row[f"jitter_{name}_us"] = float(np.percentile(jitter, percentile))
    row["jitter_max_us"] = float(jitter.max())
    row["jitter_p99_us_per_run"] = [float(np.percentile(np.abs(run - nominal_us), 99.0)) for run in runs]
    row["periods"] = len(periods)
    # Two periods in the time of one and the like: a cycle that did not happen at all.
    row["skipped"] = int(np.sum(np.maximum(np.round(periods / nominal_us) - 1, 0)))
    return row


def jitter_ratios(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """p99 jitter of the timer over that of our worker, by condition; empty where one of them was not measured."""
    figures = {(row["condition"], row["method"]): row["jitter_p99_us"] for row in rows if row["part"] == "jitter"}
    return {
        condition: figures[condition, "timer"] / figures[condition, "worker"]
        for condition in CONDITIONS
        if (condition, "timer") in figures and (condition, "worker") in figures
    }
