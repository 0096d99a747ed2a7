"""What makes a Python loop keep its time: scheduling, memory, the interpreter lock and the garbage collector.

A worker thread calls :func:`prepare_worker` before its loop. Nothing in here fails: what this machine does not permit
is returned as text, and ``dp doctor`` says how to permit it.

* **Priority.** The worker runs as SCHED_FIFO, and all other threads of the process one step below it: the executor's
  thread may hold the interpreter lock when the worker wakes up, DDS threads may hold a lock that publishing needs, and
  while any of them is off the processor the worker waits for it. Python's lock knows no priority inheritance.
* **Memory.** Pages are locked once they have been touched, so that a loop never waits for the disk.
* **Interpreter lock.** A thread that computes is asked to hand over after the switch interval, 5 ms in Python: more
  than a whole period of control.
* **Garbage collector.** What exists at the start is frozen (never looked at again), the automatic collector is
  switched off in the process, and :class:`dp_ros.pacing.Pacer` collects while its loop would sleep.
* **Timer slack.** The kernel may delay a wake-up by 50 us to save power; real-time threads are exempt, others ask.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

from dp_ros.node_main import declare
from dp_ros.pacing import uses_sim_time
from dp_ros.scheduling import DEFAULT_PRIORITY, lock_memory, pin_process, raise_priority, reduce_timer_slack

DEFAULT_SWITCH_INTERVAL_S = 0.0001


@dataclass(frozen=True)
class RealTimeSettings:
    """How a worker's process is set up; see the module.

    Attributes:
        priority: of the worker thread under SCHED_FIFO, 1 to 98; 0 leaves the scheduling alone.
        lock_memory: lock pages once touched.
        switch_interval_s: of the interpreter; 0 leaves it.
        manage_garbage: freeze what exists and collect in idle moments only.
        cpus: processors that the process may use; empty leaves them.
    """

    priority: int = DEFAULT_PRIORITY
    lock_memory: bool = True
    switch_interval_s: float = DEFAULT_SWITCH_INTERVAL_S
    manage_garbage: bool = True
    cpus: tuple[int, ...] = ()


def prepare_worker(node: Node) -> list[str]:
    """Set this process up for a real-time loop in the calling thread, as the node's parameters say.

    Declares the parameters where the node has not, logs the outcome, and leaves everything as it is in simulation,
    where /clock sets the pace.

    Returns:
        What was refused, one text each; empty when all was granted.
    """
    try:
        settings = declare_real_time(node)
    except ValueError as error:
        return _report(node, [f"real-time parameters: {error}"], "")
    if uses_sim_time(node):
        return []
    return _report(node, apply_settings(settings), f"priority {settings.priority}")


def _report(node: Node, refused: list[str], granted: str) -> list[str]:
    if refused:
        node.get_logger().warning(f"not real time: {'; '.join(refused)} (`dp doctor` tells how to permit it)")
    else:
        node.get_logger().info(f"real-time set-up complete, {granted}")
    return refused


def declare_real_time(node: Node) -> RealTimeSettings:
    """Declare the node parameters of real-time set-up, once; returns their values.

    Raises:
        ValueError: ``cpus`` is not a list such as 2,3.
    """

    def value(name: str, default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
        if node.has_parameter(name):
            return node.get_parameter(name).value
        return declare(node, name, default, text, low=low, high=high)

    priority = value(
        "priority", DEFAULT_PRIORITY, "SCHED_FIFO priority of the loop; 0 leaves scheduling alone.", low=0, high=98
    )
    lock = value("lock_memory", True, "Keep the process's pages in memory.")
    interval = value(
        "switch_interval_s", DEFAULT_SWITCH_INTERVAL_S, "Interpreter's switch interval, s; 0 leaves it.", 0.0, 0.1
    )
    manage = value("manage_garbage", True, "Collect garbage only while the loop is idle.")
    cpus = parse_cpus(str(value("cpus", "", "Processors of the process, such as 2,3; empty leaves them.")))
    return RealTimeSettings(int(priority), bool(lock), float(interval), bool(manage), cpus)


def parse_cpus(text: str) -> tuple[int, ...]:
    """Numbers of a list such as ``2,3``; none of an empty text.

    Raises:
        ValueError: names the text and what is valid.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise ValueError(f"cpus {text!r} is not a list of processor numbers such as 2,3")
    return tuple(int(part) for part in parts)


def apply_settings(settings: RealTimeSettings) -> list[str]:
    """Apply the settings to this process and the calling thread; returns what was refused."""
    if settings.switch_interval_s > 0.0:
        sys.setswitchinterval(settings.switch_interval_s)
    if settings.manage_garbage:
        tame_collector()
    outcomes = [reduce_timer_slack()]
    if settings.cpus:
        outcomes.append(pin_process(settings.cpus))
    if settings.lock_memory:
        outcomes.append(lock_memory())
    if settings.priority > 0:
        outcomes.append(raise_priority(settings.priority))
    return [text for text in outcomes if text]


def tame_collector() -> None:
    """Collect once, freeze what is left, and leave further collecting to the pacer's idle moments."""
    gc.collect()
    gc.freeze()
    gc.disable()
