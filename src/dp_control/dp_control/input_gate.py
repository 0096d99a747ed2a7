"""Gates of the inputs: nothing enters a control cycle that is malformed, repeated, out of order or from the future.

Pure: the caller brings the clock. The node's callbacks offer each message; the worker takes the newest accepted ones.
What is refused is counted by reason and shows in the diagnostics; a stream of which all is refused grows old, and its
age stops the arm.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import numpy as np
from dp_core.contract import Contract
from dp_core.poses import pose_problem
from numpy.typing import NDArray

from dp_control.signals import CLOCK_TOLERANCE_NS, ControlInputs, DeadMan, Stamped
from dp_control.supervision import separation

Array = NDArray[np.float64]

# Rates are measured over this many samples.
RATE_SAMPLES = 40
# A step of the measured pose beyond what the arm can do is believed once it has stayed for this long.
JUMP_CONFIRMATION_NS = 50_000_000
# Allowance of a step, besides three times what the velocity limits give.
JUMP_M, JUMP_RAD, JUMP_FACTOR = 0.03, 0.2, 3.0
# After a refused jump no mode starts for this long.
JUMP_SETTLED_NS = 300_000_000


class StreamGate:
    """One input stream: keeps the newest good sample, the rate, and counts of what was refused. One thread at a time.

    Args:
        name: topic, for texts.
        size: length of the value.
        frame: frame in which it must be; None: any.
        rate_hz: rate that the contract expects; None: unknown.
        latency_s: header stamp minus acquisition.
        check: says what else is wrong with a value, or None.
    """

    def __init__(
        self,
        name: str,
        size: int,
        frame: str | None = None,
        rate_hz: float | None = None,
        latency_s: float = 0.0,
        check: Callable[[Array], str | None] | None = None,
    ) -> None:
        self.name = name
        self.expected_hz = rate_hz
        self.newest: Stamped | None = None
        self.refused: Counter[str] = Counter()
        self.accepted = 0
        self._size, self._frame = size, frame
        self._latency_ns = round(1e9 * latency_s)
        self._check = check
        self._stamps: deque[int] = deque(maxlen=RATE_SAMPLES)

    def offer(self, stamp_ns: int, value: Array, now_ns: int, frame: str | None = None) -> str:
        """Take a sample or say why not; empty when taken.

        Args:
            stamp_ns: header stamp.
            value: (size,) numbers.
            now_ns: present ROS time.
            frame: frame of the header.
        """
        reason, text = self._problem(value, frame)
        t_ns = stamp_ns - self._latency_ns
        if not reason:
            reason, text = self._stamp_problem(t_ns, now_ns)
        if not reason:
            reason, text = self._value_problem(Stamped(t_ns, value))
        if reason:
            self.refused[reason] += 1
            return f"{self.name} {text}"
        self.newest = Stamped(t_ns, value)
        self.accepted += 1
        self._stamps.append(t_ns)
        return ""

    def _problem(self, value: Array, frame: str | None) -> tuple[str, str]:
        if self._frame is not None and frame != self._frame:
            return "frame", f"is in frame {frame!r}, expected {self._frame!r}"
        if value.shape != (self._size,):
            return "size", f"has shape {value.shape}, expected ({self._size},)"
        if not np.all(np.isfinite(value)):
            return "not finite", f"is not finite: {value.tolist()}"
        problem = None if self._check is None else self._check(value)
        return ("value", problem) if problem else ("", "")

    def _stamp_problem(self, t_ns: int, now_ns: int) -> tuple[str, str]:
        if t_ns > now_ns + CLOCK_TOLERANCE_NS:
            return "future", f"is stamped {(t_ns - now_ns) * 1e-9:.2f} s in the future"
        if self.newest is not None and self.newest.t_ns > now_ns + CLOCK_TOLERANCE_NS:
            # The clock was set back: what came before it belongs to another time.
            self.newest = None
            self._stamps.clear()
        if self.newest is None or t_ns > self.newest.t_ns:
            return "", ""
        return ("repeated", "repeats a stamp") if t_ns == self.newest.t_ns else ("older", "has a stamp that goes back")

    def _value_problem(self, sample: Stamped) -> tuple[str, str]:
        """What is wrong with a value after the ones before it."""
        return "", ""

    def rate_hz(self) -> float:
        """Rate of the accepted samples by their stamps; 0 while unknown."""
        if len(self._stamps) < 2:
            return 0.0
        return (len(self._stamps) - 1) / max(1e-9 * (self._stamps[-1] - self._stamps[0]), 1e-9)

    def rate_problem(self, minimum_share: float) -> str:
        """Why the stream is too slow, or empty; the age of its newest sample is judged elsewhere."""
        if self.expected_hz is None or len(self._stamps) < 2 or self.rate_hz() >= minimum_share * self.expected_hz:
            return ""
        return f"{self.name} comes at {self.rate_hz():.0f} Hz, expected {self.expected_hz:g} Hz"

    def jump_problem(self, now_ns: int) -> str:
        """Why the values are not to be believed at present, or empty."""
        return ""


class PoseGate(StreamGate):
    """A measured pose: unit quaternion, and no step that the arm cannot do unless it stays."""

    def __init__(self, name: str, contract: Contract) -> None:
        stream = contract.streams["ee_pose"]
        super().__init__(name, 7, contract.base_frame, stream.rate_hz, stream.latency_s, pose_problem)
        self._limits = contract.limits
        self._candidate: Stamped | None = None
        self._candidate_since_ns = 0
        self._jumped_ns: int | None = None

    def _value_problem(self, sample: Stamped) -> tuple[str, str]:
        if self.newest is None or not self._jumps(self.newest, sample):
            self._candidate = None
            return "", ""
        if self._candidate is None or self._jumps(self._candidate, sample):
            self._candidate_since_ns = sample.t_ns
        self._candidate, self._jumped_ns = sample, sample.t_ns
        if sample.t_ns - self._candidate_since_ns >= JUMP_CONFIRMATION_NS:
            self._candidate = None
            return "", ""
        metres, radians = separation(self.newest.value, sample.value)
        return "jump", f"jumped by {metres:.3f} m and {radians:.2f} rad"

    def _jumps(self, a: Stamped, b: Stamped) -> bool:
        metres, radians = separation(a.value, b.value)
        seconds = JUMP_FACTOR * 1e-9 * (b.t_ns - a.t_ns)
        return (
            metres > JUMP_M + seconds * self._limits.linear_velocity_m_s
            or radians > JUMP_RAD + seconds * self._limits.angular_velocity_rad_s
        )

    def jump_problem(self, now_ns: int) -> str:
        """A jump a moment ago: the arm must not start from a pose that is not settled."""
        if self._jumped_ns is None or not 0 <= now_ns - self._jumped_ns < JUMP_SETTLED_NS:
            return ""
        return f"{self.name} jumped {(now_ns - self._jumped_ns) * 1e-9:.2f} s ago"


class InputGate:
    """The gates of all continuous inputs of a cell.

    Args:
        contract: topics, frames, rates.
        with_joints: the joints are an input of control (kinematics).
    """

    def __init__(self, contract: Contract, with_joints: bool = False) -> None:
        streams, base = contract.streams, contract.base_frame
        self._minimum_rate = contract.safety.minimum_rate
        self.pose = PoseGate(streams["ee_pose"].topic, contract)
        self.width = StreamGate(streams["gripper"].topic, 1, None, streams["gripper"].rate_hz)
        self.twist = StreamGate("teleop/twist", 6, base)
        self.dead_man = StreamGate("teleop/state", 1)
        self.joints: StreamGate | None = None
        if with_joints:
            joints = streams["joint_states"]
            self.joints = StreamGate(joints.topic, len(joints.joint_names), None, joints.rate_hz, joints.latency_s)
        self.wrench: StreamGate | None = None
        if contract.safety.force_limit_N is not None or contract.safety.torque_limit_Nm is not None:
            wrench = streams["wrench"]
            self.wrench = StreamGate(wrench.topic, 6, None, wrench.rate_hz, wrench.latency_s)

    @property
    def streams(self) -> tuple[StreamGate, ...]:
        """All gates."""
        gates = (self.pose, self.width, self.twist, self.dead_man, self.joints, self.wrench)
        return tuple(gate for gate in gates if gate is not None)

    def problems(self, t_ns: int) -> tuple[str, ...]:
        """What is wrong with the robot's streams beside their age; no mode starts meanwhile."""
        robot = [gate for gate in (self.pose, self.joints, self.wrench) if gate is not None]
        texts = [gate.rate_problem(self._minimum_rate) or gate.jump_problem(t_ns) for gate in robot]
        return tuple(text for text in texts if text)

    def inputs(self, t_ns: int) -> ControlInputs:
        """The newest accepted samples at the present ROS time, without events."""
        width, dead_man = self.width.newest, self.dead_man.newest
        return ControlInputs(
            measured_pose=self.pose.newest,
            measured_width=None if width is None else float(width.value[0]),
            twist=self.twist.newest,
            joints=None if self.joints is None else self.joints.newest,
            wrench=None if self.wrench is None else self.wrench.newest,
            dead_man=None if dead_man is None else DeadMan(dead_man.t_ns, bool(dead_man.value[0] > 0.5)),
            stream_problems=self.problems(t_ns),
        )
