"""Gripper back ends: how widths reach a gripper. See :class:`dp_control.interfaces.GripperBackEnd`."""

from __future__ import annotations

from dp_core.contract import Contract
from rclpy.node import Node

from dp_control.grippers.action import ActionGripper
from dp_control.grippers.forward import ForwardGripper
from dp_control.grippers.franka import FrankaHand
from dp_control.grippers.gripper_command import GripperCommandServer
from dp_control.grippers.sim import SimGripper
from dp_control.interfaces import GripperBackEnd


def make_gripper(node: Node, contract: Contract) -> GripperBackEnd:
    """The back end that ``contract.robot.gripper`` names, made on ``node``.

    Raises:
        ConfigurationError: the package with the gripper's messages is not installed; says where to get it.
    """
    kind = contract.robot.gripper
    if kind == "franka":
        return ActionGripper(node, FrankaHand(node, contract))
    if kind == "gripper_command":
        return ActionGripper(node, GripperCommandServer(node, contract))
    if kind == "forward":
        return ForwardGripper(node, contract)
    return SimGripper(node, contract)
