"""Chunks on the absolute timeline; times and counts worked by hand."""

import numpy as np
import pytest
from dp_core.chunk_schedule import Chunk, ChunkError, ChunkSchedule

MS = 1_000_000


def chunk(start_ms=0, n=16, x0=0.0, speed=0.1, chunk_id=0, widths=None):
    stamps = (start_ms + 100 * np.arange(n)) * MS
    poses = np.tile([0.0, 0, 0, 0, 0, 0, 1.0], (n, 1))
    poses[:, 0] = x0 + speed * (stamps - stamps[0]) * 1e-9
    return Chunk(chunk_id, int(stamps[0]), stamps.astype(np.int64), poses, np.zeros(n) if widths is None else widths, 8)


REST = np.array([0.0, 0, 0, 0, 0, 0, 1.0])


def test_waypoint_i_belongs_to_its_absolute_time():
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 0, REST)
    for t_ms, x in ((100, 0.01), (250, 0.025), (1500, 0.15)):
        assert schedule.target(t_ms * MS).pose[0] == pytest.approx(x, abs=1e-9)
    assert schedule.target(250 * MS).twist[0] == pytest.approx(0.1, rel=1e-6)


def test_action_latency_sends_early_and_makes_more_actions_late():
    schedule = ChunkSchedule(action_latency_ns=120 * MS)
    schedule.merge(chunk(), 250 * MS, np.array([0.037, 0, 0, 0, 0, 0, 1.0]))
    # Now + latency = 370 ms: the actions of 0, 100, 200, 300 ms are late.
    assert schedule.record.late == 4
    assert schedule.target(480 * MS).pose[0] == pytest.approx(0.06, abs=1e-3)


def test_a_waypoint_exactly_due_is_late():
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 300 * MS, REST)
    assert schedule.record.late == 4


def test_a_chunk_that_is_all_late_is_refused():
    schedule = ChunkSchedule()
    record, taken = schedule.merge(chunk(), 1500 * MS, REST)
    assert not taken and "all 16 actions are late" in record.stop_reason and schedule.target(1500 * MS) is None


def test_an_older_chunk_never_replaces_a_newer_one():
    schedule = ChunkSchedule()
    schedule.merge(chunk(start_ms=500, chunk_id=2), 500 * MS, REST)
    record, taken = schedule.merge(chunk(start_ms=400, chunk_id=1), 550 * MS, REST)
    assert not taken and "older than chunk 2" in record.stop_reason
    assert schedule.record.chunk.chunk_id == 2


def test_the_seam_is_continuous_and_fades():
    schedule = ChunkSchedule(blend_ns=300 * MS)
    schedule.merge(chunk(), 0, REST)
    old = [schedule.target(t * MS).pose[0] for t in (790, 800)]
    _, taken = schedule.merge(chunk(start_ms=700, x0=0.12, chunk_id=1), 800 * MS, REST)
    assert taken
    # At 800 ms: old path 0.08, new path 0.12 + 0.01 = 0.13: a seam of 0.05 m; the command goes on from 0.08.
    assert schedule.record.seam_position_m == pytest.approx(0.05, abs=1e-9)
    xs = [schedule.target(t * MS).pose[0] for t in range(800, 1110, 10)]
    assert xs[0] == pytest.approx(old[1], abs=1e-9)
    assert xs[-1] == pytest.approx(0.12 + 0.04, abs=1e-9)
    # Fading 0.05 m over 0.3 s by a minimum-jerk curve peaks at 1.875 * 0.05 / 0.3 = 0.3125 m/s on top of 0.1 m/s.
    assert max(np.abs(np.diff(xs))) / 0.01 <= 0.4125 + 1e-6


def test_counts_of_a_replaced_chunk_add_up():
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 150 * MS, REST)
    for t in range(150, 851, 10):
        schedule.target(t * MS)
    record, _ = schedule.merge(chunk(start_ms=800, chunk_id=1), 850 * MS, REST)
    # 0, 100 ms late; 200 ... 800 ms executed; 900 ... 1500 ms superseded.
    assert (record.late, record.executed, record.superseded) == (2, 7, 7)
    assert record.late + record.executed + record.superseded == 16
    assert record.first_executed_ns == 200 * MS


def test_the_end_of_a_chunk_holds_its_last_pose_and_says_so():
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 0, REST)
    target = schedule.target(5000 * MS)
    assert target.ended and target.pose[0] == pytest.approx(0.15) and not np.any(target.twist)


def test_gripper_widths_are_never_averaged():
    widths = np.where(np.arange(16) < 5, 0.08, 0.0)
    schedule = ChunkSchedule()
    schedule.merge(chunk(widths=widths), 0, REST)
    seen = {schedule.target(t * MS).width for t in range(0, 1500, 7)}
    assert seen == {0.08, 0.0}
    assert schedule.target(499 * MS).width == 0.08 and schedule.target(500 * MS).width == 0.0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c["poses"].__setitem__((3, 0), np.nan), "not finite"),
        (lambda c: c["poses"].__setitem__((2, slice(3, 7)), 0.0), "norm 0.000"),
        (lambda c: c["stamps_ns"].__setitem__(4, c["stamps_ns"][3]), "not strictly increasing"),
        (lambda c: c.__setitem__("widths", np.zeros(3)), "one pose7 and one width"),
    ],
)
def test_bad_chunks_are_refused(spoil, message):
    good = chunk()
    fields = {
        "chunk_id": 7, "observed_ns": 0, "stamps_ns": good.stamps_ns.copy(), "poses": good.poses.copy(),
        "widths": good.widths.copy(), "committed": 8,
    }  # fmt: skip
    spoil(fields)
    with pytest.raises(ChunkError, match=message):
        Chunk(**fields)
