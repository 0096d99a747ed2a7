"""Inverse kinematics: it tracks, it stays within every limit whatever it is asked, and it comes back."""

import dataclasses
import math

import mujoco
import numpy as np
import pytest
from dp_core.contract import load_contract
from dp_core.poses import pose_distance, quat_from_rotvec, quat_multiply
from dp_sim.franka import HOME_RAD, TCP_SITE, add_franka
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pinocchio", reason="pinocchio is not installed")
pytest.importorskip("daqp", reason="daqp is not installed")

from dp_control.kinematics import QpKinematics
from dp_control.kinematics_benchmark import measure
from dp_control.kinematics_collision import SelfCollision
from dp_control.robot_model import RobotModel, RobotModelError

PERIOD_S = 0.004
ACCELERATION_RAD_S2 = 10.0
HOME = np.array(HOME_RAD)
# The elbow is stretched, and its singularity reached, where both links' 82.5 mm offsets lie on one line.
STRETCHED_RAD = -(math.atan(0.0825 / 0.316) + math.atan(0.0825 / 0.384))


def cell(**robot):
    contract = load_contract("sim_franka")
    return dataclasses.replace(contract, robot=dataclasses.replace(contract.robot, description="fr3", **robot))


@pytest.fixture(scope="module")
def model():
    return RobotModel.from_contract(cell())


@pytest.fixture
def kinematics():
    return QpKinematics.from_contract(cell())


def smooth(share):
    share = min(max(share, 0.0), 1.0)
    return share**3 * (10.0 - 15.0 * share + 6.0 * share**2)


def moved(pose, share, shift=(0.0, 0.0, 0.0), turn=(0.0, 0.0, 0.0)):
    position = pose[:3] + share * np.array(shift)
    return np.concatenate([position, quat_multiply(quat_from_rotvec(share * np.array(turn)), pose[3:])])


class Run:
    """What came of a path: arrays over time, and the names of active limits."""

    def __init__(self, kinematics, poses, start=HOME, period_s=PERIOD_S):
        kinematics.start(start)
        solutions = [kinematics.solve(pose, period_s) for pose in poses]
        self.joints = np.array([s.position for s in solutions])
        self.velocity = np.array([s.velocity for s in solutions])
        self.acceleration = np.diff(self.velocity, axis=0, prepend=np.zeros((1, self.velocity.shape[1]))) / period_s
        self.residual = np.array([(s.residual_m, s.residual_rad) for s in solutions])
        self.active = [s.active for s in solutions]
        before = np.vstack([start, self.joints[:-1]])
        np.testing.assert_allclose(self.joints - before, self.velocity * period_s, atol=1e-9)

    def check(self, model):
        assert np.all(np.isfinite(self.joints))
        assert np.all((self.joints >= model.lower) & (self.joints <= model.upper))
        assert np.all(np.abs(self.velocity) <= model.velocity_limit + 1e-9)
        assert np.abs(self.acceleration).max() <= ACCELERATION_RAD_S2 + 1e-6


def out_and_back(pose, shift, turn, way_s=2.0, hold_s=4.0, after_s=4.0, period_s=PERIOD_S):
    """Poses away from ``pose``, a stop, and back; and the indices at the end of the stop."""
    times = np.arange(0.0, 2.0 * way_s + hold_s + after_s, period_s)
    shares = [smooth(t / way_s) - smooth((t - way_s - hold_s) / way_s) for t in times]
    return [moved(pose, share, shift, turn) for share in shares], int((way_s + hold_s) / period_s) - 1


def test_tracks_a_moving_pose(kinematics, model):
    home = model.forward(HOME)
    poses = []
    for t in np.arange(0.0, 6.0, PERIOD_S):
        grown = smooth(t)
        shift = grown * np.array([0.1 * np.sin(2.0 * t), 0.2 * np.sin(1.5 * t), 0.08 * np.sin(2.5 * t)])
        poses.append(moved(home, 1.0, shift, (0.3 * grown * np.sin(1.7 * t), 0.0, 0.4 * grown * np.sin(t))))
    run = Run(kinematics, poses)
    run.check(model)
    assert run.residual[:, 0].max() < 0.2e-3 and run.residual[:, 1].max() < 1e-3
    assert np.abs(run.velocity).max() > 0.5  # it did move
    assert not any("unreachable" in names for names in run.active)
    spec = mujoco.MjSpec()
    add_franka(spec)
    compiled = spec.compile()
    data, site = mujoco.MjData(compiled), compiled.site(TCP_SITE).id
    for index in range(0, len(poses), 100):
        data.qpos[:7] = run.joints[index]
        mujoco.mj_kinematics(compiled, data)
        assert np.linalg.norm(data.site_xpos[site] - poses[index][:3]) < 0.2e-3


