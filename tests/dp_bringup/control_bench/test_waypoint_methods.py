"""The compared ways of executing waypoints, against numbers worked out by hand."""

import numpy as np
import pytest
from dp_bringup.control_bench.motion_figures import velocities
from dp_bringup.control_bench.recorded_motion import RecordedMotion
from dp_bringup.control_bench.tracking import METHODS, TrackingSettings, build_method, command_motion
from dp_bringup.control_bench.waypoint_chunks import Delivery
from dp_bringup.control_bench.waypoint_methods import LinearSlerp, StoppingTrajectories
from dp_core.chunk_schedule import Chunk
from dp_core.contract import load_contract

CONTRACT = load_contract("sim_franka")
MS = 1_000_000
PERIOD = 4 * MS
HOME = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])
STILL = RecordedMotion(0, np.tile(HOME, (2, 1)), np.zeros(2), np.zeros(7))


def chunk(number, start_ms, ys, period_ms=100):
    """Waypoints along y, from start_ms on."""
    poses = np.tile(HOME, (len(ys), 1))
    poses[:, 1] = ys
    stamps = (start_ms + period_ms * np.arange(len(ys), dtype=np.int64)) * MS
    return Chunk(number, start_ms * MS, stamps, poses, np.zeros(len(ys)), 2)


def ys(method, times_ms):
    return [round(float(method.command(t * MS)[1]), 9) for t in times_ms]


def linear(y=0.0):
    return LinearSlerp(HOME + np.array([0, y, 0, 0, 0, 0, 0]), CONTRACT.limits, PERIOD)


def test_linear_goes_straight_from_the_end_of_the_cycle_to_each_waypoint_still_to_come():
    method = linear()
    method.take(chunk(0, 0, [0.0, 0.02, 0.06, 0.06]), 60 * MS)
    # The cycle at 60 ms sends the old pose; the path starts at 64 ms and takes 36 ms to 20 mm: 18 mm at 0.5 m/s later.
    assert ys(method, [60, 64, 82, 100, 150, 200, 250, 300, 400]) == [
        0.0, 0.0, 0.01, 0.02, 0.04, 0.06, 0.06, 0.06, 0.06,
    ]  # fmt: skip


def test_linear_cuts_the_old_path_where_a_new_chunk_arrives():
    method = linear()
    method.take(chunk(0, 0, [0.0, 0.02, 0.04, 0.06, 0.08]), 0)
    assert ys(method, [0, 100, 196]) == [0.0, 0.02, pytest.approx(0.0392)]
    method.take(chunk(1, 100, [0.02, 0.05, 0.05, 0.07]), 246 * MS)
    # At 250 ms the old path is at 50 mm, the new chunk's next waypoint too (at 300 ms): the arm waits there.
    assert ys(method, [246, 250, 275, 300, 350, 400]) == pytest.approx([0.0492, 0.05, 0.05, 0.05, 0.06, 0.07])


def test_linear_stretches_a_segment_beyond_the_speed_limit():
    method = linear()
    method.take(chunk(0, 0, [0.0, 0.03, 0.15]), 0)  # 1.2 m/s wanted in the second segment, 0.6 permitted
    assert ys(method, [0, 100, 200, 300]) == pytest.approx([0.0, 0.03, 0.09, 0.15])


def test_stopping_trajectories_rest_at_the_end_of_each_and_meet_the_waypoints():
    method = StoppingTrajectories(HOME, executed=2, overlap=1)
    steps = [0.0, 0.01, 0.03, 0.05, 0.07, 0.09]
    method.take(chunk(0, 0, steps), 50 * MS)  # from 0 to 300 ms
    method.take(chunk(1, 200, [0.03, 0.05, 0.07, 0.09, 0.11, 0.13]), 250 * MS)  # from 300 to 500 ms
    assert ys(method, [0, 100, 200, 300, 400, 500]) == pytest.approx([0.0, 0.01, 0.03, 0.05, 0.07, 0.09])
    speed = [(method.command(t * MS + 1000)[1] - method.command(t * MS - 1000)[1]) / 2e-6 for t in (200, 300, 400, 500)]
    assert speed == pytest.approx([0.2, 0.0, 0.2, 0.0], abs=1e-3)


@pytest.mark.parametrize("name", METHODS[:3])
def test_every_method_starts_at_rest_and_ends_on_the_last_waypoint_of_a_plan(name):
    method = build_method(name, STILL, CONTRACT, TrackingSettings())
    path = 0.02 * np.sin(np.linspace(0, np.pi / 2, 16))
    times = np.arange(0, 500) * 0.004
    commands = command_motion(method, [Delivery(0.1, chunk(0, 0, path))], times)
    np.testing.assert_allclose(commands[0], HOME, atol=1e-12)
    linear_velocity, _ = velocities(commands, 0.004)
    reached = commands[-1][1]
    # What stops after the executed part is there at waypoint 8 + 2; the others go to the end.
    assert reached == pytest.approx(path[10] if name == METHODS[1] else path[-1], abs=1e-6)
    assert np.abs(linear_velocity[-1]).max() < 1e-9


def test_an_unknown_method_names_the_valid_ones():
    with pytest.raises(KeyError, match="follower"):
        build_method("cubic", STILL, CONTRACT, TrackingSettings())
