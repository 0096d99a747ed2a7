"""Random faults on the virtual clock break no rule; and each rule can be broken, and is named when it is."""

from dataclasses import replace

import numpy as np
import pytest
from dp_bringup.fault_checker import check
from dp_bringup.fault_episodes import run_episode, run_fault_episodes
from dp_bringup.fault_scripts import KINDS
from dp_bringup.fault_trace import FAULT, HOLD, POLICY, STOPPED, TELEOP, Trace
from dp_bringup.measured_motion import motion_rates, turns_between
from dp_core.contract import load_contract
from dp_core.limits import KeepOutBox, OrientationCone
from dp_core.motion_limits import MotionLimiter

CONTRACT = load_contract("sim_franka")
T = 0.01
N = 200


@pytest.fixture(scope="module")
def summary():
    return run_fault_episodes(count=120, seed=0, workers=2)


def test_random_faults_break_no_rule(summary):
    assert summary.episodes == 120 and summary.steps > 30_000
    assert not summary.violations, "\n".join(map(str, summary.violations))
    assert summary.depth <= 1e-6 and max(summary.worst.values()) <= 1.001


@pytest.mark.parametrize("seed", [2376, 2984, 5394])
def test_the_judge_knows_where_a_mode_starts_and_forgets_what_was_after_the_clock_was_set_back(seed):
    """It held these against control: measured pose and joints apart, contact of a time that was yet to come."""
    assert run_episode(seed).verdict.violations == ()


def test_the_episodes_are_worth_it(summary):
    """Most kinds of fault happened, every mode was reached for long, and the arm was driven to its limits."""
    assert len(summary.faults) > 0.8 * len(KINDS)
    assert all(summary.modes[name] > 500 for name in ("HOLD", "TELEOP", "POLICY", "STOPPED", "FAULT"))
    assert min(summary.worst.values()) > 0.8, summary.worst


def test_a_seed_reproduces_its_episode():
    once, again = run_episode(3), run_episode(3)
    np.testing.assert_array_equal(once.trace.pose, again.trace.pose)
    np.testing.assert_array_equal(once.trace.mode, again.trace.mode)
    assert once.script == again.script and once.contract == again.contract


def test_a_broken_limiter_is_found_out(monkeypatch):
    """Two steps in one period: up to twice the velocity, four times the acceleration and eight times the jerk."""
    honest = MotionLimiter.follow_twist

    def hasty(self, twist):
        honest(self, twist)
        return honest(self, twist)

    monkeypatch.setattr(MotionLimiter, "follow_twist", hasty)
    found = [violation for seed in range(12) for violation in run_episode(seed).verdict.violations]
    assert {"linear_velocity", "linear_acceleration", "linear_jerk", "angular_acceleration"} <= {v.rule for v in found}
    assert str(found[0]).startswith(f"seed {found[0].seed}, ")


def quiet_trace(contract=CONTRACT):
    """Two seconds: STOPPED, then TELEOP, a smooth move of 4 cm and 0.2 rad about z while the twist is alive."""
    tick = np.arange(1, N + 1)
    mode = np.where(tick <= 20, STOPPED, TELEOP)
    s = np.clip((tick - 40) / 100.0, 0.0, 1.0)
    way = s**3 * (10.0 - 15.0 * s + 6.0 * s * s)
    pose = np.zeros((N, 7))
    pose[:, :3] = [0.5, 0.0, 0.3]
    pose[:, 1] += 0.04 * way
    # The tool points down (half a turn about x) and turns about the vertical.
    pose[:, 3], pose[:, 4] = np.cos(0.1 * way), np.sin(0.1 * way)
    pose[tick <= 20] = np.nan
    twist = np.zeros((N, 6))
    twist[21:] = motion_rates(tick[21:], pose[21:], T, pose[20]).twists
    t_ns = 10**12 + tick * 10**7
    request = np.where(tick == 10, TELEOP, -1)
    measured = np.where(np.isnan(pose), pose[20], pose)
    return Trace(
        tick=tick, t_ns=t_ns, mode=mode, pose=pose, twist=twist, width=np.full(N, 0.08), alive=np.ones(N, bool),
        request=request, resume=np.zeros(N, bool), measured=measured, start=measured.copy(), measured_ns=t_ns.copy(),
        twist_ns=t_ns.copy(), plan_end_ns=np.full(N, np.iinfo(np.int64).min), contact_s=np.zeros(N),
        held=np.ones(N, bool), hand=np.zeros(N, bool), along=np.full(N, np.nan),
    )  # fmt: skip


def changed(trace, **fields):
    """A copy in which functions have altered copies of the named fields."""
    copies = {}
    for name, change in fields.items():
        copies[name] = getattr(trace, name).copy()
        change(copies[name])
    return replace(trace, **copies)


