"""Time alignment of observation streams, used unchanged on live data and on recorded bags.

Every stamp is acquisition time in integer nanoseconds on the ROS clock. An observation at ``t_obs`` with history
``To`` and step ``dt`` consists of samples at ``t_obs - k dt``, k = To-1 ... 0, oldest first:

* cameras: the nearest frame, at most half a frame period plus a tenth of one away (the newest frame is used);
* poses: linear in position, slerp in rotation; gripper width and joints: linear.

A sample that is missing or farther than the stream's max age is *invalid* and named; nothing is zero-filled.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dp_core.actions import ACTION_DIM, encode_action
from dp_core.contract import Contract
from dp_core.poses import interpolate_pose

V = TypeVar("V")

# Share of a camera period by which the nearest frame may be farther than half a period (stamp jitter).
FRAME_TOLERANCE = 0.1
# A live sample this much older than the newest of its stream means that the clock was set back.
RESTART_NS = 1_000_000_000


class StreamBuffer(Generic[V]):
    """Samples of one stream, sorted by acquisition time.

    Args:
        capacity: samples kept; older ones are forgotten. None keeps all (a bag).

    Not thread-safe: the owner guards it.
    """

    def __init__(self, capacity: int | None = None) -> None:
        if capacity is not None and capacity < 2:
            raise ValueError(f"capacity {capacity} is too small; at least 2 samples are needed to interpolate")
        self._capacity = capacity
        self._stamps: list[int] = []
        self._values: list[V] = []

    def __len__(self) -> int:
        return len(self._stamps)

    def push(self, stamp_ns: int, value: V) -> bool:
        """Insert a sample in time order. Returns False for a stamp that is there already (the first one stays)."""
        if not self._stamps or stamp_ns > self._stamps[-1]:
            self._stamps.append(stamp_ns)
            self._values.append(value)
        else:
            index = bisect_left(self._stamps, stamp_ns)
            if self._stamps[index] == stamp_ns:
                return False
            self._stamps.insert(index, stamp_ns)
            self._values.insert(index, value)
        # Trim in blocks: deleting from the front of a list one by one costs a copy each time.
        if self._capacity is not None and len(self._stamps) >= 2 * self._capacity:
            del self._stamps[: -self._capacity], self._values[: -self._capacity]
        return True

    def clear(self) -> None:
        """Forget all samples."""
        self._stamps.clear()
        self._values.clear()

    @property
    def oldest_ns(self) -> int | None:
        """Stamp of the oldest sample, or None."""
        return self._stamps[0] if self._stamps else None

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest sample, or None."""
        return self._stamps[-1] if self._stamps else None

    @property
    def stamps_ns(self) -> Sequence[int]:
        """All stamps, ascending."""
        return self._stamps

    def nearest(self, t_ns: int) -> tuple[int, V] | None:
        """The sample nearest to ``t_ns`` (the later one of two equally near), or None when empty."""
        if not self._stamps:
            return None
        index = bisect_left(self._stamps, t_ns)
        if index == len(self._stamps) or (index > 0 and t_ns - self._stamps[index - 1] < self._stamps[index] - t_ns):
            index -= 1
        return self._stamps[index], self._values[index]

    def bracket(self, t_ns: int) -> tuple[int, V, int, V] | None:
        """Samples before (or at) and after (or at) ``t_ns``; at the ends both are the end sample. None when empty."""
        if not self._stamps:
            return None
        after = min(bisect_left(self._stamps, t_ns), len(self._stamps) - 1)
        before = max(bisect_right(self._stamps, t_ns) - 1, 0)
        return self._stamps[before], self._values[before], self._stamps[after], self._values[after]


def interpolate_linear(buffer: StreamBuffer[Any], t_ns: int) -> tuple[NDArray[np.float64], int] | None:
    """Linear interpolation at ``t_ns``; returns (value, distance to the nearest sample in ns), or None when empty."""
    return _interpolate(buffer, t_ns, lambda a, b, u: a + u * (b - a))


def interpolate_poses(buffer: StreamBuffer[NDArray[np.float64]], t_ns: int) -> tuple[NDArray[np.float64], int] | None:
    """Pose7 at ``t_ns`` by linear + slerp; returns (pose, distance to the nearest sample in ns), or None."""
    return _interpolate(buffer, t_ns, interpolate_pose)


