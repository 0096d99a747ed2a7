"""What a stream of short joint trajectories must look like for a JointTrajectoryController to follow it. Pure.

Read in ros2_controllers, branch jazzy (4.42). A new trajectory replaces the old one whole. Up to its first point the
controller interpolates from its own last command, which it dates one of its periods too early: at each message it
jumps ahead by that period and slows down again. It refuses a trajectory whose last point has a velocity, or is over.
So a stream of single points stops or stutters at each one.

Here each message is the curve around *now* in absolute time: the solution at its own stamp, the solution carried on
at constant acceleration to a point a little later than the next message can be, and the end of a constant deceleration
from there. The controller is always between the first two points, so successive messages are one curve; a late message
changes nothing, two lost ones neither; and when no more come, the arm brakes by itself. A message that a stalled
network delivers later than that is refused as past.

At the start the controller's own last command may differ from the solution by its position error. Then the first point
is left out, so that the controller interpolates, over a time that shrinks to the normal one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_control.interfaces import Array, JointSolution

# The second point lies this many periods ahead, and no less than this time.
AHEAD_PERIODS = 3
AHEAD_S = 0.02
# Deceleration of the fastest joint to the last point, rad/s^2, and the shortest time for it.
STOP_DECELERATION_RAD_S2 = 5.0
STOP_S = 0.05
# Acceleration is a difference of solutions: beyond this it is their noise.
ACCELERATION_LIMIT_RAD_S2 = 20.0
# How long the start takes, and the interpolation at its beginning.
START_S = 0.5
START_AHEAD_S = 0.2
# A longer pause between two solutions begins the stream anew.
PAUSE_NS = 100_000_000


@dataclass(frozen=True)
class TrajectoryPoint:
    """Positions (n,) rad and velocities (n,) rad/s at ``time_s`` after the stamp."""

    time_s: float
    position: Array
    velocity: Array


class TrajectoryStream:
    """Turns solutions into trajectories. One thread.

    Args:
        period_s: time between two solutions.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._ahead_s = max(AHEAD_S, AHEAD_PERIODS * period_s)
        self._last: tuple[int, Array] | None = None
        self._begun_ns = 0

    def restart(self) -> None:
        """The next solution begins the stream anew."""
        self._last = None

    def points(self, t_ns: int, solution: JointSolution) -> list[TrajectoryPoint]:
        """The trajectory to send now, stamped ``t_ns``.

        Args:
            t_ns: ROS time of the solution.
            solution: its velocity is that over the last period.
        """
        if self._last is None or not 0 < t_ns - self._last[0] < PAUSE_NS:
            self._last, self._begun_ns = (t_ns - round(1e9 * self._period_s), solution.velocity), t_ns
        before_ns, before = self._last
        self._last = t_ns, solution.velocity
        acceleration = (solution.velocity - before) / (1e-9 * (t_ns - before_ns))
        acceleration = np.clip(acceleration, -ACCELERATION_LIMIT_RAD_S2, ACCELERATION_LIMIT_RAD_S2)
        # The difference of two positions is the velocity halfway between them.
        velocity = solution.velocity + 0.5 * self._period_s * acceleration
        started = min(1e-9 * (t_ns - self._begun_ns) / START_S, 1.0)
        ahead_s = START_AHEAD_S + started * (self._ahead_s - START_AHEAD_S)
        position_ahead = solution.position + velocity * ahead_s + 0.5 * acceleration * ahead_s**2
        velocity_ahead = velocity + acceleration * ahead_s
        stop_s = max(STOP_S, float(np.max(np.abs(velocity_ahead))) / STOP_DECELERATION_RAD_S2)
        points = [
            TrajectoryPoint(ahead_s, position_ahead, velocity_ahead),
            TrajectoryPoint(ahead_s + stop_s, position_ahead + 0.5 * velocity_ahead * stop_s, np.zeros_like(velocity)),
        ]
        if started == 1.0:
            points.insert(0, TrajectoryPoint(0.0, solution.position, velocity))
        return points
