"""The impedance law on a point mass and its limits; on the whole arm it is tested in tests/dp_sim/test_cell.py."""

from __future__ import annotations

import time

import numpy as np
import pytest
from dp_core.impedance import CartesianImpedance, ImpedanceGains, damping_from_stiffness, rotation_error
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


def test_posture_torque_does_not_move_the_tool():
    bias = np.linspace(-3.0, 3.0, 7)
    tau = settle(make_law(posture=np.full(7, 0.4)), bias=bias)
    assert np.abs(tau - bias).max() > 0.1
    # The force that these torques exert at the tool: least squares of tau = J^T F.
    force = np.linalg.lstsq(jacobian().T, tau - bias, rcond=None)[0]
    assert np.abs(force).max() < 1e-4


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
