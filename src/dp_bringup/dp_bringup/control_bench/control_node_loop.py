"""The loop of the real control node, as its own diagnostics tell, with the same traffic as the compared loops."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from dp_core.contract import load_contract
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from dp_bringup.control_bench.loop_subject import SETTLING_S
from dp_bringup.graph import NodeSpec
from dp_bringup.processes import ProcessGroup
from dp_msgs.msg import CommandState
from dp_msgs.srv import SetMode
from dp_ros import qos

METHOD = "control_node"
_PATIENCE_S = 20.0


def measure_control_node(
    group: ProcessGroup, cell: str, rate_hz: float, seconds: float, name: str
) -> dict[str, float] | None:
    """Run the control node for a while; returns the figures of its loop, or None where it reports none.

    Args:
        group: starts the node; the traffic runs already.
        cell: of the contract.
        rate_hz: of control.
        seconds: measured; a window of the node's own statistics ends with them.
        name: of the process.
    """
    contract = load_contract(cell)
    contract = dataclasses.replace(contract, control=dataclasses.replace(contract.control, rate_hz=rate_hz))
    path = Path(group.run_dir) / f"{contract.name}_{rate_hz:g}.yaml"
    path.write_text(yaml.safe_dump(contract.to_dict()))
    spec = NodeSpec("dp_control", "control_node", "dp_control.node", name, {"cell": str(path), "use_sim_time": False})
    group.start_graph([spec])
    child = group.children[-1]
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    try:
        with contextlib.closing(_Listener(context)) as listener:
            return listener.listen(group, SETTLING_S + seconds)
    finally:
        rclpy.shutdown(context=context)
        child.process.terminate()
        group.wait(child)


class _Listener:
    """Asks for a mode and keeps the last diagnostics of a loop."""

    def __init__(self, context: Any) -> None:
        self._node = Node("control_bench", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._values: dict[str, str] = {}
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.SENSOR_IN)
        self._modes = self._node.create_client(SetMode, "control/set_mode")

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "control: loop":
                self._values = {entry.key: entry.value for entry in status.values}

    def listen(self, group: ProcessGroup, seconds: float) -> dict[str, float] | None:
        """Let the node run in mode HOLD; returns its loop's figures at the end."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self._modes.service_is_ready() and time.monotonic() < deadline:
            self._spin(group)
        if self._modes.service_is_ready():
            self._modes.call_async(SetMode.Request(mode=CommandState.HOLD))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._spin(group)
        if "jitter_us_p99" not in self._values:
            return None
        return {key: float(value) for key, value in self._values.items() if _is_number(value)}

    def close(self) -> None:
        """Leave the graph: who looks at it later must not count this node's client."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _spin(self, group: ProcessGroup) -> None:
        group.check()
        self._executor.spin_once(timeout_sec=0.2)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def diagnostics_row(condition: str, beside: str, figures: dict[str, float]) -> dict[str, Any]:
    """The figures as a row of the jitter table."""
    row: dict[str, Any] = {"part": "jitter", "condition": condition, "beside": beside, "method": METHOD}
    for ours, theirs in (("p50", "p50"), ("p99", "p99"), ("p99_9", "p99.9")):
        row[f"period_{ours}_us"] = figures[f"period_us_{theirs}"]
        row[f"jitter_{ours}_us"] = figures[f"jitter_us_{theirs}"]
    row["jitter_max_us"] = figures["jitter_us_max"]
    row["jitter_p99_us_per_run"] = [figures["jitter_us_p99"]]
    row["periods"] = int(figures["cycles"]) - 1
    row["skipped"] = int(figures["skipped"])
    return row
