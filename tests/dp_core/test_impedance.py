"""The impedance law on a point mass and its limits; on the whole arm: tests/dp_sim/test_compliance.py."""

from __future__ import annotations

import time

import numpy as np
import pytest
from dp_core.impedance import (
    CartesianImpedance,
    ImpedanceGains,
    damping_from_stiffness,
    damping_matrix,
    end_effector_inertia,
    rotation_error,
)
from dp_core.poses import quat_from_rotvec, quat_multiply

GAINS = ImpedanceGains(torque_limit_Nm=(50.0,) * 7)
QUAT = np.array([1.0, 0.0, 0.0, 0.0])


def make_law(gains: ImpedanceGains = GAINS, posture: np.ndarray | None = None) -> CartesianImpedance:
    return CartesianImpedance(gains, np.full(6, 2.0), np.zeros(7) if posture is None else posture, 0.001)


def jacobian(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(6, 7))


def settle(law: CartesianImpedance, calls: int = 500, **changes: np.ndarray) -> np.ndarray:
    """Torque after the rate limit has let it settle."""
    state = {"position": np.zeros(3), "target": np.zeros(3), "target_quat": QUAT, "q": np.zeros(7), "bias": np.zeros(7)}
    state.update(changes)
    for _ in range(calls):
        tau = law.torque(
            jacobian(),
            (state["position"], QUAT),
            (state["q"], np.zeros(7)),
            (state["target"], state["target_quat"]),
            state["bias"],
        )
    return tau.copy()


def test_spring_force_maps_through_the_jacobian():
    offset = np.array([0.001, -0.002, 0.0005])
    expected = jacobian()[:3].T @ (GAINS.translational_stiffness_N_m * offset)
    np.testing.assert_allclose(settle(make_law(), target=offset), expected, rtol=1e-9)


def test_rotational_spring_turns_the_short_way():
    turn = np.array([0.02, -0.01, 0.03])
    target = -quat_multiply(quat_from_rotvec(turn), QUAT)
    expected = jacobian()[3:].T @ (GAINS.rotational_stiffness_Nm_rad * turn)
    np.testing.assert_allclose(settle(make_law(), target_quat=target), expected, rtol=1e-6)


@pytest.mark.parametrize("angle", [1e-12, 0.1, 1.5, 3.0])
def test_rotation_error_is_the_rotation_vector(angle):
    turn = angle * np.array([0.6, 0.0, -0.8])
    np.testing.assert_allclose(rotation_error(quat_multiply(quat_from_rotvec(turn), QUAT), QUAT), turn, atol=1e-9)


def test_critical_damping_brings_a_mass_to_rest_without_overshoot():
    stiffness, mass, period = 3000.0, 8.0, 1e-3
    for ratio, overshoots in ((1.0, False), (0.4, True)):
        damping = float(damping_from_stiffness(np.array([stiffness]), np.array([mass]), ratio)[0])
        x, v, lowest = 0.05, 0.0, 0.05
        for _ in range(2000):
            v += (-stiffness * x - damping * v) / mass * period
            x += v * period
            lowest = min(lowest, x)
        assert abs(x) < 1e-4
        assert (lowest < -1e-3) == overshoots


def random_inertia(seed: int) -> np.ndarray:
    factor = np.random.default_rng(seed).normal(size=(6, 6))
    return factor @ factor.T + 0.1 * np.eye(6)