def rules(trace, contract=CONTRACT):
    return {violation.rule for violation in check(trace, contract, 7).violations}


def shift(column, index, offset):
    def apply(poses):
        poses[index, column] += offset

    return apply


def put(index, value):
    def apply(values):
        values[index] = value

    return apply


def test_a_quiet_motion_breaks_no_rule():
    verdict = check(quiet_trace(), CONTRACT, 7)
    assert not verdict.violations
    # By hand: the peak velocity of a minimum-jerk move is 1.875 d / T: 1.875 * 0.04 m / 1 s of 0.6 m/s.
    assert verdict.shares[0] == pytest.approx(0.075 / 0.6, rel=1e-3)
    assert verdict.shares[3] == pytest.approx(1.875 * 0.2 / 2.0, rel=1e-3)


# A step of 1 mm in one period of 10 ms: 0.1 m/s, 10 m/s^2, 1000 m/s^3; of 0.02 mm: 0.2 m/s^2 and 20 (twice: 60) m/s^3.
BROKEN = {
    "a jump": ({"pose": shift(0, slice(100, None), 0.05)}, {"linear_velocity", "linear_acceleration", "linear_jerk"}),
    "a kink": ({"pose": shift(0, slice(100, None), 0.001)}, {"linear_acceleration", "linear_jerk"}),
    "a jerk": ({"pose": shift(0, slice(100, None), 0.00008)}, {"linear_jerk"}),
    "a jump at the entry": ({"start": shift(2, slice(None), 0.02)}, {"linear_velocity"}),
    "a turn": ({"pose": put((slice(100, None), slice(3, 7)), [0, 0, 0, 1])}, {"angular_velocity", "angular_jerk"}),
    "not a number": ({"pose": put((100, 1), np.inf)}, {"finite"}),
    "a quaternion that is none": ({"pose": put((100, slice(3, 7)), 0.5 + 1e-4)}, {"unit_quaternion"}),
    "a width that no gripper has": ({"width": put(50, 0.2)}, {"gripper_width"}),
    "another twist than the motion's": ({"twist": put((90, 1), -0.1)}, {"reported_twist"}),
    "a mode that nobody asked for": ({"request": put(9, -1)}, {"transition"}),
    "back from FAULT by itself": ({"mode": put(slice(100, 120), FAULT)}, {"transition"}),
    "silence while running": ({"pose": put(150, np.nan)}, {"sends_while_running"}),
    "commands while stopped": ({"pose": put(5, [0.5, 0, 0.3, 1, 0, 0, 0])}, {"sends_while_stopped"}),
    "motion without a twist": ({"twist_ns": lambda v: v.__setitem__(slice(30, None), v[30])}, {"rest_after_loss"}),
    "a dead robot": ({"measured_ns": lambda v: v.__setitem__(slice(60, None), v[60])}, {"stale_state_is_a_fault"}),
    "a clock that goes back": ({"t_ns": lambda v: v.__isub__(np.where(np.arange(N) > 99, 10**9, 0))}, set()),
    "a stop that never comes": ({"request": put(30, STOPPED)}, {"stop_reached"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_rule_is_named(name):
    changes, expected = BROKEN[name]
    found = rules(changed(quiet_trace(), **changes))
    assert expected <= found, found
    if name == "a clock that goes back":
        assert "clock_back_is_a_fault" in found
    if name == "a jerk":
        assert found == expected


def with_safety(**rules_of_the_cell):
    teleop = replace(CONTRACT.teleop, clutch_button=1)  # which a dead-man button needs
    return replace(CONTRACT, teleop=teleop, safety=replace(CONTRACT.safety, **rules_of_the_cell))


@pytest.mark.parametrize(
    ("contract", "rule"),
    [
        (with_safety(table_height_m=0.31), None),
        (with_safety(keep_out={"post": KeepOutBox((0.4, 0.02, 0.2), (0.6, 0.3, 0.4))}), "region keep_out post"),
        (with_safety(orientation_cone=OrientationCone(0.1, base_axis=(0.0, 0.0, 1.0))), None),
        (
            replace(CONTRACT, limits=replace(CONTRACT.limits, workspace_max_m=(0.75, 0.03, 0.6))),
            "region workspace +y",
        ),
    ],
)
def test_a_wall_may_not_be_passed_but_an_arm_that_starts_behind_one_may_stay(contract, rule):
    assert rules(quiet_trace(), contract) == (set() if rule is None else {rule})


def test_leaving_the_cone_is_named():
    """The tool tilts by 0.2 rad while the cone allows 0.1."""
    trace = quiet_trace()
    tilt = np.linspace(0.0, 0.2, N - 20)
    trace.pose[20:, 3:] = np.stack([np.cos(tilt / 2), 0 * tilt, np.sin(tilt / 2), 0 * tilt], axis=1)
    assert "region orientation_cone" in rules(trace, with_safety(orientation_cone=OrientationCone(0.1)))


def test_contact_must_end_the_mode():
    contract = with_safety(force_limit_N=20.0, contact_time_s=0.02)
    pressed = changed(quiet_trace(), contact_s=put(slice(100, None), 0.1))
    assert rules(pressed, contract) == {"contact_is_a_fault"}


def test_motion_without_the_dead_man_button_is_named():
    released = changed(quiet_trace(), held=put(slice(30, None), False))
    assert not rules(released)
    assert rules(released, with_safety(dead_man=("teleop",))) == {"rest_after_loss"}


def test_a_policy_that_does_not_give_way_is_named():
    trace = changed(quiet_trace(), mode=put(slice(20, None), POLICY), request=put(9, POLICY))
    trace = replace(trace, plan_end_ns=trace.t_ns + 10**9)
    assert not rules(trace)
    # Five periods of 10 ms are granted, the sixth is not.
    assert not rules(changed(trace, hand=put(slice(100, 105), True)))
    assert rules(changed(trace, hand=put(slice(100, 107), True))) == {"takeover"}


def test_an_arm_that_stays_behind_is_named():
    behind = changed(quiet_trace(), measured=shift(0, slice(50, None), 0.2))
    assert rules(behind) == {"blocked_is_a_fault"}


def test_a_quaternion_that_changes_its_sign_is_named():
    flipped = changed(quiet_trace(), pose=lambda poses: poses.__setitem__((100, slice(3, 7)), -poses[100, 3:]))
    assert rules(flipped) == {"quaternion_sign"}


def test_an_exception_in_the_core_is_a_violation(monkeypatch):
    def fails(self, twist):
        raise ZeroDivisionError

    monkeypatch.setattr(MotionLimiter, "follow_twist", fails)
    found = run_fault_episodes(count=8, seed=0, workers=1).violations
    assert any(violation.rule == "exception" and "ZeroDivisionError" in violation.text for violation in found)


def test_a_plan_that_goes_back_is_named():
    trace = changed(quiet_trace(), mode=put(slice(20, None), POLICY), request=put(9, POLICY))
    trace = replace(trace, plan_end_ns=trace.t_ns + 10**9, along=np.where(np.arange(N) < 100, 0.1, 0.09))
    assert rules(trace) == {"plan_goes_back"}


def test_after_a_pause_of_the_loop_the_motion_begins_at_rest():
    """A second without a cycle in the middle of the move, which then goes on at its old speed."""
    trace = quiet_trace()
    tick = trace.tick + np.where(np.arange(N) >= 90, 100, 0)
    paused = replace(trace, tick=tick, t_ns=10**12 + tick * 10**7)
    paused = replace(paused, measured_ns=paused.t_ns, twist_ns=paused.t_ns)
    assert {"linear_acceleration", "linear_jerk"} <= rules(paused)
    # Missing two periods is no pause: the command makes up for them within the limits.
    kept = np.r_[0:90, 92:N]
    columns = {name: getattr(trace, name)[kept] for name in trace.__dataclass_fields__}
    assert not rules(Trace(**columns)) - {"reported_twist"}


def test_turns_agree_with_rotation_vectors_also_across_the_sign_of_a_quaternion():
    half = np.array([0.0, 0.05, 0.1])
    quats = np.stack([np.sin(half), 0 * half, 0 * half, np.cos(half)], axis=1)
    quats[1] *= -1.0
    np.testing.assert_allclose(turns_between(quats), [[0.1, 0, 0], [0.1, 0, 0]], atol=1e-12)


def test_policy_mode_waits_for_its_first_plan_and_ends_when_that_is_over():
    """A plan of before the mode began is none of it."""
    mode = np.where(np.arange(N) < 20, STOPPED, POLICY)
    waiting = replace(quiet_trace(), mode=mode, plan_end_ns=np.full(N, 10**12))
    contract = with_safety(input_lost_s=0.2)
    assert "lost_input_ends_the_mode" not in rules(waiting, contract)
    begun = replace(waiting, plan_end_ns=np.where(np.arange(N) < 22, 10**12, 10**12 + 220_000_000))
    assert "lost_input_ends_the_mode" in rules(begun, contract)


def test_hold_is_at_rest():
    trace = changed(quiet_trace(), mode=put(slice(20, None), HOLD), request=put(9, HOLD))
    assert "rest_after_loss" in rules(trace)


def test_a_plan_that_control_refuses_as_too_fast_is_no_input_that_could_be_lost():
    """The only plan asks for 1.8 m/s of an arm that may move at 0.05: control waits for a better one."""
    episode = run_episode(5_003_363)
    assert not episode.verdict.violations
    assert (episode.trace.mode == POLICY).sum() > 250  # it was asked to follow: 283 cycles of 10 ms
