"""The control law of one cycle, without ROS: modes, limits, gating of inputs.

:meth:`ControlCore.step` is called once a period with the newest inputs and the time. It never blocks, reads no clock
and does no I/O. Whatever the inputs, its output stays within the limits of the contract; missing, stale or bad input
brakes the arm to a hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from dp_core.chunk_schedule import Chunk, ChunkRecord, ChunkSchedule
from dp_core.contract import Contract
from dp_core.motion_limits import Motion, follow_pose, follow_twist
from dp_core.poses import pose_distance
from numpy.typing import NDArray

from dp_control.gripper import GripperChannel
from dp_control.modes import RUNNING, Mode, request_problem

Array = NDArray[np.float64]

# A mode is entered from STOPPED with a measured pose this much newer than the request, so that no sample from before
# the request (a reset, a guided arm) seeds the command.
ENTRY_DELAY_NS = 50_000_000
ENTRY_TIMEOUT_NS = 2_000_000_000
# Stamps this far ahead of our clock are accepted (jitter between machines); beyond, the clocks differ and nothing that
# depends on the stamp is believed.
CLOCK_TOLERANCE_NS = 100_000_000
# A blocked arm's command is taken back to within this distance of the arm.
YIELDED_M = 0.01
# Longest period that one step makes up for; a longer pause is lost time, not distance.
LONGEST_STEP = 2.0


@dataclass(frozen=True)
class Stamped:
    """A value and its acquisition time, ns."""

    t_ns: int
    value: Array


@dataclass(frozen=True)
class ControlInputs:
    """Newest inputs; None where nothing has come. Widths in metres.

    ``chunks``, ``widths`` and ``mode`` are events since the last step, in order of arrival.
    """

    measured_pose: Stamped | None = None
    measured_width: float | None = None
    twist: Stamped | None = None
    chunks: tuple[Chunk, ...] = ()
    widths: tuple[float, ...] = ()
    mode: int | None = None


@dataclass(frozen=True)
class ControlOutput:
    """What to send in this cycle.

    ``pose`` None: send nothing to the arm. ``gripper_changed``: send the width to the gripper. ``refused``: why the
    mode request of this step was refused.
    """

    mode: Mode
    pose: Array | None
    commanded_pose: Array | None
    width: float
    gripper_changed: bool
    input_alive: bool
    active_limits: tuple[str, ...] = ()
    reports: tuple[ChunkRecord, ...] = ()
    text: str = ""
    refused: str = ""


@dataclass
class _Pending:
    mode: Mode
    since_ns: int


@dataclass
class _Cycle:
    """What one step gathers on its way."""

    inputs: ControlInputs
    t_ns: int
    dt_s: float
    gripper_changed: bool = False
    alive: bool = True
    text: str = ""
    refused: str = ""
    limits: tuple[str, ...] = ()
    reports: list[ChunkRecord] = field(default_factory=list)


class ControlCore:
    """State of the control loop. One thread.

    Args:
        contract: rates, limits, latencies.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._period_ns = contract.control.period_ns
        self._mode = Mode.STOPPED
        self._pending: _Pending | None = None
        self._motion: Motion | None = None
        self._schedule = ChunkSchedule(
            action_latency_ns=round(1e9 * contract.action.latency_s),
            gripper_latency_ns=round(1e9 * contract.gripper.latency_s),
        )
        self._gripper = GripperChannel(contract.gripper)
        self._last_ns: int | None = None
        self._entered_ns = 0
        # A frame may have been on its way when the mode was entered; older observations belong to another episode.
        oldest_s = max(camera.max_age_s for camera in contract.cameras.values())
        self._observation_margin_ns = round(1e9 * oldest_s)
        self._fault = ""
        self._yielding = False

    @property
    def mode(self) -> Mode:
        """Present mode."""
        return self._mode

    @property
    def pending(self) -> Mode | None:
        """Mode asked for and not reached yet."""
        return None if self._pending is None else self._pending.mode

    def step(self, inputs: ControlInputs, t_ns: int) -> ControlOutput:
        """Run one cycle at ROS time ``t_ns``."""
        elapsed = self._period_ns if self._last_ns is None else t_ns - self._last_ns
        self._last_ns = t_ns
        dt_s = 1e-9 * min(max(elapsed, 0.1 * self._period_ns), LONGEST_STEP * self._period_ns)
        cycle = _Cycle(inputs, t_ns, dt_s)
        if inputs.mode is not None:
            self._request(inputs.mode, cycle)
        self._advance_pending(cycle)
        if self._mode in RUNNING and elapsed < -CLOCK_TOLERANCE_NS:
            self._enter_fault(f"the clock went back by {-elapsed * 1e-9:.2f} s", cycle)
        if self._mode in RUNNING and self._motion is not None:
            self._supervise(self._motion, cycle)
        if self._motion is not None:
            self._motion = self._move(self._motion, cycle)
        pose = None if self._motion is None else self._motion.pose
        sends = self._mode in RUNNING or (self._motion is not None and not self._motion.resting)
        return ControlOutput(
            mode=self._mode,
            pose=pose if sends else None,
            commanded_pose=pose,
            width=self._gripper.width,
            gripper_changed=cycle.gripper_changed,
            input_alive=cycle.alive and self._motion is not None,
            active_limits=cycle.limits,
            reports=tuple(cycle.reports),
            text=cycle.text or self._fault,
            refused=cycle.refused,
        )

    def _request(self, wanted: int, cycle: _Cycle) -> None:
        problem = request_problem(self._mode, wanted)
        if problem is not None:
            cycle.refused = problem
            return
        if self.pending == Mode.STOPPED and wanted != Mode.STOPPED:
            # Whoever asked for a stop gets it, whatever anybody else asks meanwhile.
            cycle.refused = f"mode {Mode(wanted).name} refused: the arm is being stopped"
            return
        if self._pending is None and wanted == self._mode:
            return  # there already; a plan in execution goes on
        self._pending = _Pending(Mode(wanted), cycle.t_ns)

    def _advance_pending(self, cycle: _Cycle) -> None:
        """Enter the mode asked for once its condition holds."""
        if self._pending is None:
            return
        wanted, since_ns = self._pending.mode, self._pending.since_ns
        if wanted == Mode.STOPPED:
            # The arm brakes first (see _move); then commands end.
            if self._motion is None or self._motion.resting:
                self._enter(wanted, cycle)
                self._motion = None
                self._fault = ""
            return
        if self._mode in RUNNING:
            self._enter(wanted, cycle)
            return
        measured = cycle.inputs.measured_pose
        if measured is not None and since_ns + ENTRY_DELAY_NS <= measured.t_ns <= cycle.t_ns + CLOCK_TOLERANCE_NS:
            self._motion = Motion.at_rest(measured.value)
            self._gripper.start(cycle.inputs.measured_width)
            self._enter(wanted, cycle)
        elif cycle.t_ns - since_ns > ENTRY_TIMEOUT_NS:
            self._pending = None
            topic = self._contract.streams["ee_pose"].topic
            cycle.refused = f"no measured pose on {topic} within {ENTRY_TIMEOUT_NS * 1e-9:.0f} s"

    def _enter(self, mode: Mode, cycle: _Cycle) -> None:
        self._pending = None
        self._mode = mode
        self._entered_ns = cycle.t_ns
        ended = self._schedule.clear(f"mode changed to {mode.name}")
        if ended is not None:
            cycle.reports.append(ended)

    def _supervise(self, motion: Motion, cycle: _Cycle) -> None:
        """Fault on a measured pose that is stale or far from the command."""
        measured = cycle.inputs.measured_pose
        spec, topic = self._contract.control, self._contract.streams["ee_pose"].topic
        age_ns = None if measured is None else cycle.t_ns - measured.t_ns
        if measured is None or age_ns is None or not -CLOCK_TOLERANCE_NS <= age_ns <= 1e9 * spec.state_max_age_s:
            age = "never came" if age_ns is None else f"is {age_ns * 1e-9:.2f} s old"
            self._enter_fault(f"measured pose on {topic} {age} (limit {spec.state_max_age_s} s)", cycle)
            return
        error_m = float(pose_distance(motion.pose, measured.value)[0])
        if error_m > spec.track_error_m:
            self._enter_fault(
                f"arm is {error_m:.3f} m from its command (limit {spec.track_error_m} m): blocked or pushed", cycle
            )
            self._yielding = True

    def _enter_fault(self, reason: str, cycle: _Cycle) -> None:
        pending, self._yielding = self._pending, False
        self._enter(Mode.FAULT, cycle)
        self._fault = reason
        if pending is not None and pending.mode == Mode.STOPPED:
            self._pending = pending  # a stop that was asked for is still reached, by way of the fault

    def _move(self, motion: Motion, cycle: _Cycle) -> Motion:
        """The motion of this cycle in the present mode."""
        if self._mode == Mode.FAULT and self._yielding:
            return self._yield(motion, cycle)
        stopping = self.pending == Mode.STOPPED
        if self._mode == Mode.TELEOP and not stopping:
            return self._move_by_twist(motion, cycle)
        if self._mode == Mode.POLICY and not stopping:
            return self._move_by_chunk(motion, cycle)
        return self._limited(follow_twist(motion, np.zeros(6), cycle.dt_s, self._contract.limits), cycle)

    def _yield(self, motion: Motion, cycle: _Cycle) -> Motion:
        """Take the command back to where the arm is: a stiff arm must not go on pushing at what blocks it."""
        measured, limits = cycle.inputs.measured_pose, self._contract.limits
        self._yielding = (
            measured is not None
            and abs(cycle.t_ns - measured.t_ns) <= 1e9 * self._contract.control.state_max_age_s
            and float(pose_distance(motion.pose, measured.value)[0]) > YIELDED_M
        )
        if measured is None or not self._yielding:
            return self._limited(follow_twist(motion, np.zeros(6), cycle.dt_s, limits), cycle)
        return self._limited(follow_pose(motion, measured.value, np.zeros(6), cycle.dt_s, limits), cycle)

    def _limited(self, result: tuple[Motion, tuple[str, ...]], cycle: _Cycle) -> Motion:
        motion, cycle.limits = result
        return motion

    def _move_by_twist(self, motion: Motion, cycle: _Cycle) -> Motion:
        for width in cycle.inputs.widths:
            cycle.gripper_changed |= self._gripper.command(width)
        twist, max_age_s = cycle.inputs.twist, self._contract.control.input_max_age_s
        if twist is None or abs(cycle.t_ns - twist.t_ns) > 1e9 * max_age_s:
            cycle.alive = False
            cycle.text = f"no teleop/twist newer than {max_age_s} s: holding"
        wanted = twist.value if twist is not None and cycle.alive else np.zeros(6)
        return self._limited(follow_twist(motion, wanted, cycle.dt_s, self._contract.limits), cycle)

    def _chunk_problem(self, chunk: Chunk, t_ns: int) -> str:
        """Why a chunk must not be taken, or nothing."""
        if chunk.observed_ns > t_ns + CLOCK_TOLERANCE_NS:
            return f"observed {(chunk.observed_ns - t_ns) * 1e-9:.2f} s in the future: the clocks differ"
        if chunk.observed_ns < self._entered_ns - self._observation_margin_ns:
            return f"observed {(self._entered_ns - chunk.observed_ns) * 1e-9:.2f} s before this mode began"
        return ""

    def _move_by_chunk(self, motion: Motion, cycle: _Cycle) -> Motion:
        for chunk in cycle.inputs.chunks:
            problem = self._chunk_problem(chunk, cycle.t_ns)
            if problem:
                cycle.reports.append(ChunkRecord(chunk, cycle.t_ns, stop_reason=problem))
                continue
            record, _ = self._schedule.merge(chunk, cycle.t_ns, motion.pose)
            if record is not None:
                cycle.reports.append(record)
        target = self._schedule.target(cycle.t_ns)
        if target is None:
            cycle.alive = False
            cycle.text = "no policy/chunk yet: holding"
            return self._limited(follow_twist(motion, np.zeros(6), cycle.dt_s, self._contract.limits), cycle)
        if target.ended:
            cycle.alive = False
            cycle.text = "last action of the chunk reached and no newer chunk: holding"
        cycle.gripper_changed |= self._gripper.follow(target.width)
        limits = self._contract.limits
        return self._limited(follow_pose(motion, target.pose, target.twist, cycle.dt_s, limits), cycle)