@pytest.mark.parametrize("ratio", [0.3, 0.7, 1.4])
def test_the_damping_matrix_gives_every_mode_the_ratio(ratio):
    stiffness = np.array([3000.0, 500.0, 3000.0, 150.0, 20.0, 150.0])
    for seed in range(5):
        inertia = random_inertia(seed)
        damping = damping_matrix(stiffness, inertia, ratio)
        np.testing.assert_allclose(damping, damping.T, rtol=1e-9)
        # Poles of inertia a + damping v + stiffness x = 0, and those of six single masses with that ratio.
        mobility = np.linalg.inv(inertia)
        system = np.block([[np.zeros((6, 6)), np.eye(6)], [-mobility @ np.diag(stiffness), -mobility @ damping]])
        poles = np.linalg.eigvals(system)
        frequencies = np.sqrt(np.linalg.eigvals(mobility @ np.diag(stiffness)).real)
        root = np.sqrt(complex(ratio**2 - 1.0))
        expected = np.concatenate([-frequencies * (ratio + root), -frequencies * (ratio - root)])
        np.testing.assert_allclose(np.sort_complex(poles), np.sort_complex(expected), rtol=1e-6, atol=1e-6)


def test_the_damping_of_uncoupled_axes_is_that_of_each_axis():
    stiffness, masses = GAINS.stiffness, np.array([2.0, 3.0, 4.0, 0.1, 0.2, 0.3])
    matrix = damping_matrix(stiffness, np.diag(masses), 0.8)
    np.testing.assert_allclose(matrix, np.diag(damping_from_stiffness(stiffness, masses, 0.8)), atol=1e-9)


def test_end_effector_inertia_of_a_gear_is_the_mass_times_its_ratio_squared():
    # One joint for each axis behind a ratio r: x = q / r, so the mass seen is r^2 m; the seventh joint does nothing.
    ratio, masses = np.array([1.0, 2.0, 0.5, 1.0, 1.0, 3.0]), np.array([2.0, 1.0, 4.0, 0.1, 0.5, 0.2])
    matrix = np.hstack([np.diag(1.0 / ratio), np.zeros((6, 1))])
    inertia = end_effector_inertia(matrix, np.diag(np.r_[masses, 1.0]))
    np.testing.assert_allclose(inertia, np.diag(ratio**2 * masses), rtol=1e-3, atol=1e-12)


def test_the_design_by_inertia_follows_the_arm_and_the_fixed_one_does_not():
    mass = np.diag(np.linspace(0.5, 2.0, 7))
    fixed, following = make_law(), make_law(ImpedanceGains(damping="inertia", torque_limit_Nm=(50.0,) * 7))
    before = fixed.damping.copy()
    for law in (fixed, following):
        law.design_damping(jacobian(), mass)
    np.testing.assert_array_equal(fixed.damping, before)
    expected = damping_matrix(GAINS.stiffness, end_effector_inertia(jacobian(), mass))
    np.testing.assert_allclose(following.damping, expected)


@pytest.mark.parametrize("far", [np.array([0.3, -0.4, 0.0]), np.array([3.0, -4.0, 0.0])])
def test_a_far_target_pulls_with_the_force_of_the_clip(far):
    law = make_law(ImpedanceGains(error_clip_m=0.002, torque_limit_Nm=(50.0,) * 7))
    expected = jacobian()[:3].T @ (GAINS.translational_stiffness_N_m * 0.002 * far / np.linalg.norm(far))
    np.testing.assert_allclose(settle(law, target=far), expected, rtol=1e-9)


def test_the_rotation_is_clipped_by_itself():
    law = make_law(ImpedanceGains(error_clip_rad=0.02, torque_limit_Nm=(50.0,) * 7))
    target = quat_multiply(quat_from_rotvec(np.array([0.0, 1.2, 0.0])), QUAT)
    offset = np.array([0.003, 0.0, 0.0])
    expected = jacobian().T @ np.r_[3000.0 * offset, 0.0, 150.0 * 0.02, 0.0]
    np.testing.assert_allclose(settle(law, target=offset, target_quat=target), expected, rtol=1e-6)


@pytest.mark.parametrize(("feed_forward", "share"), [(False, 0.0), (True, 1.0)])
def test_feed_forward_damps_against_the_twist_of_the_target(feed_forward, share):
    law = make_law(ImpedanceGains(feed_forward=feed_forward, torque_limit_Nm=(50.0,) * 7))
    twist = np.array([0.02, 0.0, -0.01, 0.0, 0.1, 0.0])
    zero3, zero7 = np.zeros(3), np.zeros(7)
    for _ in range(200):
        tau = law.torque(jacobian(), (zero3, QUAT), (zero7, zero7), (zero3, QUAT), zero7, twist)
    np.testing.assert_allclose(tau, share * jacobian().T @ law.damping @ twist, atol=1e-9)


