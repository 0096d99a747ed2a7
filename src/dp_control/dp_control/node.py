"""Control node: the only publisher of motion commands.

Subscribes the robot's state, ``teleop/*`` and ``policy/chunk`` (:mod:`dp_control.subscriptions`); sends commands by
the back ends that the contract names; publishes ``control/command_state`` in each cycle, ``control/chunk_report`` and
``/diagnostics`` (:mod:`dp_control.publications`); serves ``control/set_mode``, ``control/stop`` and
``control/resume`` (:mod:`dp_control.requests`). Callbacks validate and store; one worker thread runs
:class:`dp_control.core.ControlCore` at the contract's control rate.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

from dp_core.contract import Contract
from dp_ros.node_main import declare_contract, run_node, start_worker
from dp_ros.pacing import Pacer
from dp_ros.real_time import declare_real_time, prepare_worker
from rclpy.node import Node

from dp_control.adapters import make_adapter
from dp_control.arms import make_arm
from dp_control.core import ControlCore, ControlInputs, ControlOutput
from dp_control.grippers import make_gripper
from dp_control.interfaces import ArmCommand, ArmKinematics
from dp_control.modes import RUNNING
from dp_control.publications import ControlDiagnostics, StatePublisher
from dp_control.requests import ModeRequests, Request
from dp_control.subscriptions import ControlSubscriptions
from dp_msgs.msg import ActionChunk

DIAGNOSTICS_PERIOD_S = 1.0


def make_kinematics(contract: Contract) -> ArmKinematics | None:
    """Inverse kinematics of the robot description that the contract names; None without one.

    Raises:
        ConfigurationError: the description does not fit the contract, or a package is not installed.
    """
    if not contract.robot.description:
        return None
    from dp_control.kinematics import QpKinematics  # pinocchio, which cells that take poses do without

    return QpKinematics.from_contract(contract)


class ControlNode(Node):
    """ROS shell around :class:`ControlCore`; see the module."""

    def __init__(self) -> None:
        super().__init__("control")
        self._contract = contract = declare_contract(self)
        self.failure = ""
        declare_real_time(self)
        kinematics = make_kinematics(contract)
        self._core = ControlCore(contract, kinematics)
        self._arm = make_arm(self, contract)
        self._gripper = make_gripper(self, contract)
        self._adapter = make_adapter(self, contract)
        self._publisher = StatePublisher(self, contract)
        self._inputs = ControlSubscriptions(self, contract, kinematics is not None, self._refuse_chunk)
        self._requests = ModeRequests(self, self._adapter)
        self._pacer = Pacer(self, contract.control.period_ns)
        self._diagnostics = ControlDiagnostics(self, contract, self._inputs.gate, self._pacer)
        self._sending = False
        self._last: tuple[ControlOutput, ControlInputs] | None = None
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._diagnose)
        self._thread = start_worker(self, "control", self._run)

    def _refuse_chunk(self, message: ActionChunk, reason: str) -> None:
        self._publisher.refuse_chunk(message, reason, int(self.get_clock().now().nanoseconds))

    def _run(self) -> None:
        """Worker: one control cycle for each tick."""
        self._diagnostics.refused_real_time(prepare_worker(self))
        while (t_ns := self._pacer.wait()) is not None:
            try:
                self._cycle(t_ns)
            except Exception as error:
                self._brake_after(error)
                raise

    def _cycle(self, t_ns: int) -> None:
        request = self._requests.take()
        inputs = self._take_inputs(request, t_ns)
        output = self._core.step(inputs, t_ns, self._pacer.periods)
        self._send(output, t_ns)
        # The state goes last: a simulator in lock step takes it as the end of the cycle.
        self._publisher.publish(output, t_ns)
        self._requests.settle(request, output)
        self._last = (output, inputs)

    def _brake_after(self, error: Exception) -> None:
        """Bring a moving arm to rest before the process ends: most failures leave that possible."""
        while self._sending and (t_ns := self._pacer.wait()) is not None:
            output = self._core.abandon(f"control failed: {error!r}", t_ns, self._pacer.periods)
            self._send(output, t_ns)
            self._publisher.publish(output, t_ns)

    def _take_inputs(self, request: Request | None, t_ns: int) -> ControlInputs:
        resume = request is not None and request.resume
        return replace(
            self._inputs.take(t_ns),
            mode=None if request is None or resume else request.mode,
            resume=resume,
            robot_problem=self._adapter.problem(t_ns),
            arm_problem=self._arm.problem(t_ns),
            gripper_problem=self._gripper.problem(t_ns),
        )

    def _send(self, output: ControlOutput, t_ns: int) -> None:
        """Commands of one cycle to arm and gripper."""
        if output.pose is not None:
            self._arm.send(ArmCommand(t_ns, output.pose, output.twist, output.joints))
        elif self._sending:
            self._arm.release()
        self._sending = output.pose is not None
        if output.gripper_changed and output.mode in RUNNING:
            spec = self._contract.gripper
            self._gripper.send(output.width, spec.speed_m_s, spec.force_N, t_ns)
        self._gripper.step(t_ns)

    def _diagnose(self) -> None:
        if self._last is not None:
            self._diagnostics.publish(*self._last, self._inputs.refused)

    def begin_close(self) -> Callable[[], bool]:
        """Brake as for a stop; says when nothing is sent any more."""
        if self._sending:
            self._requests.stop()
        return lambda: not self._sending or not self._thread.is_alive()

    def close(self) -> None:
        """Stop the worker, then the back ends."""
        self._pacer.close()
        self._thread.join(timeout=2.0)
        for part in (self._arm, self._gripper, self._adapter):
            part.close()


def main() -> None:
    """Entry point of the executable ``control_node``."""
    sys.exit(run_node(ControlNode, shared_memory=False))


if __name__ == "__main__":
    main()
