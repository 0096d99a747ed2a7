"""Ways to turn chunks of waypoints into commands at the control rate: the ones compared, and ours."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from dp_core.chunk_schedule import Chunk, ChunkSchedule
from dp_core.contract import Contract
from dp_core.limits import MotionLimits
from dp_core.motion_limits import MotionLimiter
from dp_core.poses import (
    interpolate_pose,
    pose_distance,
    quat_from_rotvec,
    quat_inverse,
    quat_multiply,
    rotvec_from_quat,
)
from numpy.typing import NDArray

from dp_bringup.control_bench.recorded_motion import RecordedMotion

Array = NDArray[np.float64]


class WaypointMethod(Protocol):
    """Commands from chunks. Called once per control period, times in ns from the start of the motion."""

    def take(self, chunk: Chunk, now_ns: int) -> None:
        """A chunk has arrived."""

    def command(self, now_ns: int) -> Array:
        """Pose7 to be sent now."""


class Replay:
    """The recorded motion itself, at the control rate: no method can be smoother and follow it."""

    def __init__(self, motion: RecordedMotion) -> None:
        self._motion = motion

    def take(self, chunk: Chunk, now_ns: int) -> None:
        """Waypoints are not needed."""

    def command(self, now_ns: int) -> Array:
        """Pose7 of the recording now."""
        return self._motion.at(1e-9 * now_ns)


class LinearSlerp:
    """Waypoints on straight lines, as real-stanford/diffusion_policy's robot process follows them.

    Written after `RTDEInterpolationController` and `PoseTrajectoryInterpolator.schedule_waypoint`: each waypoint still
    to come is appended in turn; the first one of a new chunk, being earlier than the last one scheduled, cuts
    the path at the end of the present cycle and goes on in a straight line from there. A segment faster than the
    speed limits is stretched in time. As there, a cycle sends its command before it looks at what has arrived.
    """

    def __init__(self, pose: Array, limits: MotionLimits, period_ns: int) -> None:
        self._period_s = 1e-9 * period_ns
        self._limits = limits
        self._times = [0.0]
        self._poses = [np.array(pose)]
        self._last_s = 0.0
        self._arrived: list[Chunk] = []

    def take(self, chunk: Chunk, now_ns: int) -> None:
        """Keep a chunk until this cycle's command is sent."""
        self._arrived.append(chunk)

    def command(self, now_ns: int) -> Array:
        """Pose7 on the path now; then schedule the waypoints of new chunks that are still to come."""
        now_s = 1e-9 * now_ns
        pose = self._at(now_s)
        for chunk in self._arrived:
            self._schedule_chunk(chunk, now_s + self._period_s)
        self._arrived.clear()
        return pose

    def _schedule_chunk(self, chunk: Chunk, current_s: float) -> None:
        for stamp_ns, pose in zip(chunk.stamps_ns, chunk.poses, strict=True):
            time_s = 1e-9 * int(stamp_ns)
            if time_s > current_s:
                self._schedule(pose, time_s, current_s)
                self._last_s = time_s

    def _schedule(self, pose: Array, time_s: float, current_s: float) -> None:
        end_s = current_s if time_s <= self._last_s else max(self._last_s, current_s)
        end_s = min(end_s, time_s)
        start_s = min(max(current_s, self._times[0]), end_s)
        kept = [t for t in self._times if start_s < t < end_s]
        times = list(dict.fromkeys([start_s, *kept, end_s]))
        poses = [self._at(t) for t in times]
        metres, radians = pose_distance(poses[-1], pose)
        shortest_s = max(
            float(metres) / self._limits.linear_velocity_m_s, float(radians) / self._limits.angular_velocity_rad_s
        )
        times.append(end_s + max(time_s - end_s, shortest_s))
        self._times, self._poses = times, [*poses, np.array(pose)]

    def _at(self, time_s: float) -> Array:
        if time_s <= self._times[0]:
            return self._poses[0]
        if time_s >= self._times[-1]:
            return self._poses[-1]
        i = int(np.searchsorted(self._times, time_s, side="right")) - 1
        share = (time_s - self._times[i]) / (self._times[i + 1] - self._times[i])
        return interpolate_pose(self._poses[i], self._poses[i + 1], np.float64(share))


class StoppingTrajectories:
    """Each chunk's executed part as a trajectory of its own that ends at rest: trajectories streamed to a controller.

    Cubic between waypoints, continuous velocity within a trajectory, zero at its end, as
    joint_trajectory_controller executes points without velocities at the last one. Done on poses, in time: the next
    trajectory is assumed to be there when the one before ends.
    """

    def __init__(self, pose: Array, executed: int, overlap: int) -> None:
        self._rest = np.array(pose)
        self._executed, self._overlap = executed, overlap
        self._pieces: list[tuple[Any, Any, Any, Any]] = []  # times, values, rates, quaternion

    def take(self, chunk: Chunk, now_ns: int) -> None:
        """Queue the part of the chunk from where the last trajectory ends."""
        first = 0 if not self._pieces else self._overlap
        part = slice(first, self._executed + self._overlap + 1)
        times, poses = 1e-9 * chunk.stamps_ns[part], chunk.poses[part]
        turned = np.array([rotvec_from_quat(quat_multiply(q, quat_inverse(poses[0, 3:]))) for q in poses[:, 3:]])
        values = np.concatenate([poses[:, :3], turned], axis=1)
        rates = np.gradient(values, times, axis=0)
        rates[0] = rates[-1] = 0.0
        self._pieces.append((times, values, rates, poses[0, 3:]))

    def command(self, now_ns: int) -> Array:
        """Pose7 of the trajectory in execution."""
        time_s = 1e-9 * now_ns
        begun = [piece for piece in self._pieces if piece[0][0] <= time_s]
        if not begun:
            return self._rest
        times, values, rates, quat = begun[-1]
        time_s = min(time_s, float(times[-1]))
        i = min(int(np.searchsorted(times, time_s, side="right")) - 1, len(times) - 2)
        step_s = times[i + 1] - times[i]
        u = (time_s - times[i]) / step_s
        value = (
            (1 + 2 * u) * (1 - u) ** 2 * values[i]
            + u * (1 - u) ** 2 * step_s * rates[i]
            + u**2 * (3 - 2 * u) * values[i + 1]
            + u**2 * (u - 1) * step_s * rates[i + 1]
        )
        return np.concatenate([value[:3], quat_multiply(quat_from_rotvec(value[3:]), quat)])


class Follower:
    """Ours: chunks on a spline of the absolute timeline, then the limiter."""

    def __init__(self, pose: Array, contract: Contract, period_ns: int) -> None:
        self._schedule = ChunkSchedule(
            action_latency_ns=round(1e9 * contract.action.latency_s),
            gripper_latency_ns=round(1e9 * contract.gripper.latency_s),
            period_ns=period_ns,
        )
        self._limiter = MotionLimiter(contract.limits, contract.safety, 1e-9 * period_ns)
        self._limiter.start(pose)
        self.limited = 0

    def take(self, chunk: Chunk, now_ns: int) -> None:
        """Merge the chunk into the plan."""
        self._schedule.merge(chunk, now_ns, self._limiter.motion)

    def command(self, now_ns: int) -> Array:
        """One period of following the plan."""
        target = self._schedule.target(now_ns)
        if target is None:
            self._limiter.brake()
        else:
            self.limited += bool(self._limiter.follow_pose(target.pose, target.twist, target.acceleration))
        return self._limiter.motion.pose