REACHED, LEFT_OUT = "reached", "left out"


@pytest.mark.parametrize(
    ("shift", "turn", "outcome"),
    [
        pytest.param((0.6, 0.0, 0.0), (0.0, 0.0, 0.0), LEFT_OUT, id="out of reach ahead"),
        pytest.param((0.9, 0.0, 0.2), (0.0, 0.0, 0.0), LEFT_OUT, id="far out of reach"),
        pytest.param((-0.5, 0.0, 1.2), (0.0, 0.0, 0.0), LEFT_OUT, id="above"),
        pytest.param((0.0, 0.0, -1.0), (0.0, 0.0, 0.0), LEFT_OUT, id="under the floor"),
        pytest.param((-1.05, 0.0, 0.35), (0.0, 0.0, 0.0), LEFT_OUT, id="behind, through the shoulder's axis"),
        pytest.param((0.5, 0.0, 0.0), (0.0, 1.5, 0.0), LEFT_OUT, id="out of reach and turned"),
        pytest.param((0.0, 0.0, 0.0), (0.0, -2.0, 0.0), LEFT_OUT, id="wrist past its limit"),
        pytest.param((0.0, 0.0, 0.0), (0.0, 0.0, 3.5), REACHED, id="turned to the limit of joint 7"),
        pytest.param((-0.25, 0.0, 0.0), (0.0, 0.0, 0.0), REACHED, id="close to the base"),
    ],
)
def test_out_of_reach_ends_at_rest_and_comes_back(kinematics, model, shift, turn, outcome):
    home = model.forward(HOME)
    poses, stop = out_and_back(home, shift, turn)
    run = Run(kinematics, poses)
    run.check(model)
    left = run.residual[stop]
    assert (left[0] > 0.01 or left[1] > 0.01) == (outcome == LEFT_OUT)
    assert ("unreachable" in run.active[stop]) == (outcome == LEFT_OUT)
    # At rest, and no to and fro on the way there: the last second is nearly still.
    assert np.abs(run.velocity[stop - 250 : stop]).max() < 0.1
    assert np.abs(run.acceleration[stop - 250 : stop]).max() < 0.5
    # Neither elbow nor wrist flipped, and back at home nothing is left.
    assert run.joints[:, 3].max() < STRETCHED_RAD
    assert run.residual[-1, 0] < 0.2e-3 and run.residual[-1, 1] < 1e-3
    assert "unreachable" not in run.active[-1]
    assert np.abs(run.joints[-1] - HOME).max() < 0.3


def test_the_closest_point_is_held(kinematics, model):
    """Pulled straight ahead, the arm ends within 10 mm of the best of a grid over its plane (a radian counts 0.3 m)."""
    home = model.forward(HOME)
    poses, stop = out_and_back(home, (0.6, 0.0, 0.0), (0.0, 0.0, 0.0))
    run = Run(kinematics, poses)
    reached = model.forward(run.joints[stop])
    best = math.inf
    for lean in np.linspace(0.6, 1.6, 30):
        for elbow in np.linspace(-1.2, STRETCHED_RAD, 20):
            for wrist in np.linspace(0.6, 1.8, 10):
                pose = model.forward([0.0, lean, 0.0, elbow, 0.0, wrist, HOME[6]])
                metres, radians = pose_distance(pose, poses[stop])
                best = min(best, math.hypot(metres, 0.3 * radians))
    metres, radians = pose_distance(reached, poses[stop])
    assert math.hypot(metres, 0.3 * radians) < best + 0.01


def test_straight_through_the_wrist_singularity(kinematics, model):
    """Joint 6 at 3.2 rad is singular (the hand along the forearm); the path leads there and on."""
    start = np.array([0.0, -0.2, 0.0, -2.3, 0.0, 2.6, 0.785])
    beyond = np.array([0.0, -0.2, 0.0, -2.3, 0.0, 3.9, 0.785])
    shares = [smooth(t / 2.0) for t in np.arange(0.0, 8.0, PERIOD_S)]
    poses = [model.forward(start + share * (beyond - start)) for share in shares]
    run = Run(kinematics, poses, start)
    run.check(model)
    assert any("singularity" in names for names in run.active)
    assert np.abs(run.velocity[-250:]).max() < 0.1
    back = Run(kinematics, [*poses, *poses[::-1], *[poses[0]] * 500], start)
    back.check(model)
    assert back.residual[-1, 0] < 0.2e-3 and back.residual[-1, 1] < 1e-3


def test_a_jump_is_approached_within_the_limits(kinematics, model):
    home = model.forward(HOME)
    target = moved(home, 1.0, (0.1, 0.2, 0.1), (0.5, 0.0, 0.3))
    run = Run(kinematics, [target] * 1000)
    run.check(model)
    distances = run.residual[:, 0]
    assert distances[0] > 0.2 and distances[-1] < 1e-4
    assert np.all(np.diff(distances) < 1e-3)  # no overshoot to speak of
    assert "unreachable" not in run.active[-1]


