"""Commands as joint torques: our own Cartesian impedance law in front of a torque interface.

ros2_control's forward effort controller subscribes ``~/commands`` (std_msgs/Float64MultiArray, in the order of its
``joints`` parameter), reliable, and holds the last value for ever. Each cycle takes the newest measured joint state,
computes the torque of the law and sends it; ``robot.gravity`` says whether gravity is part of it.

When something is missing:

- Joint states older than ``control.state_max_age_s``: nothing can be controlled blindly. The torque goes to zero (to
  gravity at the last known joints where nobody else carries the arm) at the rate limit: the arm goes limp, held by its
  gravity compensation and its friction. Holding the last torque would go on pushing, and damping by an old velocity can
  drive the arm. ``problem`` says so, and control faults.
- Cycles that come too late, or with joint states too old, to be stable (:class:`DelayWatch`): the same.
- Release and close: the same ramp, then silence; where we carry the arm, gravity is sent on until the process ends.
- Our process dies without a close: the controller holds the last torque. Only an arm or a controller that ends torques
  by itself when commands stop is safe against that.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from dp_core.contract import Contract
from dp_ros.messages import stamp_to_ns
from dp_ros.node_main import start_worker
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from dp_control.arms.command_topic import CommandTopic
from dp_control.arms.effort_law import DelayWatch, EffortLaw, JointMeasurement
from dp_control.interfaces import ArmCommand
from dp_control.robot_model import RobotModel
from dp_ros import qos

Array = NDArray[np.float64]

DEFAULT_TOPIC = "effort_controller/commands"
# A stamp this far ahead of our clock is jitter between machines; farther, and the clocks differ.
CLOCK_TOLERANCE_NS = 100_000_000
# The torque at the end of a ramp is sent this often, in case a message is lost.
LAST_MESSAGES = 5
# Beyond what the ramp takes by its rate limit.
CLOSE_MARGIN_S = 0.5


class EffortBackEnd:
    """Streams torques to a forward effort controller. Implements :class:`dp_control.interfaces.ArmBackEnd`.

    ``send`` and ``release`` belong to the control thread; the ramp after a release runs in a thread of its own.

    Args:
        node: owns publisher and subscription.
        contract: the cell; needs ``robot.description``.

    Raises:
        ConfigurationError: the description or a value does not fit.
    """

    needs_joints = False

    def __init__(self, node: Node, contract: Contract) -> None:
        self._law = EffortLaw(contract, RobotModel.from_contract(contract))
        self._carries = contract.robot.gravity == "controller"
        self._stream = contract.streams["joint_states"]
        self._max_age_s = contract.control.state_max_age_s
        self._period_s = 1.0 / contract.control.rate_hz
        self._topic = CommandTopic(
            node, Float64MultiArray, contract.robot.topic or DEFAULT_TOPIC, "the effort controller"
        )
        self._message = Float64MultiArray()
        self._joints: JointMeasurement | None = None
        self._refused = ""
        self._delay = DelayWatch()
        self._sent_ns: int | None = None
        self._condition = threading.Condition()
        self._released, self._relaxing, self._closed = True, False, False
        self._rested = True
        node.create_subscription(JointState, self._stream.topic, self._on_joints, qos.SENSOR_IN)
        self._thread = start_worker(node, "effort release", self._run)

    def _on_joints(self, message: JointState) -> None:
        try:
            position, velocity = read_joints(message, self._stream.joint_names)
        except ValueError as error:
            self._refused = str(error)
            return
        t_ns = stamp_to_ns(message.header.stamp) - round(1e9 * self._stream.latency_s)
        if self._joints is None or t_ns >= self._joints.t_ns or self._joints.t_ns - t_ns > CLOCK_TOLERANCE_NS:
            self._joints, self._refused = JointMeasurement(t_ns, position, velocity), ""

    def send(self, command: ArmCommand) -> None:
        """Publish the torques of this cycle; on old joint states those of one more step towards limpness."""
        with self._condition:
            if self._released:
                self._law.restart()
                self._sent_ns = None
            self._released = self._relaxing = self._rested = False
            joints = self._joints
            if joints is None or self._stale(joints, command.t_ns) or self._too_slow(joints, command.t_ns):
                torque = self._law.relax()
            else:
                torque = self._law.follow(joints, command.pose, command.twist)
            self._publish(torque)

    def release(self) -> None:
        """Let the torque ramp down. Forgives a slow loop: whoever goes on tries anew."""
        with self._condition:
            self._delay = DelayWatch()
            self._released = self._relaxing = True
            self._condition.notify_all()

    def _run(self) -> None:
        """Ramps after releases. At the wall's pace also in simulation: a ramp is over in a tenth of a second."""
        repeats = LAST_MESSAGES
        while True:
            with self._condition:
                if self._closed:
                    return
                if self._relaxing:
                    torque = self._law.relax()
                    self._publish(torque)
                    repeats = repeats - 1 if np.allclose(torque, self._law.rest_torque) else LAST_MESSAGES
                    if repeats <= 0:
                        self._relaxing, self._rested = self._carries, True
                        self._condition.notify_all()
                else:
                    repeats = LAST_MESSAGES
                    self._condition.wait()
            time.sleep(self._period_s)

    def _publish(self, torque: Array) -> None:
        if np.isfinite(torque).all():
            self._message.data = torque.tolist()
            self._topic.publish(self._message)

    def _too_slow(self, joints: JointMeasurement, t_ns: int) -> bool:
        """Count this cycle: its torque lasts about as long as the one before."""
        held_s = self._period_s if self._sent_ns is None else 1e-9 * (t_ns - self._sent_ns)
        self._sent_ns = t_ns
        return self._delay.update(held_s + 1e-9 * (t_ns - joints.t_ns), self._law.delay_limit_s)

    def _stale(self, joints: JointMeasurement, t_ns: int) -> bool:
        return not -CLOCK_TOLERANCE_NS <= t_ns - joints.t_ns <= 1e9 * self._max_age_s

    def problem(self, t_ns: int) -> str:
        """Joint states that are missing, old or unusable; a second publisher; nobody who listens."""
        joints = self._joints
        if joints is None:
            return f"no joint state on {self._stream.topic}: {self._refused or 'nothing received'}"
        if self._stale(joints, t_ns):
            age = f"{(t_ns - joints.t_ns) * 1e-9:.3f} s old (limit {self._max_age_s} s)"
            return f"joint state on {self._stream.topic} is {age}: no torque. {self._refused}".rstrip()
        if self._delay.too_slow:
            limit_ms = 1e3 * self._law.delay_limit_s
            return f"torque loop too slow: more than {limit_ms:.1f} ms from a measurement to the end of its torque"
        return self._topic.problem(t_ns)

    def close(self) -> None:
        """Ramp the torque down, then end; blocks for the ramp.

        A machine too busy for the ramp in its time ends it with a jump: the controller would hold the rest for ever.
        """
        timeout_s = self._law.longest_ramp_s + CLOSE_MARGIN_S
        with self._condition:
            if not self._released:
                self._released = self._relaxing = True
                self._condition.notify_all()
            self._condition.wait_for(lambda: self._rested or not self._thread.is_alive(), timeout=timeout_s)
            if not self._rested:
                self._publish(self._law.rest_torque)
            self._closed = True
            self._condition.notify_all()
        self._thread.join(timeout=1.0)
        self._topic.close()


def read_joints(message: Any, names: tuple[str, ...]) -> tuple[Array, Array]:
    """Positions and velocities (n,) of the named joints in a sensor_msgs/JointState.

    Raises:
        ValueError: a joint is missing, or has no velocity, or a value is not finite; says which.
    """
    present = list(message.name)
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(f"joints {', '.join(missing)} are not in the message; it has: {', '.join(present) or 'none'}")
    if len(message.position) != len(present) or len(message.velocity) != len(present):
        raise ValueError(
            f"{len(present)} names, {len(message.position)} positions, {len(message.velocity)} velocities; "
            "torques need each joint's velocity"
        )
    order = [present.index(name) for name in names]
    values = np.array([message.position, message.velocity])[:, order]
    if not np.isfinite(values).all():
        raise ValueError("a joint position or velocity is not finite")
    return values[0], values[1]
