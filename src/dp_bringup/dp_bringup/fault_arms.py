"""A simple arm for fault episodes, and a stand-in for its kinematics. Pure: no clock."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from dp_control.interfaces import JointSolution
from numpy.typing import NDArray

Array = NDArray[np.float64]


class FollowingArm:
    """Follows its command with a delay and a first-order lag; can be blocked, pushed and displaced.

    Args:
        pose: pose7 where it is.
        delay_steps: commands take this many steps to arrive.
        lag_s: time constant of its servo.
    """

    def __init__(self, pose: Array, delay_steps: int, lag_s: float) -> None:
        self.pose = pose.copy()
        self._target = pose.copy()
        self._lag_s = lag_s
        self._queue: deque[Array] = deque(maxlen=delay_steps + 1)
        self._push = np.zeros(3)

    def step(self, command: Array | None, period_s: float, blocked: bool, push_m_s: Array | None) -> None:
        """Move for one period towards the newest command that has arrived; without commands it stays."""
        if command is not None:
            self._queue.append(command)
            if len(self._queue) == self._queue.maxlen:
                self._target = self._queue[0]
        if push_m_s is not None:
            self._push = self._push + push_m_s * period_s
        else:
            self._push = self._push * math.exp(-period_s / 0.05)  # it springs back to its command
        if blocked:
            return
        share = 1.0 - math.exp(-period_s / self._lag_s)
        wanted = self._target[:3] + self._push
        self.pose[:3] += share * (wanted - self.pose[:3])
        quat = self._target[3:] if self.pose[3:] @ self._target[3:] >= 0.0 else -self._target[3:]
        mixed = self.pose[3:] + share * (quat - self.pose[3:])
        self.pose[3:] = mixed / math.sqrt(mixed @ mixed)

    def displace(self, offset: Array) -> None:
        """Somebody moves the arm and its servo's target by (3,) m at once."""
        self.pose[:3] += offset
        self._target = self._target.copy()
        self._target[:3] += offset
        self._queue.clear()


class SphereKinematics:
    """Stand-in for an arm's kinematics whose joints are the pose itself and whose reach is a sphere.

    Args:
        centre: (3,) m, base frame.
        radius_m: positions farther away cannot be reached.
        speed_m_s: how fast the joints may follow.
    """

    tolerance_m = 1e-3
    tolerance_rad = 1e-2

    def __init__(self, centre: Array, radius_m: float, speed_m_s: float = 10.0) -> None:
        self._centre = centre
        self._radius_m = radius_m
        self._speed_m_s = speed_m_s
        self._joints = np.zeros(7)

    def start(self, joints: Array) -> None:
        """Begin at measured joints (7,): a pose."""
        self._joints = np.array(joints, dtype=np.float64)

    def solve(self, pose: Array, period_s: float) -> JointSolution:
        """Nearest reachable position, approached within the joint speed."""
        joints = np.array(pose, dtype=np.float64)
        if joints[3:] @ self._joints[3:] < 0.0:
            joints[3:] = -joints[3:]
        active = []
        offset = joints[:3] - self._centre
        distance = math.sqrt(offset @ offset)
        if distance > self._radius_m:
            joints[:3] = self._centre + offset * (self._radius_m / distance)
            active.append("joint_position")
        step = joints[:3] - self._joints[:3]
        length = math.sqrt(step @ step)
        if length > self._speed_m_s * period_s:
            joints[:3] = self._joints[:3] + step * (self._speed_m_s * period_s / length)
            active.append("joint_velocity")
        left = joints[:3] - pose[:3]
        velocity = (joints - self._joints) / period_s
        self._joints = joints
        return JointSolution(joints.copy(), velocity, math.sqrt(left @ left), 0.0, tuple(active))

    def brake(self, period_s: float) -> JointSolution:
        """These joints have no inertia: they rest where they are."""
        return JointSolution(self._joints.copy(), np.zeros_like(self._joints), 0.0, 0.0)

    def snapshot(self) -> object:
        """The present joints."""
        return self._joints

    def restore(self, snapshot: object) -> None:
        """Back to the joints of a snapshot."""
        assert isinstance(snapshot, np.ndarray)
        self._joints = snapshot

    def forward(self, joints: Array) -> Array:
        """The joints are the pose."""
        return np.array(joints, dtype=np.float64)
