"""The parameters of the simulator node that make its delays."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dp_ros.node_main import declare
from rclpy.node import Node

from dp_sim.delays import LONGEST_DELAY_S, CameraDelay, per_camera

_EACH = "one number for all cameras, or such as front=0.04,wrist=0.02"


@dataclass(frozen=True)
class SimulatedDelays:
    """Delays of one cell.

    Attributes:
        cameras: how the pictures of each camera travel.
        command_ms: the arm takes a command this much later, ms of physics.
        gripper_ms: the gripper does.
        clock_code_period_s: refresh period of the screens before the cameras; 0: none.
    """

    cameras: dict[str, CameraDelay]
    command_ms: int
    gripper_ms: int
    clock_code_period_s: float


def declare_delays(node: Node, cameras: Collection[str]) -> SimulatedDelays:
    """Declare the parameters and read them. Raises `ConfigurationError`."""
    delay = _cameras(node, "camera_delay_s", f"From exposure to arrival of a picture, s: {_EACH}.", cameras)
    jitter = _cameras(node, "camera_jitter_s", f"Largest difference of a picture's delay, s: {_EACH}.", cameras)
    drop = _cameras(node, "camera_drop", f"Share of pictures that never arrive: {_EACH}.", cameras)
    what = "Header stamp of a picture: acquisition, or arrival as of a driver that stamps what comes in."
    stamps = str(declare(node, "camera_stamps", "acquisition", what))
    return SimulatedDelays(
        cameras={name: CameraDelay(delay[name], jitter[name], drop[name], stamps) for name in cameras},
        command_ms=_delay_ms(node, "command_delay_s", "The arm takes a command this much later, s."),
        gripper_ms=_delay_ms(node, "gripper_delay_s", "The gripper takes a command this much later, s."),
        clock_code_period_s=float(
            declare(
                node,
                "clock_code_period_s",
                0.0,
                "Refresh period of screens before the cameras that show physics time as a code, s; 0: no screens.",
                low=0,
                high=1,
            )
        ),
    )


def _cameras(node: Node, name: str, what: str, cameras: Collection[str]) -> dict[str, float]:
    return per_camera(name, str(declare(node, name, "", what)), cameras)


def _delay_ms(node: Node, name: str, what: str) -> int:
    return round(1000.0 * float(declare(node, name, 0.0, what, low=0, high=LONGEST_DELAY_S)))
