"""Robot adapters: what is particular to a make of robot. See :class:`dp_control.interfaces.RobotAdapter`."""

from __future__ import annotations

from dp_core.contract import Contract
from rclpy.node import Node

from dp_control.adapters.franka import FrankaAdapter
from dp_control.interfaces import RobotAdapter


class NoAdapter:
    """For a robot that has no mode of its own."""

    recovering = False

    def problem(self, t_ns: int) -> str:
        """Never any."""
        return ""

    def recover(self) -> str:
        """Nothing to recover."""
        return ""

    def close(self) -> None:
        """Nothing to end."""


def make_adapter(node: Node, contract: Contract) -> RobotAdapter:
    """The adapter that ``contract.robot`` names, made on ``node``.

    Raises:
        ConfigurationError: the package with the robot's messages is not installed; says where to get it.
    """
    return FrankaAdapter(node, contract) if contract.robot.adapter == "franka" else NoAdapter()