POSES = st.tuples(
    st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    st.tuples(*[st.floats(-1.0, 1.0)] * 4),
    st.sampled_from(["hold", "ramp", "nan", "zero", "infinite"]),
    st.integers(1, 30),
)


@given(st.lists(POSES, min_size=1, max_size=8), st.sampled_from([0.001, 0.004, 0.01]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_sequence_of_poses_breaks_a_limit(model, segments, period_s, self_collision):
    kinematics = QpKinematics(model, 0.6, 2.0, collision=SelfCollision(model) if self_collision else None)
    last = model.forward(HOME)
    poses = []
    for position, quat, kind, count in segments:
        pose = np.array([*position, *quat])
        if np.linalg.norm(quat) < 0.1:
            pose[6] += 1.0
        bad = {"nan": np.nan, "infinite": np.inf, "zero": 0.0}
        if kind in bad:
            pose[3:] = bad[kind]
            poses += [pose] * count
        elif kind == "hold":
            poses += [pose] * count
        else:
            poses += [last + (pose - last) * (i + 1) / count for i in range(count)]
        last = pose if kind in ("hold", "ramp") else last
    Run(kinematics, poses, period_s=period_s).check(model)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_pose_that_is_none_brakes(kinematics, model, value):
    home = model.forward(HOME)
    poses = [moved(home, smooth(t), (0.0, 0.3, 0.0)) for t in np.arange(0.0, 0.5, PERIOD_S)]
    bad = np.array([*home[:3], *[value] * 4])
    run = Run(kinematics, [*poses, *[bad] * 100])
    run.check(model)
    assert np.abs(run.velocity[len(poses) - 1]).max() > 0.3
    stopped = len(poses) + int(np.abs(run.velocity[len(poses) - 1]).max() / ACCELERATION_RAD_S2 / PERIOD_S) + 1
    assert np.all(run.velocity[stopped:] == 0.0)
    assert "invalid_pose" in run.active[-1]
    assert math.isinf(run.residual[-1, 0])


def test_without_a_solution_the_arm_brakes(kinematics, model, monkeypatch):
    home = model.forward(HOME)
    for t in np.arange(0.0, 0.5, PERIOD_S):
        moving = kinematics.solve(moved(home, smooth(t), (0.0, 0.3, 0.0)), PERIOD_S) if t else kinematics.start(HOME)
    import daqp

    monkeypatch.setattr(daqp, "solve", lambda *args, **kwargs: (np.full(7, np.nan), 0.0, -1, {}))
    solutions = [kinematics.solve(home, PERIOD_S) for _ in range(100)]
    steps = np.diff([moving.velocity, *[s.velocity for s in solutions]], axis=0)
    assert np.abs(steps).max() <= ACCELERATION_RAD_S2 * PERIOD_S + 1e-9
    assert np.all(solutions[-1].velocity == 0.0)
    assert "no_solution" in solutions[-1].active


def test_snapshot_and_restore_are_exact(kinematics, model):
    home = model.forward(HOME)
    poses = [moved(home, smooth(t), (0.3, 0.3, 0.0), (0.0, 0.5, 0.0)) for t in np.arange(0.0, 1.0, PERIOD_S)]
    kinematics.start(HOME)
    for pose in poses[:100]:
        kinematics.solve(pose, PERIOD_S)
    snapshot = kinematics.snapshot()
    first = [kinematics.solve(pose, PERIOD_S) for pose in poses[100:200]]
    for _ in range(20):
        kinematics.solve(moved(home, 1.0, (-0.5, 0.0, 0.5)), PERIOD_S)
    kinematics.restore(snapshot)
    again = [kinematics.solve(pose, PERIOD_S) for pose in poses[100:200]]
    for a, b in zip(first, again, strict=True):
        assert (
            np.array_equal(a.position, b.position) and np.array_equal(a.velocity, b.velocity) and a.active == b.active
        )
    # What was handed out is the caller's.
    again[-1].position[:] = np.nan
    assert np.all(np.isfinite(kinematics.solve(poses[200], PERIOD_S).position))
    # A solver that never saw the way there finds the same: the memory is the snapshot alone.
    cold = QpKinematics.from_contract(cell())
    cold.restore(snapshot)
    assert np.array_equal(cold.solve(poses[100], PERIOD_S).position, first[0].position)
    with pytest.raises(TypeError, match="did not come from snapshot"):
        kinematics.restore("then")


def test_the_posture_is_kept_without_moving_the_hand(model):
    posture = HOME + np.array([0.4, 0.0, -0.4, 0.0, 0.0, 0.0, 0.0])
    kinematics = QpKinematics.from_contract(cell(posture_rad=tuple(posture)))
    pose = model.forward(HOME)
    run = Run(kinematics, [pose] * 1000)
    run.check(model)
    assert run.residual[:, 0].max() < 0.1e-3 and run.residual[:, 1].max() < 0.5e-3
    # Only one motion leaves the hand in place: the closest point of it.
    assert np.linalg.norm(run.joints[-1] - posture) < 0.8 * np.linalg.norm(HOME - posture)
    assert np.abs(run.velocity[-1]).max() < 0.02
    assert np.abs(run.velocity).max() < 0.35


def test_start_where_it_is_measured(kinematics, model):
    """Slightly outside a limit the arm does not jump, and comes back inside; stretched it does not move at all."""
    outside = HOME.copy()
    outside[5] = model.lower[5] - 0.03
    pose = model.forward(outside)
    kinematics.start(outside)
    first = kinematics.solve(pose, PERIOD_S)
    assert np.abs(first.position - outside).max() <= ACCELERATION_RAD_S2 * PERIOD_S**2 + 1e-12
    for _ in range(1000):
        last = kinematics.solve(pose, PERIOD_S)
    assert last.position[5] > model.lower[5] - 1e-3
    stretched = np.array([0.0, 0.8, 0.0, STRETCHED_RAD, 0.0, 1.5, 0.785])
    still = Run(kinematics, [model.forward(stretched)] * 250, stretched)
    assert np.abs(still.joints - stretched).max() < 1e-6


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (HOME[:6], "6 values; 7 are needed: fr3_joint1"),
        (np.full(7, np.nan), "fr3_joint1 = nan rad is outside"),
        (HOME + 3.0, "fr3_joint1 = 3 rad is outside its limits -2.744 to 2.744"),
    ],
)
def test_a_start_that_cannot_be(kinematics, joints, message):
    with pytest.raises(RobotModelError, match=message):
        kinematics.start(joints)


