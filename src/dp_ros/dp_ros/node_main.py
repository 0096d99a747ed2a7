"""Start and stop of every node executable."""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import rclpy
from dp_core.configuration import ConfigurationError
from dp_core.contract import Contract, load_contract
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from dp_ros.executor import LeanExecutor
from dp_ros.transports import leave_shared_memory

# What a node may take to bring its robot to rest before it is closed.
LONGEST_REST_S = 1.0
# What `build` raises when something was set wrong; the last two are of parameters with another type or out of range.
_BAD_CONFIGURATION = (ConfigurationError, ValueError, InvalidParameterTypeException, InvalidParameterValueException)


class EndRequest:
    """SIGINT and SIGTERM as a flag, so that a node ends between two callbacks and its context outlives its close.

    rclpy's own handlers end the context at once: nothing could be published any more, not even a brake.
    """

    def __init__(self) -> None:
        self.made = False
        self.spinning = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.made = True
        if not self.spinning:  # during start-up there is nothing to bring to rest
            raise KeyboardInterrupt


def _spin(node: Any, end: EndRequest) -> None:
    """Spin until the end is asked for or the node gave up, then until the robot rests."""
    executor = LeanExecutor()
    executor.add_node(node)
    end.spinning = True
    try:
        executor.spin_until(lambda: end.made or bool(getattr(node, "failure", "")))
    finally:
        _rest(node, executor)


def _rest(node: Any, executor: LeanExecutor) -> None:
    """Let a robot come to rest; a callback that fails does not keep it from that."""
    begin = getattr(node, "begin_close", None)
    if begin is None:
        return
    resting = begin()
    deadline = time.monotonic() + LONGEST_REST_S

    def done() -> bool:
        return resting() or time.monotonic() > deadline or not node.context.ok()

    while not done():
        with suppress(Exception):
            executor.spin_until(done)


def run_node(build: Callable[[], Any], args: list[str] | None = None, shared_memory: bool = True) -> int:
    """Build a node, spin it until SIGINT or SIGTERM, close it in order.

    Args:
        build: makes the node, which has a ``close`` that stops its threads and closes its files, while its context
            still lives; a node that moves a robot also has ``begin_close``, which begins to bring it to rest and
            returns a function that says when it rests. A :class:`ConfigurationError` or ValueError that ``build``
            raises, or a parameter that rclpy refuses, ends the process with one line.
        args: command line; None takes sys.argv.
        shared_memory: False for a node that must not wait for a killed one; see :func:`leave_shared_memory`.

    Returns:
        Exit status: 0 after a signal, 2 on bad configuration, 3 when the node gave up (its ``failure`` says why).
    """
    if not shared_memory:
        leave_shared_memory()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    end = EndRequest()
    node: Any = None
    status = 0
    try:
        node = build()
        _spin(node, end)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except _BAD_CONFIGURATION as error:
        if node is not None:
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        status = 2
    finally:
        failure = getattr(node, "failure", "")
        if failure:
            print(f"error: {failure}", file=sys.stderr, flush=True)
            status = 3
        # A second signal must not interrupt the closing of files.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    return status


def start_worker(node: Any, name: str, body: Callable[[], None]) -> threading.Thread:
    """Start a worker thread of a node that :func:`run_node` runs.

    A worker that is interrupted by the end of the context ends quietly. One that crashes ends the whole process with
    status 3 and its reason: a node that lives on without its worker would look healthy. The context outlives the
    node's close then too, so that what a robot must still be told can be sent.

    Args:
        node: has a writable ``failure``.
        name: of the thread.
        body: runs until the node closes.
    """

    def run() -> None:
        try:
            body()
        except Exception as error:
            if not node.context.ok():
                return
            node.failure = f"{name} thread ended: {error!r}"
            traceback.print_exc()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def declare(
    node: Node,
    name: str,
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    read_only: bool = True,
) -> Any:
    """Declare a parameter with description, range and read-only flag; returns its value."""
    descriptor = ParameterDescriptor(description=description, read_only=read_only)
    if low is not None and high is not None:
        if isinstance(default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
        else:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return node.declare_parameter(name, default, descriptor).value


def declare_contract(node: Node) -> Contract:
    """Declare the ``cell`` parameter, which every node has, and load the contract it names."""
    cell = declare(node, "cell", "sim_franka", "Cell contract: a name in config/cells or the path of a YAML file.")
    return load_contract(str(cell))
