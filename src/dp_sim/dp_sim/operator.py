"""Scripted operator: looks at what the topics publish, moves a SpaceMouse as a person would.

Pure: time and observations come in, device axes and buttons go out. It knows the robot only as a person feels it: how
fast the tool moves at full deflection, and that it follows a little late. Reaction delay, correlated noise (tremor and
drift of the hand), hesitation, idle pauses and the side of passing are drawn from its seed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from dp_core.impedance import ImpedanceGains, rotation_error
from dp_core.robot_spec import RobotSpec
from numpy.typing import NDArray

from dp_sim.task import Goal, OperatorView, Phase, Task, tool_down

Array = NDArray[np.float64]

PERIOD_S = 0.01
_EMPTY_WIDTH_M = 0.01
_CLOSED_WIDTH_M = 0.06
_OPEN_WIDTH_M = 0.07
_STILL_M = 0.0005
# Motion (m or rad) that the operator does not miss when it sees the tool at rest, and how far off a goal (in
# tolerances of the phase) it notices.
_UNSEEN_M = 1e-4
_OFF_GOAL = 1.5
_PRESS_S = 0.12
_PRESS_AGAIN_S = 1.5


@dataclass(frozen=True)
class OperatorFeel:
    """Habits of the operator.

    Attributes:
        noise: standard deviation of the hand's noise, share of full deflection.
        noise_time_s: correlation time of the noise.
        reaction_s: age of what the operator acts upon.
        follow_s: by how much the arm trails the hand, as the operator feels it.
        linear_scale_m_s: speed at full deflection.
        angular_scale_rad_s: turning speed at full deflection.
        deadband: deflection without effect.
        linear_gain: m/s per metre of distance near a goal.
        angular_gain: rad/s per radian.
        smoothing_s: time constant of the hand.
        start_pause_s: longest pause before the first movement.
        pause_probability: chance of an idle pause between two phases.
        hesitation_rate_hz: mean number of hesitations per second of movement.
    """

    noise: float = 0.13
    noise_time_s: float = 0.25
    reaction_s: float = 0.18
    follow_s: float = 0.12
    linear_scale_m_s: float = 0.25
    angular_scale_rad_s: float = 1.0
    deadband: float = 0.05
    linear_gain: float = 4.0
    angular_gain: float = 3.0
    smoothing_s: float = 0.06
    start_pause_s: float = 0.15
    pause_probability: float = 0.12
    hesitation_rate_hz: float = 0.12


def felt_lag_s(robot: RobotSpec, gains: ImpedanceGains) -> float:
    """`OperatorFeel.follow_s` for the simulated arm of a cell, from how its tool trails the hand (measured)."""
    stiff = robot.back_end == "joint" or (robot.back_end == "effort" and gains.feed_forward)
    return 0.04 if stiff else 0.12


@dataclass(frozen=True)
class DeviceSample:
    """What the device shows: axes (6,) x y z roll pitch yaw in [-1, 1], and two buttons."""

    axes: Array
    buttons: tuple[int, int]


REST = DeviceSample(np.zeros(6), (0, 0))


class ScriptedOperator:
    """One episode of one operator. Call `step` every 10 ms. Not thread-safe."""

    def __init__(self, task: Task, seed: int, feel: OperatorFeel | None = None, side: str | None = None) -> None:
        """Draw the operator's character.

        Args:
            task: gives the plan; its physics is not looked at.
            seed: of everything random.
            feel: habits.
            side: left or right; drawn at random when None.
        """
        self._rng = np.random.default_rng([seed, 0x0B])
        self.feel = feel or OperatorFeel()
        drawn = "left" if self._rng.random() < 0.5 else "right"
        self.side = side or drawn
        self._phases: tuple[Phase, ...] = task.plan("left" if self.side == "left" else "right")
        self._views: deque[tuple[int, OperatorView]] = deque()
        window = round((self.feel.reaction_s + self.feel.follow_s) / PERIOD_S)
        self._recent: deque[Array] = deque([np.zeros(6)] * window, maxlen=max(window, 1))
        self._moved = np.zeros(6)
        self._noise = self.feel.noise * self._rng.standard_normal(6)
        self._hand = np.zeros(6)
        self._index = 0
        self._idle_until_s = self._rng.uniform(0.0, self.feel.start_pause_s)
        self._slow_until_s = -1.0
        self._pressed_s: float | None = None
        self._widths: deque[float] = deque(maxlen=12)
        self._recover = False
        self._goal: Goal | None = None
        self._start_ns: int | None = None

    @property
    def done(self) -> bool:
        """Whether the plan is finished and the hand is off the device."""
        return self._index >= len(self._phases)

    @property
    def phase(self) -> str:
        """Name of the phase under way."""
        return "done" if self.done else self._phases[self._index].name

    def step(self, view: OperatorView, t_ns: int) -> DeviceSample:
        """Look at the newest observation and give the device's reading at time `t_ns`."""
        self._start_ns = t_ns if self._start_ns is None else self._start_ns
        t_s = (t_ns - self._start_ns) * 1e-9
        self._views.append((t_ns, view))
        seen = self._look(t_ns)
        if self.done and seen is not None and self._stopped_short(seen):
            self._index -= 1
        if seen is None or self.done or t_s < self._idle_until_s:
            return self._move(np.zeros(6), 0.0, (0, 0))
        if self._phases[self._index].gripper or self._recover:
            return self._use_gripper(seen, t_s)
        if self._lost_object(seen):
            self._recover = True
            return self._move(np.zeros(6), 0.0, (0, 0))
        wanted, arrived = self._steer(seen, t_s)
        if arrived:
            self._advance(t_s)
        return self._move(wanted, self.feel.noise, (0, 0))

    def _look(self, t_ns: int) -> OperatorView | None:
        """The newest view that is at least the reaction time old."""
        limit = t_ns - round(self.feel.reaction_s * 1e9)
        if self._views[0][0] > limit:
            return None
        while len(self._views) > 1 and self._views[1][0] <= limit:
            self._views.popleft()
        return self._views[0][1]

    def _advance(self, t_s: float) -> None:
        self._index += 1
        self._goal, self._pressed_s = None, None
        if self._rng.random() < self.feel.pause_probability:
            self._idle_until_s = t_s + self._rng.uniform(0.1, 0.4)

    def _steer(self, seen: OperatorView, t_s: float) -> tuple[Array, bool]:
        """Deflection (6,) towards the goal of the phase, and whether it is reached as far as the operator feels."""
        phase, feel = self._phases[self._index], self.feel
        goal = phase.goal(seen)
        velocity = np.array(goal.velocity)
        # What is seen is old, and the arm trails: the goal will have moved on by then.
        lead = velocity * (feel.reaction_s + feel.follow_s)
        error = np.array([goal.x, goal.y, goal.z]) + lead - seen.ee_pose[:3] - self._moved[:3]
        down = tool_down(0.0, 0.0, 0.0, goal.yaw)
        turn = np.array(rotation_error(down[3:], seen.ee_pose[3:7])) - self._moved[3:]
        distance, angle = float(np.linalg.norm(error)), float(np.linalg.norm(turn))
        if t_s > self._slow_until_s and self._rng.random() < feel.hesitation_rate_hz * PERIOD_S:
            self._slow_until_s = t_s + self._rng.uniform(0.2, 0.5)
        cap = phase.speed * (0.4 if t_s < self._slow_until_s else 1.0)
        pull = cap if phase.through else min(cap, feel.linear_gain * distance / feel.linear_scale_m_s)
        wanted = np.zeros(6)
        wanted[:3] = pull * error / max(distance, 1e-6) + velocity / feel.linear_scale_m_s
        wanted[3:] = np.clip(feel.angular_gain * turn / feel.angular_scale_rad_s, -0.7, 0.7)
        # A hand that wants a little motion pushes past the deadband.
        wanted += feel.deadband * np.tanh(wanted / 0.03)
        return wanted, distance < phase.tolerance_m and angle < phase.tolerance_rad

    def _stopped_short(self, seen: OperatorView) -> bool:
        """Whether the tool has come to rest well off the last goal: the arm trails less or more than it felt."""
        phase = self._phases[-1]
        if phase.through or phase.gripper or np.abs(self._moved).max() > _UNSEEN_M:
            return False
        goal = phase.goal(seen)
        distance = float(np.linalg.norm(np.array([goal.x, goal.y, goal.z]) - seen.ee_pose[:3]))
        return distance > _OFF_GOAL * phase.tolerance_m

    def _lost_object(self, seen: OperatorView) -> bool:
        """Whether fingers that should hold something are closed on nothing."""
        carrying = 0
        for phase in self._phases[: self._index]:
            carrying += {"close": 1, "open": -1, None: 0}[phase.gripper]
        return carrying > 0 and seen.width_m < _EMPTY_WIDTH_M

    def _use_gripper(self, seen: OperatorView, t_s: float) -> DeviceSample:
        """Press the button, hold still or follow until the fingers have stopped, press again if nothing happened."""
        follows = self._phases[self._index].follow and not self._recover
        opening = self._recover or self._phases[self._index].gripper == "open"
        if self._pressed_s is None:
            self._pressed_s = t_s
            self._widths.clear()
        waited = t_s - self._pressed_s
        button = 1 if waited < _PRESS_S else 0
        self._widths.append(seen.width_m)
        still = len(self._widths) == 12 and max(self._widths) - min(self._widths) < _STILL_M
        moved = seen.width_m > _OPEN_WIDTH_M if opening else seen.width_m < _CLOSED_WIDTH_M
        if waited > self.feel.reaction_s + _PRESS_S and still and moved:
            if self._recover:
                self._recover, self._index, self._pressed_s = False, 0, None
            else:
                self._advance(t_s)
        elif waited > _PRESS_AGAIN_S:
            self._pressed_s = None
        if follows:
            return self._move(self._steer(seen, t_s)[0], self.feel.noise, (button, 0))
        return self._move(np.zeros(6), 0.0, (button, 0))

    def _move(self, wanted: Array, noise: float, buttons: tuple[int, int]) -> DeviceSample:
        """Let the hand follow `wanted`, add noise, remember what the tool will do."""
        feel = self.feel
        keep = np.exp(-PERIOD_S / feel.noise_time_s)
        self._noise = keep * self._noise + feel.noise * np.sqrt(1.0 - keep**2) * self._rng.standard_normal(6)
        share = PERIOD_S / (feel.smoothing_s + PERIOD_S)
        self._hand = self._hand + share * (wanted - self._hand)
        axes = self._hand + (self._noise if noise > 0.0 else 0.0)
        axes = np.clip(axes, -1.0, 1.0) if noise > 0.0 or np.abs(self._hand).max() > 0.02 else np.zeros(6)
        effect = np.sign(axes) * np.maximum(np.abs(axes) - feel.deadband, 0.0) / (1.0 - feel.deadband)
        step = effect * PERIOD_S
        step[:3] *= feel.linear_scale_m_s
        step[3:] *= feel.angular_scale_rad_s
        if len(self._recent) == self._recent.maxlen:
            self._moved = self._moved - self._recent[0]
        self._recent.append(step)
        self._moved = self._moved + step
        return DeviceSample(axes, buttons)
