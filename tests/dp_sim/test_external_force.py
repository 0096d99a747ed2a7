"""Pushing the simulated arm: where the force acts, how long, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from dp_sim.cell import SimulatedCell
from dp_sim.external_force import BadPushError


@pytest.fixture
def cell() -> SimulatedCell:
    return SimulatedCell("reach_around", 1)


def test_the_force_acts_at_the_tcp_and_the_torque_adds_to_it(cell):
    cell.apply_wrench([3.0, -2.0, 1.0], [0.1, 0.2, -0.3])
    cell.step(1)
    hand = cell.model.body("fr3_hand").id
    arm = cell.data.site("fr3_hand_tcp").xpos - cell.data.xipos[hand]
    torque = np.cross(arm, [3.0, -2.0, 1.0]) + np.array([0.1, 0.2, -0.3])
    expected = np.r_[3.0, -2.0, 1.0, torque]
    np.testing.assert_allclose(cell.data.xfrc_applied[hand], expected, atol=1e-4)


def test_the_point_of_attack_moves_with_the_tool(cell):
    cell.apply_wrench([0.0, 10.0, 0.0])
    target = cell.ee_pose()
    target[2] += 0.1
    cell.set_target_pose(target)
    cell.step(2000)
    np.testing.assert_allclose(cell.wrench(), [0.0, 10.0, 0.0, 0.0, 0.0, 0.0], atol=0.1)


def test_a_new_push_replaces_the_old_one_and_zeros_end_it(cell):
    cell.apply_wrench([10.0, 0.0, 0.0])
    cell.step(200)
    cell.apply_wrench([0.0, 0.0, -6.0])
    cell.step(1500)
    np.testing.assert_allclose(cell.wrench()[:3], [0.0, 0.0, -6.0], atol=0.2)
    cell.apply_wrench(np.zeros(3))
    cell.step(1500)
    assert np.abs(cell.wrench()).max() < 0.1
    assert not cell.data.xfrc_applied.any()


def test_two_bodies_are_pushed_at_once_and_a_reset_ends_both(cell):
    cell.apply_wrench([5.0, 0.0, 0.0])
    cell.apply_wrench([0.0, 5.0, 0.0], body="fr3_link4")
    cell.step(10)
    pushed = {cell.model.body(i).name for i in np.flatnonzero(cell.data.xfrc_applied.any(axis=1))}
    assert pushed == {"fr3_hand", "fr3_link4"}
    cell.reset(1)
    cell.step(1000)
    assert np.abs(cell.wrench()).max() < 0.1


@pytest.mark.parametrize(
    ("force", "body", "words"),
    [
        ([np.nan, 0, 0], "", "finite"),
        ([1, 2], "", "three"),
        ([1, 0, 0], "elbow", "no body 'elbow'; valid: .*fr3_link4"),
    ],
)
def test_pushes_without_meaning_are_refused(cell, force, body, words):
    with pytest.raises(BadPushError, match=words):
        cell.apply_wrench(force, body=body)
    cell.step(1)
    assert not cell.data.xfrc_applied.any()