def _interpolate(
    buffer: StreamBuffer[Any], t_ns: int, between: Callable[[Any, Any, Any], Any]
) -> tuple[NDArray[np.float64], int] | None:
    found = buffer.bracket(t_ns)
    if found is None:
        return None
    t0, a, t1, b = found
    distance = min(abs(t_ns - t0), abs(t_ns - t1))
    if t1 <= t0:
        return np.asarray(a, dtype=np.float64), distance
    return between(a, b, np.float64((t_ns - t0) / (t1 - t0))), distance


@dataclass(frozen=True)
class Observation:
    """What the policy sees at ``t_ns``.

    Attributes:
        t_ns: t_obs.
        images: camera name -> list of To frames, each (H, W, 3) uint8 RGB (or whatever was pushed), oldest first.
        proprioception: (To, 10) float32, measured pose and width (see :mod:`dp_core.actions`); NaN where invalid.
        frame_stamps_ns: camera name -> stamps of the frames used.
        problems: why the observation is invalid; empty when it is valid.
    """

    t_ns: int
    images: dict[str, list[Any]]
    proprioception: NDArray[np.float32]
    frame_stamps_ns: dict[str, list[int]]
    problems: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """True when every sample is there and near enough."""
        return not self.problems


class ObservationAligner:
    """Buffers of every stream the policy observes, and samples on the observation grid.

    Args:
        contract: cameras, streams, latencies and ages.
        history: To, the number of observation steps.
        capacity: samples kept for each stream; None keeps all (a bag).
        frame_capacity: frames kept for each camera, which take much more memory; None: as the others.

    Attributes:
        restarts: how often the clock went back on live data, which forgets all samples.
    """

    def __init__(
        self, contract: Contract, history: int = 1, capacity: int | None = None, frame_capacity: int | None = None
    ) -> None:
        if history < 1:
            raise ValueError(f"history {history} is not valid; at least one observation step is needed")
        self.contract = contract
        self.history = history
        self.restarts = 0
        self._live = capacity is not None
        frames = capacity if frame_capacity is None else frame_capacity
        self.cameras: dict[str, StreamBuffer[Any]] = {n: StreamBuffer(frames) for n in contract.observation.cameras}
        self.ee_pose: StreamBuffer[NDArray[np.float64]] = StreamBuffer(capacity)
        self.width: StreamBuffer[Any] = StreamBuffer(capacity)
        self._camera_latency_ns = {n: round(1e9 * contract.cameras[n].latency_s) for n in self.cameras}
        self._pose_latency_ns = round(1e9 * contract.streams["ee_pose"].latency_s)
        self._width_latency_ns = round(1e9 * contract.streams["gripper"].latency_s)
        self._pose_max_age_ns = round(1e9 * contract.streams["ee_pose"].max_age_s)
        self._width_max_age_ns = round(1e9 * contract.streams["gripper"].max_age_s)

    def push_image(self, camera: str, header_ns: int, frame: Any) -> None:
        """Store a frame by its header stamp; the camera's latency is taken off."""
        self._push(self.cameras[camera], header_ns - self._camera_latency_ns[camera], frame)

    def push_pose(self, header_ns: int, pose: NDArray[np.float64]) -> None:
        """Store a measured end-effector pose7 in the base frame."""
        self._push(self.ee_pose, header_ns - self._pose_latency_ns, pose)

    def push_width(self, header_ns: int, width_m: float) -> None:
        """Store a measured gripper width."""
        self._push(self.width, header_ns - self._width_latency_ns, np.float64(width_m))

    def _push(self, buffer: StreamBuffer[Any], stamp_ns: int, value: Any) -> None:
        newest = buffer.newest_ns
        if self._live and newest is not None and stamp_ns < newest - RESTART_NS:
            # The clock went back (a restarted simulator): what is kept would for ever look newer than what comes.
            self.clear()
            self.restarts += 1
        buffer.push(stamp_ns, value)

    def clear(self) -> None:
        """Forget everything, for a new episode."""
        for buffer in self._buffers():
            buffer.clear()

    def _named_buffers(self) -> list[tuple[str, StreamBuffer[Any]]]:
        streams = self.contract.streams
        states = [(streams["ee_pose"].topic, self.ee_pose), (streams["gripper"].topic, self.width)]
        return [*((self.contract.cameras[name].topic, buffer) for name, buffer in self.cameras.items()), *states]

    def _buffers(self) -> list[StreamBuffer[Any]]:
        return [buffer for _, buffer in self._named_buffers()]

    def slowest_topics(self) -> list[str]:
        """Topics whose newest sample is the oldest: those that hold t_obs back."""
        newest = self.newest_observation_ns()
        return [topic for topic, buffer in self._named_buffers() if buffer.newest_ns == newest]

    def newest_by_topic(self) -> dict[str, int | None]:
        """Acquisition time of the newest sample of each topic, ns; None where none has arrived."""
        return {topic: buffer.newest_ns for topic, buffer in self._named_buffers()}

    def missing_topics(self) -> list[str]:
        """Topics of which no sample has arrived."""
        return [topic for topic, buffer in self._named_buffers() if not len(buffer)]

    def newest_observation_ns(self) -> int | None:
        """t_obs: the newest instant for which every stream has data; None while one has none."""
        newest = [b.newest_ns for b in self._buffers()]
        return None if any(n is None for n in newest) else min(n for n in newest if n is not None)

    def grid(self) -> list[int]:
        """Observation instants of a whole recording at the action rate.

        It starts at the first frame of the first camera at which every stream has begun: live observations sit on
        the newest frame, so recorded ones sit on frames as well.
        """
        starts = [b.oldest_ns for b in self._buffers()]
        end = self.newest_observation_ns()
        if end is None or any(s is None for s in starts):
            return []
        latest_start = max(s for s in starts if s is not None)
        reference = next(iter(self.cameras.values())).stamps_ns
        index = bisect_left(reference, latest_start)
        if index == len(reference):
            return []
        return list(range(reference[index], end + 1, self.contract.action.period_ns))

    def sample(self, t_obs_ns: int) -> Observation:
        """The observation at ``t_obs_ns``; check ``valid`` before use."""
        problems: list[str] = []
        period_ns = self.contract.action.period_ns
        times = [t_obs_ns - k * period_ns for k in range(self.history - 1, -1, -1)]
        images: dict[str, list[Any]] = {}
        stamps: dict[str, list[int]] = {}
        for name in self.cameras:
            images[name], stamps[name] = self._frames(name, times, problems)
        proprioception = np.full((self.history, ACTION_DIM), np.nan, dtype=np.float32)
        for row, t in enumerate(times):
            pose = self._checked(interpolate_poses(self.ee_pose, t), "ee_pose", self._pose_max_age_ns, problems)
            width = self._checked(interpolate_linear(self.width, t), "gripper", self._width_max_age_ns, problems)
            if pose is not None and width is not None:
                proprioception[row] = encode_action(pose, width)
        return Observation(t_obs_ns, images, proprioception, stamps, tuple(dict.fromkeys(problems)))

    def _frames(self, name: str, times: list[int], problems: list[str]) -> tuple[list[Any], list[int]]:
        stream = self.contract.cameras[name]
        limit_ns = min(1e9 * (0.5 + FRAME_TOLERANCE) / stream.rate_hz, 1e9 * stream.max_age_s)
        frames, stamps = [], []
        for t in times:
            found = self.cameras[name].nearest(t)
            if found is None:
                problems.append(f"{stream.topic}: no frame yet")
            elif abs(found[0] - t) > limit_ns:
                problems.append(f"{stream.topic}: nearest frame is {abs(found[0] - t) / 1e6:.0f} ms away")
            else:
                frames.append(found[1])
                stamps.append(found[0])
        return frames, stamps

    def _checked(
        self, found: tuple[NDArray[np.float64], int] | None, stream: str, max_age_ns: int, problems: list[str]
    ) -> NDArray[np.float64] | None:
        topic = self.contract.streams[stream].topic
        if found is None:
            problems.append(f"{topic}: no sample yet")
            return None
        value, distance_ns = found
        if distance_ns > max_age_ns:
            problems.append(f"{topic}: nearest sample is {distance_ns / 1e6:.0f} ms away")
            return None
        return value
