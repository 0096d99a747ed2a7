"""Arm back ends: how the commands of control reach a controller. See :class:`dp_control.interfaces.ArmBackEnd`."""

from __future__ import annotations

from dp_core.contract import Contract
from rclpy.node import Node

from dp_control.arms.joint import ForwardPositionBackEnd, JointTrajectoryBackEnd
from dp_control.arms.pose import PoseBackEnd
from dp_control.interfaces import ArmBackEnd


def make_arm(node: Node, contract: Contract) -> ArmBackEnd:
    """The back end that ``contract.robot`` names, its publishers made on ``node``."""
    robot = contract.robot
    if robot.back_end == "effort":
        from dp_control.arms.effort import EffortBackEnd  # needs the dynamics model, which other cells do without

        return EffortBackEnd(node, contract)
    if robot.resolved_controller == "joint_trajectory":
        return JointTrajectoryBackEnd(node, contract)
    if robot.resolved_controller == "forward_position":
        return ForwardPositionBackEnd(node, contract)
    return PoseBackEnd(node, contract)
