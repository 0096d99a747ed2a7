"""The control law of one cycle, without ROS: requests, modes, supervision, motion.

:meth:`ControlCore.step` is called once a cycle with the newest inputs and the time. It never blocks, reads no clock
and does no I/O. Whatever the inputs, its output stays within the limits of the contract; missing, stale or bad input
brakes the arm to a hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from dp_core.chunk_schedule import ChunkRecord, ScheduledTarget
from dp_core.contract import Contract, ContractError
from dp_core.poses import pose_problem
from numpy.typing import NDArray

from dp_control.execution import PlanExecution
from dp_control.gripper import GripperChannel
from dp_control.guarded_motion import GuardedMotion
from dp_control.interfaces import ArmKinematics
from dp_control.mode_machine import ModeMachine
from dp_control.modes import RUNNING, Mode, Trigger
from dp_control.signals import ControlInputs, ControlOutput, DeadMan, Stamped
from dp_control.supervision import Fault, Supervisor, separation
from dp_control.takeover import OperatorHand

__all__ = ["ControlCore", "ControlInputs", "ControlOutput", "DeadMan", "Stamped"]

Array = NDArray[np.float64]

# Missed periods are made up for up to this many; a longer pause is lost time, not distance: the arm has stood still.
LONGEST_CATCH_UP = 3
# A blocked arm's command is taken back to within this of where the arm was when it was found out, for this long.
YIELDED_M, YIELDED_RAD = 0.001, 0.01
YIELD_TIMEOUT_NS = 2_000_000_000
_AT_REST: Array = np.zeros(6)
_AT_REST.flags.writeable = False
_NO_NEWER = "no newer policy/chunk after the last action"

# One period of motion, given its number among those of the cycle; returns the active limits.
Step = Callable[[int], tuple[str, ...]]


@dataclass
class _Cycle:
    """What one step gathers on its way."""

    inputs: ControlInputs
    t_ns: int
    periods: int = 1
    gripper_changed: bool = False
    alive: bool = True
    text: str = ""
    refused: str = ""
    reached: bool = False
    limits: dict[str, None] = field(default_factory=dict)
    reports: list[ChunkRecord] = field(default_factory=list)


class ControlCore:
    """State of the control loop. One thread.

    Args:
        contract: rates, limits, latencies, safety rules.
        kinematics: inverse kinematics of the arm; None where the controller takes poses.
    """

    def __init__(self, contract: Contract, kinematics: ArmKinematics | None = None) -> None:
        self._period_ns = contract.control.period_ns
        self._lost_s = contract.safety.input_lost_s
        self.counters: Counter[str] = Counter()
        self._machine = ModeMachine()
        self._guarded = GuardedMotion(contract, kinematics)
        self._supervisor = Supervisor(contract, kinematics)
        self._hand = OperatorHand(contract)
        self._plan = PlanExecution(contract, self.counters)
        self._gripper = GripperChannel(contract.gripper)
        self._yield_to: Array | None = None
        self._rested_ns = 0

    @property
    def mode(self) -> Mode:
        """Present mode."""
        return self._machine.mode

    @property
    def pending(self) -> Mode | None:
        """Mode asked for and not reached yet."""
        return None if self._machine.pending is None else self._machine.pending.mode

    def step(self, inputs: ControlInputs, t_ns: int, periods: int = 1) -> ControlOutput:
        """Run one cycle.

        Args:
            inputs: the newest.
            t_ns: ROS time of the cycle.
            periods: control periods since the last cycle, counted by the loop on the monotonic clock.
        """
        cycle = _Cycle(inputs, t_ns, max(periods, 1))
        clock_fault = self._supervisor.clock_fault(t_ns, self._period_ns, periods)
        cycle.refused, cycle.reached = self._machine.ask(inputs, t_ns)
        if clock_fault is None or self.mode in RUNNING:
            self._advance_request(cycle)  # no mode starts in the cycle in which the clock was set
        if self.mode in RUNNING:
            self._supervise(clock_fault, cycle)
        if self._guarded.started:
            self._move(cycle)
        return self._output(cycle)

    def abandon(self, reason: str, t_ns: int, periods: int = 1) -> ControlOutput:
        """One cycle of braking, in place of :meth:`step`, after something has failed for ``reason``."""
        self._yield_to = None
        if self.mode in RUNNING:
            self._machine.enter(Mode.FAULT, Trigger.FAULT, t_ns, reason)
        if self._guarded.started:
            for _ in range(min(periods, LONGEST_CATCH_UP)):
                self._guarded.stop()
        return self._output(_Cycle(ControlInputs(), t_ns, alive=False))

    def _output(self, cycle: _Cycle) -> ControlOutput:
        motion = self._guarded.motion if self._guarded.started else None
        sends = motion is not None and (self.mode in RUNNING or not self._at_rest())
        gripper = cycle.inputs.gripper_problem
        notices = (f"gripper: {gripper}",) if gripper else cycle.inputs.stream_problems
        return ControlOutput(
            mode=self.mode,
            pose=motion.pose if motion is not None and sends else None,
            commanded_pose=None if motion is None else motion.pose,
            width=self._gripper.width,
            gripper_changed=cycle.gripper_changed,
            input_alive=cycle.alive and motion is not None,
            active_limits=tuple(cycle.limits),
            reports=tuple(cycle.reports),
            text=cycle.text or self._machine.reason or "; ".join(notices),
            refused=cycle.refused,
            reached=cycle.reached,
            twist=_AT_REST if motion is None else motion.twist,
            joints=None if motion is None else self._guarded.joints,
            intervention=self._machine.intervention,
            counters=self.counters,
        )

    # Modes

    def _advance_request(self, cycle: _Cycle) -> None:
        """Enter the mode asked for once its condition holds."""
        pending = self._machine.pending
        if pending is None:
            return
        # What is measured while the arm brakes is not where it will stand. (The clock may have been set back since.)
        self._rested_ns = min(self._rested_ns, cycle.t_ns) if self._at_rest() else cycle.t_ns
        problem = self._prepare_entry(pending.mode, max(pending.since_ns, self._rested_ns), cycle)
        if not problem:
            self._enter(pending.mode, pending.trigger, cycle)
            cycle.reached = True
        elif pending.expired(cycle.t_ns) and pending.mode != Mode.STOPPED and not cycle.refused:
            # (Another request was refused in this cycle: its reason goes first, this one's comes with the next.)
            self._machine.pending = None
            cycle.refused = f"mode {pending.mode.name} not reached: {problem}"

    def _prepare_entry(self, mode: Mode, since_ns: int, cycle: _Cycle) -> str:
        """Put the command where the mode that was asked for starts; returns why that cannot be done yet, or empty."""
        if self.mode in RUNNING and mode in RUNNING:
            return ""
        if not self._at_rest():
            return "the arm is still braking"
        if mode == Mode.STOPPED:
            self._guarded.end()
            return ""
        problem = self._supervisor.start_problem(cycle.inputs, since_ns, cycle.t_ns)
        measured, joints = cycle.inputs.measured_pose, cycle.inputs.joints
        if not problem and measured is not None:
            try:
                self._guarded.start(measured.value, None if joints is None else joints.value)
            except ContractError as error:
                return str(error)
            self._gripper.start(cycle.inputs.measured_width)
        return problem

    def _at_rest(self) -> bool:
        return self._yield_to is None and (not self._guarded.started or self._guarded.resting)

    def _enter(self, mode: Mode, trigger: Trigger, cycle: _Cycle, reason: str = "") -> None:
        self._machine.enter(mode, trigger, cycle.t_ns, reason)
        self._yield_to = None
        cycle.reports += self._plan.end(reason or f"mode changed to {mode.name}")
        self._plan.begin(cycle.t_ns)
        self._hand.begin(cycle.t_ns, driving=self._machine.intervention)
        if trigger not in (Trigger.REQUEST, Trigger.RESUME):
            self.counters[trigger.value] += 1

    def _supervise(self, clock_fault: Fault | None, cycle: _Cycle) -> None:
        fault = clock_fault or self._supervisor.fault(cycle.inputs, self._guarded.motion.pose, cycle.t_ns)
        if fault is None:
            return
        self._enter(Mode.FAULT, Trigger.FAULT, cycle, fault.reason)
        measured = cycle.inputs.measured_pose
        # A held or pushed arm is where it says; one whose pose has just jumped may not be, and is not followed.
        if not fault.yields or measured is None or cycle.inputs.stream_problems:
            return
        if pose_problem(measured.value) is None:
            self._yield_to = measured.value

    # Motion

    def _move(self, cycle: _Cycle) -> None:
        """One step of the limiter for each elapsed period, all by the decision of this cycle."""
        if cycle.periods > LONGEST_CATCH_UP:
            self._guarded.rest()
            self.counters["restarts from rest"] += 1
            cycle.periods = 1
        step = self._decide(cycle)
        for number in range(cycle.periods):
            cycle.limits.update(dict.fromkeys(step(number)))

    def _decide(self, cycle: _Cycle) -> Step:
        """What moves the arm in this cycle."""
        if self._yield_to is not None:
            return self._decide_yield(self._yield_to, cycle)
        if self._machine.stopping:
            return self._brake
        if self.mode == Mode.POLICY and self._hand.takes_over(cycle.inputs, cycle.t_ns):
            self._enter(Mode.TELEOP, Trigger.TAKEOVER, cycle)
        if self.mode == Mode.TELEOP:
            return self._decide_teleop(cycle)
        if self.mode == Mode.POLICY:
            return self._decide_policy(cycle)
        cycle.alive = not self._machine.reason
        return self._brake

    def _brake(self, _number: int) -> tuple[str, ...]:
        final = self._machine.stopping or self.mode not in RUNNING
        return self._guarded.stop() if final else self._guarded.brake()

    def _decide_yield(self, pose: Array, cycle: _Cycle) -> Step:
        """Take the command back to where the arm was: a stiff arm must not go on pushing at what blocks it."""
        metres, radians = separation(self._guarded.motion.pose, pose)
        arrived = metres < YIELDED_M and radians < YIELDED_RAD
        if arrived or cycle.t_ns - self._machine.entered_ns > YIELD_TIMEOUT_NS:
            self._yield_to = None
            return self._brake
        return lambda _: self._guarded.follow_pose(pose, _AT_REST, _AT_REST)

    def _hold(self, text: str, cycle: _Cycle) -> Step:
        """Brake and say why."""
        cycle.alive, cycle.text = False, text
        return self._brake

    def _leave(self, what: str, cycle: _Cycle) -> Step:
        """The input of the mode is gone for good: hold until somebody asks for a mode again."""
        reason = f"{what} for {self._lost_s:g} s: left {self.mode.name}, ask for it to go on"
        self._enter(Mode.HOLD, Trigger.INPUT_LOST, cycle, reason)
        return self._hold(reason, cycle)

    def _decide_teleop(self, cycle: _Cycle) -> Step:
        verdict = self._hand.drive(cycle.inputs, cycle.t_ns)
        if verdict.lost:
            return self._leave("no teleop/twist or dead-man button", cycle)
        twist = verdict.twist
        if twist is None:
            return self._hold(verdict.text, cycle)
        for width in cycle.inputs.widths:
            cycle.gripper_changed |= self._gripper.command(width)
        return lambda _: self._guarded.follow_twist(twist)

    def _decide_policy(self, cycle: _Cycle) -> Step:
        t_ns, chunks = cycle.t_ns, cycle.inputs.chunks
        verdict = self._hand.watch_dead_man("policy", cycle.inputs, t_ns)
        if verdict is not None and verdict.lost:
            return self._leave("no teleop/state, the dead-man button,", cycle)
        if verdict is not None:
            # The plan would go on without the arm, so it is dropped; the next one starts from where the arm is then.
            cycle.reports += self._plan.interrupt(chunks, t_ns, verdict.text)
            return self._leave(_NO_NEWER, cycle) if self._plan.lost(t_ns) else self._hold(verdict.text, cycle)
        # The periods that were missed still belong to the old plan, whose references are asked for in their order.
        missed = [self._plan.target(t_ns - n * self._period_ns) for n in reversed(range(1, cycle.periods))]
        cycle.reports += self._plan.take(chunks, t_ns, self._guarded.motion)
        target = self._plan.target(t_ns)
        if self._plan.lost(t_ns):
            return self._leave(_NO_NEWER, cycle)
        if target is None:
            return self._hold("no policy/chunk yet: holding", cycle)
        if target.exhausted:
            cycle.alive, cycle.text = False, "last action of the chunk reached and no newer chunk: holding"
        if target.width is not None:
            cycle.gripper_changed |= self._gripper.follow(target.width)
        return self._follow([reference or target for reference in (*missed, target)])

    def _follow(self, references: list[ScheduledTarget]) -> Step:
        """Follow the plan's references, one for each period."""

        def step(number: int) -> tuple[str, ...]:
            reference = references[number]
            return self._guarded.follow_pose(reference.pose, reference.twist, reference.acceleration)

        return step