def test_wrong_use_is_named(kinematics, model):
    pose = model.forward(HOME)
    with pytest.raises(ValueError, match="start was not called"):
        kinematics.solve(pose, PERIOD_S)
    kinematics.start(HOME)
    with pytest.raises(ValueError, match="period_s 0"):
        kinematics.solve(pose, 0.0)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        kinematics.solve(pose[:3], PERIOD_S)
    with pytest.raises(RobotModelError, match=r"robot.posture_rad: 2 values"):
        QpKinematics.from_contract(cell(posture_rad=(0.0, 0.0)))


def test_gradients_of_distance_by_finite_differences(model):
    collision = SelfCollision(model)
    step = 1e-4  # distances of boxes are iterated, to a tolerance of some 1e-6
    errors = []
    for joints in np.random.default_rng(3).uniform(model.lower, model.upper, (60, 7)):
        near = collision.distances(joints) < 0.15
        rows, _ = collision.rows(joints, PERIOD_S)
        ahead = np.array([collision.distances(joints + step * axis)[near] for axis in np.eye(7)])
        behind = np.array([collision.distances(joints - step * axis)[near] for axis in np.eye(7)])
        errors += np.abs((ahead - behind).T / (2.0 * step) - rows).max(axis=1, initial=0.0).tolist()
    assert len(errors) > 50
    # Where the nearest edge of a box changes, the distance has a kink and no slope.
    assert np.mean(np.array(errors) < 1e-3) > 0.95


def test_links_stay_apart(model):
    """Drawn back over its own shoulder, the hand would hit the upper arm."""
    home = model.forward(HOME)
    poses, _ = out_and_back(home, (-0.5, 0.0, 0.0), (0.0, 0.0, 0.0), way_s=2.5, hold_s=1.0, after_s=1.0)
    judge = SelfCollision(model)
    nearest = {}
    for self_collision in (False, True):
        run = Run(QpKinematics.from_contract(cell(self_collision=self_collision)), poses)
        run.check(model)
        nearest[self_collision] = min(judge.nearest(joints)[0] for joints in run.joints[::5])
        hit = any("self_collision" in names for names in run.active)
        assert hit == self_collision
        assert run.residual[-1, 0] < 0.2e-3
    assert nearest[False] < 0.0
    assert nearest[True] > judge.distance_m - 1e-3


def test_measuring_the_time_of_a_solve(kinematics):
    ticks = iter(range(10_000))
    times = measure(kinematics, HOME, lambda: next(ticks) * 1e-4, duration_s=1.5)
    assert times.p50_s == pytest.approx(1e-4) and times.longest_s == pytest.approx(1e-4)
    assert 0.0 < times.residual_m < 0.2e-3 and 0.0 < times.residual_rad < 1e-3
