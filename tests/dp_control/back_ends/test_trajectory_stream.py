"""The stream, followed by a second implementation of JointTrajectoryController's sampling."""

import numpy as np
import pytest
from dp_control.arms.trajectory_stream import TrajectoryPoint, TrajectoryStream
from dp_control.interfaces import JointSolution

TICK = 0.001


class Controller:
    """One joint of a JointTrajectoryController with ``interpolate_from_desired_state``, as its update() does it.

    It commands what the trajectory wants one period later, keeps that as its last command dated *now*, and lets a new
    trajectory begin there.
    """

    def __init__(self, position):
        self.last, self.points, self.new = (0.0, position, 0.0), None, None

    def update(self, now):
        if self.new is not None:
            self.points, self.new = [self.last, *self.new], None
        if self.points is not None:
            self.last = (now, *self.sample(now + TICK))
        return self.last[1]

    def sample(self, t):
        for (t0, p0, v0), (t1, p1, v1) in zip(self.points, self.points[1:], strict=False):
            if t < t1:
                h, u = t1 - t0, (t - t0) / (t1 - t0)  # cubic Hermite basis
                position = (1 + 2 * u) * (1 - u) ** 2 * p0 + u * (1 - u) ** 2 * h * v0
                position += u * u * (3 - 2 * u) * p1 + u * u * (u - 1) * h * v1
                velocity = 6 * u * (1 - u) * (p1 - p0) / h + (1 - u) * (1 - 3 * u) * v0 + u * (3 * u - 2) * v1
                return position, velocity
        return self.points[-1][1:]


def reference(t):
    """Rest for 0.7 s, then up to 0.5 rad/s and 1 rad/s^2, back and forth."""
    return 0.25 * (1 - np.cos(2 * np.maximum(t - 0.7, 0.0)))


def follow(points_of, period=0.004, seconds=3.0, silent_from=None, lost=(), begin=0.0):
    """Send a message per period, 0.5 to 3 ms late; returns times and what the controller commanded for them."""
    lateness = np.random.default_rng(0).uniform(0.0005, 0.003, round(seconds / period))
    due = {int(np.ceil((k * period + late) / TICK)): k for k, late in enumerate(lateness)}
    controller, commanded = Controller(begin), []
    for tick in range(round(seconds / TICK)):
        k = due.get(tick)
        if k is not None:
            stamp = k * period
            q = reference(stamp)
            v = (q - reference(stamp - period)) / period
            points = points_of(round(1e9 * stamp), JointSolution(np.array([q]), np.array([v]), 0.0, 0.0))
            if k not in lost and (silent_from is None or stamp < silent_from):
                controller.new = [(stamp + p.time_s, p.position[0], p.velocity[0]) for p in points]
        commanded.append(controller.update(tick * TICK))
    return TICK * np.arange(1, len(commanded) + 1), np.array(commanded)


def velocity_ratio(times, positions):
    true = 0.5 * np.sin(2 * np.maximum(times - 0.7, 0.0))
    moving = (times > 0.75) & (np.abs(true) > 0.25)
    return np.gradient(positions, TICK)[moving] / true[moving]


@pytest.mark.parametrize("period", [0.002, 0.004, 0.01])
def test_the_controller_follows_without_lag_or_stutter(period):
    times, positions = follow(TrajectoryStream(period).points, period)
    assert np.abs(positions - reference(times)).max() < 2e-4
    ratio = velocity_ratio(times, positions)
    assert 0.98 < ratio.min() and ratio.max() < 1.02


def test_single_points_as_usually_sent_do_stutter():
    def single(t_ns, solution):
        ahead = 0.012
        return [TrajectoryPoint(ahead, solution.position + solution.velocity * ahead, np.zeros(1))]

    ratio = velocity_ratio(*follow(single))
    assert ratio.min() < 0.8 and ratio.max() > 1.2


def test_two_lost_messages_do_not_show():
    times, positions = follow(TrajectoryStream(0.004).points, lost={300, 301, 500, 501})
    assert np.abs(positions - reference(times)).max() < 2e-4


def test_silence_ends_at_rest_within_the_deceleration():
    times, positions = follow(TrajectoryStream(0.004).points, silent_from=1.4)
    # 0.49 rad/s at 1.396 s; 20 ms on, then at 5 rad/s^2.
    velocity = np.gradient(positions, TICK)
    assert np.all(velocity[times > 1.396 + 0.02 + 0.1 + 0.003] == 0.0)
    acceleration = np.diff(velocity)[(times[1:] > 1.3) & (times[1:] < 1.6)] / TICK
    assert np.abs(acceleration).max() < 5.5


def test_a_start_off_the_controllers_own_position_is_smooth():
    _, positions = follow(TrajectoryStream(0.004).points, begin=0.01, seconds=0.7)
    acceleration = np.diff(positions, 2) / TICK**2
    assert abs(positions[-1]) < 1e-5
    # A jump would be 0.01 rad / (1 ms)^2 = 10,000 rad/s^2.
    assert np.abs(acceleration).max() < 100.0


def test_a_pause_begins_the_stream_anew():
    stream = TrajectoryStream(0.004)
    solution = JointSolution(np.zeros(7), np.full(7, 0.1), 0.0, 0.0)
    for k in range(200):
        points = stream.points(k * 4_000_000, solution)
    assert [round(1e3 * p.time_s) for p in points] == [0, 20, 70]
    np.testing.assert_allclose(points[1].position, 0.002)
    for t_ns in (2_000_000_000, 100):  # a pause of more than a second; a clock that goes back
        assert len(stream.points(t_ns, solution)) == 2
    stream.restart()
    assert len(stream.points(4_000_100, solution)) == 2
