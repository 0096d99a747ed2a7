"""The topic `sim/push`: somebody pushes the simulated arm."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import WrenchStamped
from rclpy.node import Node

from dp_ros import qos
from dp_sim.cell import SimulatedCell

TOPIC = "sim/push"
# A sender that dies must not go on pushing; in simulated time.
TIMEOUT_MS = 250
MAX_FORCE_N = 500.0
MAX_TORQUE_NM = 100.0


class PushInput:
    """Pushes at the TCP, in base axes, until the sender has been silent for `TIMEOUT_MS`.

    Args:
        node: owns the subscription.
        base_frame: the only frame that is accepted.
        refuse: told in words why a push was not taken.
    """

    def __init__(self, node: Node, base_frame: str, refuse: Callable[[str], None]) -> None:
        self._base_frame, self._refuse = base_frame, refuse
        self._lock = threading.Lock()
        self._newest: WrenchStamped | None = None
        self._ends_ms: int | None = None
        node.create_subscription(WrenchStamped, TOPIC, self._on_push, qos.COMMAND_IN)

    def _on_push(self, message: WrenchStamped) -> None:
        force, torque = _vectors(message)
        if message.header.frame_id != self._base_frame:
            self._refuse(f"{TOPIC} is in frame {message.header.frame_id!r}, expected {self._base_frame!r}")
        elif not (np.linalg.norm(force) <= MAX_FORCE_N and np.linalg.norm(torque) <= MAX_TORQUE_NM):
            self._refuse(f"{TOPIC} is not finite, or above {MAX_FORCE_N:g} N or {MAX_TORQUE_NM:g} Nm")
        else:
            with self._lock:
                self._newest = message

    def apply(self, cell: SimulatedCell) -> None:
        """Begin, change or end the push; before each tick."""
        with self._lock:
            message, self._newest = self._newest, None
        if message is not None:
            cell.apply_wrench(*_vectors(message))
            self._ends_ms = cell.t_ms + TIMEOUT_MS
        elif self._ends_ms is not None and cell.t_ms >= self._ends_ms:
            cell.apply_wrench(np.zeros(3))
            self._ends_ms = None


def _vectors(message: WrenchStamped) -> tuple[np.ndarray, np.ndarray]:
    force, torque = message.wrench.force, message.wrench.torque
    return np.array([force.x, force.y, force.z]), np.array([torque.x, torque.y, torque.z])
