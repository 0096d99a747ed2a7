"""Pictures of the cell that travel: what their stamps say, when they come, and what a screen in them shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dp_bringup.calibration.code_reader import read_code
from dp_sim.camera_feed import CameraFeed
from dp_sim.cell import SimulatedCell
from dp_sim.delays import CameraDelay

SCREEN_S = 0.0171


@pytest.fixture(scope="module")
def cell() -> SimulatedCell:
    return SimulatedCell("place", clock_code=True)


def pictures(cell, contract, delays, seconds=0.6, tick_ms=10):
    """(camera, counter, stamp, time of arrival), times in ms after the begin."""
    arrived = []
    begin_ms = cell.t_ms

    def publish(name, picture, stamp_ms):
        arrived.append((name, read_code(picture).counter, stamp_ms - begin_ms, cell.t_ms - begin_ms))

    feed = CameraFeed(cell, contract, delays, 0, SCREEN_S, publish)
    for _ in range(round(1000 * seconds / tick_ms)):
        end_ms = cell.t_ms + tick_ms
        while cell.t_ms < end_ms:
            cell.step(max(0, min(end_ms, feed.next_ms) - cell.t_ms))
            feed.expose()
        feed.deliver()
    feed.close()
    return arrived, begin_ms


def with_rate(contract, rate_hz):
    return replace(contract, cameras={**contract.cameras, "front": replace(contract.cameras["front"], rate_hz=rate_hz)})


@pytest.mark.parametrize(("stamps", "late_ms"), [("acquisition", 0), ("arrival", 75)])
def test_a_delayed_picture_shows_the_time_at_which_it_was_taken(cell, contract, stamps, late_ms):
    delay = CameraDelay(0.075, stamps=stamps)
    arrived, begin_ms = pictures(cell, with_rate(contract, 10.0), {"front": delay})
    assert len(arrived) >= 5
    for _, counter, stamp_ms, arrival_ms in arrived:
        taken_ms = stamp_ms - late_ms
        assert (begin_ms + taken_ms) % 100 == 0
        assert counter == int((begin_ms + taken_ms) * 0.001 / SCREEN_S)
        assert 75 <= arrival_ms - taken_ms < 85, "published at the first tick after it has arrived"


def test_without_a_delay_pictures_come_as_they_are_taken_at_any_rate(cell, contract):
    arrived, begin_ms = pictures(cell, with_rate(contract, 30.0), {"front": CameraDelay()})
    stamps = np.array([stamp_ms for _, _, stamp_ms, _ in arrived])
    assert set(np.diff(stamps)) == {33, 34}
    assert all(0 <= arrival_ms - stamp_ms < 10 for _, _, stamp_ms, arrival_ms in arrived)
    assert [counter for _, counter, _, _ in arrived] == [
        int((begin_ms + s) * 0.001 / SCREEN_S) for s in stamps.tolist()
    ]


def test_lost_pictures_do_not_come(cell, contract):
    assert pictures(cell, with_rate(contract, 10.0), {"front": CameraDelay(drop=1.0)}, 0.3)[0] == []
    assert len(pictures(cell, with_rate(contract, 50.0), {"front": CameraDelay(drop=0.5)})[0]) in range(6, 25)


def test_a_screen_changes_nothing_about_the_physics(contract):
    states = []
    for clock_code in (False, True):
        cell = SimulatedCell("place", 3, clock_code=clock_code)
        cell.set_target_pose(cell.ee_pose() + np.array([0.0, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0]))
        cell.step(300)
        states.append(cell.state())
    np.testing.assert_array_equal(states[0].ee_pose, states[1].ee_pose)
    np.testing.assert_array_equal(states[0].joint_position, states[1].joint_position)
