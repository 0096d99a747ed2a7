"""The gripper's channel: hysteresis, and its own latency in the plan."""

import numpy as np
from dp_control.gripper import GripperChannel
from dp_core.chunk_schedule import Chunk, ChunkSchedule
from dp_core.contract import load_contract
from dp_core.motion_limits import Motion

CONTRACT = load_contract("sim_franka")


def test_gripper_hysteresis():
    gripper = GripperChannel(CONTRACT.gripper)
    gripper.start(0.079)
    changes = [gripper.follow(w) for w in (0.08, 0.04, 0.03, 0.02, 0.035, 0.05, 0.06)]
    assert changes == [False, False, False, True, False, False, True]
    assert gripper.width == 0.08


def test_a_closed_gripper_on_an_object_stays_closed_when_a_mode_starts():
    gripper = GripperChannel(CONTRACT.gripper)
    gripper.start(0.08)
    gripper.command(0.0)
    gripper.start(0.04)
    assert gripper.width == 0.0
    gripper.start(0.0795)
    assert gripper.width == 0.08


def test_the_gripper_has_its_own_latency(bench):
    schedule = ChunkSchedule(action_latency_ns=0, gripper_latency_ns=250_000_000)
    chunk = bench.chunk(0)
    closing = Chunk(0, 0, chunk.stamps_ns, chunk.poses, np.where(np.arange(16) < 8, 0.08, 0.0), 8)
    schedule.merge(closing, 0, Motion.at_rest(chunk.poses[0]))
    widths = {t_ms: schedule.target(t_ms * 1_000_000).width for t_ms in (540, 550, 560)}
    # The fingers close in the world at 800 ms, so the command goes out at 550 ms.
    assert widths == {540: 0.08, 550: 0.0, 560: 0.0}
