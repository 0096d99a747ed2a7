"""Gripper back ends: how widths reach a gripper. See :class:`dp_control.interfaces.GripperBackEnd`."""

from __future__ import annotations

from collections.abc import Callable

from dp_core.contract import Contract
from rclpy.node import Node

from dp_control.grippers.forward import ForwardGripper
from dp_control.grippers.sim import SimGripper
from dp_control.interfaces import GripperBackEnd


def make_gripper(node: Node, contract: Contract) -> GripperBackEnd:
    """The back end that ``contract.robot.gripper`` names, made on ``node``.

    Raises:
        ConfigurationError: the package with the gripper's messages is not installed; names it.
    """
    makers: dict[str, Callable[[Node, Contract], GripperBackEnd]] = {"sim": SimGripper, "forward": ForwardGripper}
    return makers[contract.robot.gripper](node, contract)
