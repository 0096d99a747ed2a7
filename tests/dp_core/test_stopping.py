"""Stops: their length by hand, and every tick of them against the limits."""

import numpy as np
import pytest
from dp_core.rotations import ZERO
from dp_core.stopping import AT_REST, SplitPlanner, StopPlanner, displacements, reach
from hypothesis import given, settings
from hypothesis import strategies as st

V, A, J = 0.6, 6.0, 150.0


def velocities(stop):
    found = []
    while stop is not AT_REST:
        velocity, stop = stop.next()
        found.append(velocity)
    return np.array(found)


def test_lengths_worked_by_hand():
    planner = StopPlanner(V, A, J, 0.001)
    # Jerk decides: sqrt(6 * 0.15 / 150) = 77.46 ms, and sqrt(6 * 0.6 / 150) = 154.9 ms (1.5 v/A would be 150 ms).
    assert planner.plan((0.15, 0.0, 0.0), ZERO).ticks == 78
    assert planner.plan((0.0, 0.6, 0.0), ZERO).ticks == 155
    # With a limit of 3 m/s^2 the acceleration decides: 1.5 * 0.6 / 3 = 0.3 s.
    assert StopPlanner(V, 3.0, J, 0.001).plan((0.0, 0.6, 0.0), ZERO).ticks == 300
    # From rest with 1 m/s^2: |4 a T| <= J T^2 gives T = 4/150 = 26.7 ms.
    assert planner.plan(ZERO, (1.0, 0.0, 0.0)).ticks == 27


def test_distance_is_half_of_speed_times_time():
    stop = StopPlanner(V, A, J, 0.001).plan((0.6, 0.0, 0.0), ZERO)
    # v (T - dt) / 2 for sums at the ends of the periods: 0.6 * 0.154 / 2.
    assert displacements(stop, 0.001)[-1] == pytest.approx([0.0462, 0, 0]) and reach(stop, 0.001) >= 0.0462


def test_a_speed_that_must_pass_its_limit_has_no_stop():
    planner = StopPlanner(V, A, J, 0.004)
    # At 6 m/s^2 the jerk limit needs a^2/(2 J) = 0.12 m/s more.
    assert planner.plan((0.55, 0.0, 0.0), (6.0, 0.0, 0.0)) is None
    assert planner.plan((0.45, 0.0, 0.0), (6.0, 0.0, 0.0)) is not None
    assert planner.plan((0.55, 0.0, 0.0), (-6.0, 0.0, 0.0)) is not None


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**31),
    st.floats(0.03, 3.0),
    st.floats(0.1, 50.0),
    st.floats(2.0, 5000.0),
    st.sampled_from([0.001, 0.004, 0.01, 0.02]),
)
def test_every_tick_keeps_the_limits_and_the_sums(seed, v_limit, a_limit, j_limit, dt):
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(2, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    velocity = directions[0] * v_limit * rng.uniform(0, 1)
    change = directions[1] * min(a_limit, np.sqrt(j_limit * v_limit)) * rng.uniform(0, 1)
    stop = StopPlanner(v_limit, a_limit, j_limit, dt).plan(tuple(velocity), tuple(change))
    if stop is None:
        return
    v = np.concatenate([[velocity], velocities(stop)])
    a = np.concatenate([[change], np.diff(v, axis=0) / dt, [ZERO]])
    assert np.all(v[-1] == 0.0) and len(v) == stop.ticks + 1
    assert np.linalg.norm(v, axis=1).max() <= v_limit * (1 + 1e-9)
    assert np.linalg.norm(a, axis=1).max() <= a_limit * (1 + 1e-9)
    assert np.linalg.norm(np.diff(a, axis=0) / dt, axis=1).max() <= j_limit * (1 + 1e-6)
    moved = displacements(stop, dt)
    assert moved == pytest.approx(np.cumsum(np.concatenate([[ZERO], v[1:]]), axis=0) * dt, abs=1e-12)
    assert np.linalg.norm(moved, axis=1).max() <= reach(stop, dt) + 1e-12


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.001, 0.004, 0.01]))
def test_a_split_stop_keeps_the_limits_and_the_sums(seed, dt):
    rng = np.random.default_rng(seed)
    velocity, change = rng.uniform(-1, 1, 3) * V, rng.uniform(-1, 1, 3) * A * 3**-0.5
    stop = SplitPlanner(V, A, J, dt).plan(tuple(velocity), tuple(change))
    if stop is None:
        return
    v = np.concatenate([[velocity], velocities(stop)])
    a = np.concatenate([[change], np.diff(v, axis=0) / dt, [ZERO]])
    assert np.all(v[-1] == 0.0)
    for values, limit in ((v, V), (a, A), (np.diff(a, axis=0) / dt, J)):
        assert np.linalg.norm(values, axis=1).max() <= limit * (1 + 1e-6)
    moved = displacements(stop, dt)
    assert moved == pytest.approx(np.cumsum(np.concatenate([[ZERO], v[1:]]), axis=0) * dt, abs=1e-12)
    assert np.linalg.norm(moved, axis=1).max() <= reach(stop, dt) + 1e-12


def test_a_split_stop_is_short_where_the_speed_is_low():
    """0.05 m/s towards a near wall: sqrt(6 * 0.05 / 86.6) = 58.9 ms; 0.5 m/s along it: 1.5 * 0.5 / 3.46 = 217 ms."""
    stop = SplitPlanner(V, A, J, 0.001).plan((0.05, 0.5, 0.0), ZERO)
    assert [part.ticks for part in stop.parts] == [59, 217, 0]
    assert SplitPlanner(V, A, J, 0.001).plan((0.05, 0.5, 0.0), (0.0, 4.0, 0.0)) is None
