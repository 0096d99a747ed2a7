"""Alignment on the observation grid; expected values worked by hand."""

import dataclasses

import numpy as np
import pytest
from dp_core.alignment import ObservationAligner, StreamBuffer, interpolate_linear
from dp_core.contract import load_contract
from dp_core.poses import quat_from_rpy

MS = 1_000_000
CONTRACT = load_contract("sim_franka")


def pose(x, yaw=0.0):
    return np.r_[x, 0.0, 0.0, quat_from_rpy([0, 0, yaw])]


def filled(history=1, capacity=None, frames=range(0, 1001, 100), states=range(0, 1001, 10)):
    aligner = ObservationAligner(CONTRACT, history, capacity)
    for t in frames:
        for camera in CONTRACT.observation.cameras:
            aligner.push_image(camera, t * MS, np.full((2, 2, 3), t % 256, np.uint8))
    for t in states:
        aligner.push_pose(t * MS, pose(t * 1e-3, t * 1e-3))
        aligner.push_width(t * MS, t * 1e-5)
    return aligner


def test_the_newest_frame_is_used():
    aligner = filled()
    assert aligner.newest_observation_ns() == 1000 * MS
    observation = aligner.sample(1000 * MS)
    assert observation.valid and observation.frame_stamps_ns == {"front": [1000 * MS], "wrist": [1000 * MS]}


def test_t_obs_waits_for_the_slowest_stream():
    aligner = filled(states=range(0, 971, 10))
    assert aligner.newest_observation_ns() == 970 * MS
    # 30 ms from the frame at 1000 ms, within half a period: the newest frame still counts.
    assert aligner.sample(970 * MS).frame_stamps_ns["front"] == [1000 * MS]


def test_history_is_oldest_first_and_one_action_period_apart():
    observation = filled(history=2).sample(1000 * MS)
    assert observation.frame_stamps_ns["wrist"] == [900 * MS, 1000 * MS]
    np.testing.assert_allclose(observation.proprioception[:, 0], [0.9, 1.0], atol=1e-6)


def test_pose_and_width_are_interpolated():
    aligner = filled(states=(0, 100, 200), frames=(0, 100, 200))
    row = aligner.sample(150 * MS).proprioception[0]
    assert row[0] == pytest.approx(0.15, abs=1e-6)
    np.testing.assert_allclose(row[3:9], [np.cos(0.15), -np.sin(0.15), 0, np.sin(0.15), np.cos(0.15), 0], atol=1e-6)
    assert row[9] == pytest.approx(0.0015, abs=1e-7)


def test_a_dropped_frame_makes_the_sample_invalid_not_zero():
    frames = [t for t in range(0, 1001, 100) if t not in (500, 600)]
    observation = filled(frames=frames).sample(550 * MS)
    assert not observation.valid
    assert "camera/front/color/image_raw: nearest frame is 150 ms away" in observation.problems


def test_a_stale_pose_is_invalid_and_not_a_number():
    aligner = filled(states=range(0, 801, 10))
    observation = aligner.sample(1000 * MS)
    assert not observation.valid and np.all(np.isnan(observation.proprioception))
    assert "robot/ee_pose: nearest sample is 200 ms away" in observation.problems


def test_latency_is_taken_off_the_header_stamp():
    front = dataclasses.replace(CONTRACT.cameras["front"], latency_s=0.03)
    contract = dataclasses.replace(CONTRACT, cameras={**CONTRACT.cameras, "front": front})
    aligner = ObservationAligner(contract)
    aligner.push_image("front", 130 * MS, None)
    assert aligner.cameras["front"].newest_ns == 100 * MS


def test_the_grid_sits_on_frames_and_starts_when_every_stream_has_begun():
    aligner = filled(frames=range(37, 1037, 100), states=range(160, 1001, 10))
    grid = aligner.grid()
    assert grid[0] == 237 * MS and grid[-1] == 937 * MS and set(np.diff(grid)) == {100 * MS}


def test_nothing_is_observed_before_every_stream_has_data():
    aligner = ObservationAligner(CONTRACT)
    aligner.push_pose(0, pose(0))
    assert aligner.newest_observation_ns() is None and aligner.grid() == []
    assert aligner.missing_topics() == [
        "camera/front/color/image_raw", "camera/wrist/color/image_raw", "gripper/state",
    ]  # fmt: skip


def test_live_and_recorded_give_the_same_observations():
    """A bounded buffer fed sample by sample gives what an unbounded one gives afterwards."""
    whole = filled(history=2)
    live = ObservationAligner(CONTRACT, 2, capacity=30)
    seen = {}
    for t in range(0, 1001, 10):
        live.push_pose(t * MS, pose(t * 1e-3, t * 1e-3))
        live.push_width(t * MS, t * 1e-5)
        if t % 100 == 0:
            for camera in CONTRACT.observation.cameras:
                live.push_image(camera, t * MS, np.full((2, 2, 3), t % 256, np.uint8))
            t_obs = live.newest_observation_ns()
            seen[t_obs] = live.sample(t_obs)
    for t_obs, observation in seen.items():
        recorded = whole.sample(t_obs)
        assert observation.valid == recorded.valid
        assert observation.frame_stamps_ns == recorded.frame_stamps_ns
        np.testing.assert_array_equal(observation.proprioception, recorded.proprioception)


def test_buffer_sorts_late_arrivals_and_ignores_duplicates():
    buffer = StreamBuffer(capacity=2)
    assert buffer.push(10, "a") and buffer.push(30, "c") and buffer.push(20, "b")
    assert not buffer.push(20, "other")
    assert list(buffer.stamps_ns) == [10, 20, 30] and buffer.nearest(24) == (20, "b")
    assert buffer.nearest(25) == (30, "c")
    for t in range(40, 100, 10):
        buffer.push(t, str(t))
    assert len(buffer) <= 4 and buffer.newest_ns == 90


def test_interpolation_of_an_empty_buffer_is_none():
    assert interpolate_linear(StreamBuffer(), 0) is None


def test_live_buffers_start_anew_when_the_clock_is_set_back():
    live = ObservationAligner(CONTRACT, capacity=30)
    for start in (100_000, 0):
        for t in range(start, start + 301, 10):
            live.push_pose(t * MS, pose(t * 1e-3))
            live.push_width(t * MS, 0.0)
            if t % 100 == 0:
                for camera in CONTRACT.observation.cameras:
                    live.push_image(camera, t * MS, None)
    assert live.restarts == 1 and live.newest_observation_ns() == 300 * MS and live.sample(300 * MS).valid


def test_the_stream_that_holds_the_observation_back_is_named():
    aligner = filled(states=range(0, 801, 10))
    assert aligner.slowest_topics() == ["robot/ee_pose", "gripper/state"]


def test_frames_may_be_kept_for_a_shorter_time_than_states_and_the_newest_of_each_topic_is_told():
    live = ObservationAligner(CONTRACT, capacity=100, frame_capacity=5)
    for k in range(40):
        live.push_pose(k * 10**7, np.r_[np.zeros(3), 1, 0, 0, 0])
        for camera in live.cameras:
            live.push_image(camera, k * 10**7, k)
    assert len(live.ee_pose) == 40
    assert all(5 <= len(buffer) < 10 for buffer in live.cameras.values())
    newest = live.newest_by_topic()
    assert newest[CONTRACT.streams["ee_pose"].topic] == 39 * 10**7
    assert newest[CONTRACT.streams["gripper"].topic] is None
