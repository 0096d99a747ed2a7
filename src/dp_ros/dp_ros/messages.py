"""Between ROS messages and plain numbers. Nothing here validates; see the callers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, PoseStamped
from numpy.typing import NDArray

Array = NDArray[np.float64]


def stamp_to_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def ns_to_stamp(t_ns: int) -> Time:
    """builtin_interfaces/Time of nanoseconds."""
    sec, nanosec = divmod(int(t_ns), 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def pose_to_array(pose: Any) -> Array:
    """pose7 of a geometry_msgs/Pose."""
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])


def fill_pose(pose: Any, values: Sequence[float] | Array) -> None:
    """Write a pose7 into a geometry_msgs/Pose."""
    p, q = pose.position, pose.orientation
    p.x, p.y, p.z, q.x, q.y, q.z, q.w = map(float, values)


def array_to_pose(values: Sequence[float] | Array) -> Pose:
    """geometry_msgs/Pose of a pose7."""
    pose = Pose()
    fill_pose(pose, values)
    return pose


def stamped_pose(values: Sequence[float] | Array, frame: str, t_ns: int) -> PoseStamped:
    """PoseStamped of a pose7 in ``frame`` at ``t_ns``."""
    message = PoseStamped()
    message.header.frame_id = frame
    message.header.stamp = ns_to_stamp(t_ns)
    fill_pose(message.pose, values)
    return message


def twist_to_array(twist: Any) -> Array:
    """(6,) of a geometry_msgs/Twist: linear, then angular."""
    a, b = twist.linear, twist.angular
    return np.array([a.x, a.y, a.z, b.x, b.y, b.z])


def fill_twist(twist: Any, values: Sequence[float] | Array) -> None:
    """Write (6,) into a geometry_msgs/Twist."""
    a, b = twist.linear, twist.angular
    a.x, a.y, a.z, b.x, b.y, b.z = map(float, values)


def joint_sum(message: Any, names: Sequence[str]) -> float:
    """Sum of the positions of the named joints in a sensor_msgs/JointState (the width of a parallel gripper).

    Raises:
        ValueError: a joint is not in the message or has no position; names it.
    """
    total = 0.0
    for name in names:
        if name not in message.name:
            raise ValueError(f"joint '{name}' is not in the message; it has: {', '.join(message.name) or 'none'}")
        index = list(message.name).index(name)
        if index >= len(message.position):
            raise ValueError(
                f"joint '{name}' has no position: {len(message.name)} names, {len(message.position)} values"
            )
        total += message.position[index]
    return total