def test_relaxing_ramps_to_the_bias_at_the_rate_limit():
    law = make_law()
    start = settle(law, target=np.array([0.004, 0.0, 0.0]))
    bias = np.full(7, 2.0)
    step, last = GAINS.torque_rate_limit_Nm_s * 0.001, start
    calls = int(np.ceil(np.abs(start - bias).max() / step))
    for call in range(calls):
        assert call == 0 or not np.allclose(last, bias)
        tau = law.relax(bias).copy()
        assert np.abs(tau - last).max() <= step + 1e-9
        last = tau
    np.testing.assert_allclose(last, bias)


def test_posture_torque_does_not_move_the_tool():
    bias = np.linspace(-3.0, 3.0, 7)
    tau = settle(make_law(posture=np.full(7, 0.4)), bias=bias)
    assert np.abs(tau - bias).max() > 0.1
    # The force that these torques exert at the tool: least squares of tau = J^T F.
    force = np.linalg.lstsq(jacobian().T, tau - bias, rcond=None)[0]
    assert np.abs(force).max() < 1e-4


def test_a_slow_loop_damps_the_null_space_with_the_present_velocity():
    # A torque of the posture that is computed now and then would drive the joints after they have turned back.
    gains = ImpedanceGains(torque_limit_Nm=(50.0,) * 7, torque_rate_limit_Nm_s=1e6)
    law = CartesianImpedance(gains, np.full(6, 2.0), np.zeros(7), 0.004)
    null = np.linalg.svd(jacobian())[2][6]
    for sign in (1.0, -1.0, 1.0):
        tau = law.torque(jacobian(), (np.zeros(3), QUAT), (np.zeros(7), sign * null), (np.zeros(3), QUAT), np.zeros(7))
        np.testing.assert_allclose(tau, -sign * 2.0 * np.sqrt(10.0) * null, atol=1e-3)


def test_torque_and_torque_rate_are_limited():
    law = make_law()
    far = np.array([1.0, 1.0, 1.0])
    last = np.zeros(7)
    step = GAINS.torque_rate_limit_Nm_s * 0.001
    for _ in range(200):
        tau = settle(law, calls=1, target=far)
        assert np.abs(tau - last).max() <= step + 1e-9
        last = tau
    assert np.abs(last).max() == pytest.approx(50.0)


def test_reset_starts_the_rate_limit_from_the_bias():
    law = make_law()
    bias = np.full(7, 20.0)
    law.reset(bias)
    np.testing.assert_allclose(settle(law, calls=1, bias=bias), bias, atol=1e-9)


@pytest.mark.parametrize(
    "values",
    [
        {"translational_stiffness_N_m": 0.0},
        {"damping_ratio": -1.0},
        {"torque_limit_Nm": (1.0, -1.0)},
        {"torque_rate_limit_Nm_s": float("nan")},
        {"error_clip_m": 0.0},
        {"error_clip_rad": -0.1},
        {"damping": "none"},
    ],
)
def test_gains_without_meaning_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        ImpedanceGains(**values)


def test_posture_of_another_arm_is_refused():
    with pytest.raises(ValueError, match="posture"):
        make_law(posture=np.zeros(6))


def test_the_law_is_cheap():
    law, matrix = make_law(), jacobian()
    zero3, zero7 = np.zeros(3), np.zeros(7)
    best = np.inf
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(50):
            law.torque(matrix, (zero3, QUAT), (zero7, zero7), (zero3, QUAT), zero7)
        best = min(best, (time.perf_counter() - start) / 50)
    assert best < 60e-6, f"{best * 1e6:.0f} us for each call"
