"""The arm's model against a second implementation (MuJoCo), finite differences, and mistakes in a contract."""

import dataclasses

import mujoco
import numpy as np
import pytest
from dp_core.contract import config_directory, load_contract
from dp_core.poses import pose_distance, quat_inverse, quat_multiply, rotvec_from_quat
from dp_sim.franka import HOME_RAD, TCP_SITE, add_franka
from dp_sim.kinematics import effective_inertia

pytest.importorskip("pinocchio", reason="pinocchio is not installed")

from dp_control.robot_model import RobotModel, RobotModelError, description_file

# The simulator's joints carry the inertia of their motors, which a URDF does not hold.
ROTOR_INERTIA_KG_M2 = 0.1


def cell(description="fr3", joints=None, **changes):
    contract = load_contract("sim_franka")
    robot = dataclasses.replace(contract.robot, description=description)
    streams = dict(contract.streams)
    if joints is not None:
        streams["joint_states"] = dataclasses.replace(streams["joint_states"], joint_names=tuple(joints))
    return dataclasses.replace(contract, robot=robot, streams=streams, **changes)


@pytest.fixture(scope="module")
def model():
    return RobotModel.from_contract(cell())


@pytest.fixture(scope="module")
def reference():
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    add_franka(spec)
    compiled = spec.compile()
    return compiled, mujoco.MjData(compiled), compiled.site(TCP_SITE).id


def random_joints(model, count=50):
    return np.random.default_rng(7).uniform(model.lower, model.upper, (count, len(model.joint_names)))


def test_kinematics_and_dynamics_agree_with_mujoco(model, reference):
    compiled, data, site = reference
    rng = np.random.default_rng(8)
    jacobian, mass, quat = np.zeros((6, compiled.nv)), np.zeros((compiled.nv, compiled.nv)), np.zeros(4)
    for q in random_joints(model):
        velocity = rng.normal(size=7)
        data.qpos[:7], data.qvel[:7] = q, 0.0
        mujoco.mj_forward(compiled, data)
        gravity = data.qfrc_bias[:7].copy()
        data.qvel[:7] = velocity
        mujoco.mj_forward(compiled, data)
        mujoco.mj_jacSite(compiled, data, jacobian[:3], jacobian[3:], site)
        mujoco.mj_fullM(compiled, data, mass)
        mujoco.mju_mat2Quat(quat, data.site_xmat[site])
        expected = np.concatenate([data.site_xpos[site], quat[[1, 2, 3, 0]]])
        assert max(pose_distance(model.forward(q), expected)) < 1e-7
        np.testing.assert_allclose(model.jacobian(q), jacobian[:, :7], atol=1e-12)
        np.testing.assert_allclose(model.gravity(q), gravity, atol=1e-10)
        np.testing.assert_allclose(model.bias(q, velocity), data.qfrc_bias[:7], atol=1e-10)
        np.testing.assert_allclose(model.coriolis(q, velocity), data.qfrc_bias[:7] - gravity, atol=1e-10)
        np.testing.assert_allclose(model.mass(q), mass[:7, :7] - ROTOR_INERTIA_KG_M2 * np.eye(7), atol=1e-10)


def test_limits_are_those_of_the_simulated_arm(model, reference):
    compiled, _, _ = reference
    np.testing.assert_array_equal(np.stack([model.lower, model.upper], axis=1), compiled.jnt_range[:7])
    np.testing.assert_array_equal(model.effort_limit, compiled.actuator_ctrlrange[:7, 1])
    np.testing.assert_array_equal(model.velocity_limit, [2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])  # FR3 data sheet
    with pytest.raises(ValueError, match="read-only"):
        model.lower[0] = -9.0


def test_collision_shapes_are_those_of_the_simulated_arm(model, reference):
    compiled, data, _ = reference
    import pinocchio as pin

    shapes = model.collision_geometry()
    placements = shapes.createData()
    pin_data = model.pinocchio_model.createData()
    arm = [i for i in range(compiled.ngeom) if compiled.geom_type[i] == mujoco.mjtGeom.mjGEOM_CAPSULE]
    ours = [i for i, shape in enumerate(shapes.geometryObjects) if type(shape.geometry).__name__ == "Capsule"]
    assert len(arm) == len(ours) == 12
    for q in random_joints(model, 5):
        data.qpos[:7] = q
        mujoco.mj_forward(compiled, data)
        pin.updateGeometryPlacements(model.pinocchio_model, pin_data, shapes, placements, q)
        for theirs, mine in zip(arm, ours, strict=True):
            capsule = shapes.geometryObjects[mine].geometry
            np.testing.assert_allclose([capsule.radius, capsule.halfLength], compiled.geom_size[theirs][:2], atol=1e-6)
            np.testing.assert_allclose(placements.oMg[mine].translation, data.geom_xpos[theirs], atol=1e-6)
            # A capsule is the same both ways round.
            axis, expected = placements.oMg[mine].rotation[:, 2], data.geom_xmat[theirs].reshape(3, 3)[:, 2]
            np.testing.assert_allclose(abs(axis @ expected), 1.0, atol=1e-6)


def test_jacobian_by_finite_differences(model):
    step = 1e-6
    for q in random_joints(model, 10):
        columns = []
        for axis in np.eye(7):
            ahead, behind = model.forward(q + step * axis), model.forward(q - step * axis)
            turn = rotvec_from_quat(quat_multiply(ahead[3:], quat_inverse(behind[3:])))
            columns.append(np.concatenate([ahead[:3] - behind[:3], turn]) / (2.0 * step))
        np.testing.assert_allclose(model.jacobian(q), np.array(columns).T, atol=1e-8)


def test_the_end_effector_is_a_choice(model):
    flange = RobotModel(model.path, model.joint_names, "fr3_link0", "fr3_link8")
    assert pose_distance(flange.forward(HOME_RAD), model.forward(HOME_RAD))[0] == pytest.approx(0.1034, abs=1e-9)


def test_poses_in_a_base_frame_that_is_not_the_root(model, tmp_path):
    text = model.path.read_text()
    mounted = text.replace(
        '<link name="base"/>',
        '<link name="table"/><joint name="mount" type="fixed"><parent link="table"/><child link="base"/>'
        '<origin xyz="0.4 -0.2 0.9" rpy="0 0 1.5707963267948966"/></joint><link name="base"/>',
    )
    path = tmp_path / "mounted.urdf"
    path.write_text(mounted)
    q, velocity = np.array(HOME_RAD), np.ones(7)
    same = RobotModel(path, model.joint_names, "fr3_link0", "fr3_hand_tcp")
    np.testing.assert_allclose(same.forward(q), model.forward(q), atol=1e-12)
    np.testing.assert_allclose(same.jacobian(q), model.jacobian(q), atol=1e-12)
    table = RobotModel(path, model.joint_names, "table", "fr3_hand_tcp")
    x, y, z = model.forward(q)[:3]
    np.testing.assert_allclose(table.forward(q)[:3], [0.4 - y, -0.2 + x, 0.9 + z], atol=1e-12)
    vx, vy, vz = (model.jacobian(q) @ velocity)[:3]
    np.testing.assert_allclose((table.jacobian(q) @ velocity)[:3], [-vy, vx, vz], atol=1e-12)


def test_effective_inertia_agrees_with_the_simulator(model, reference):
    compiled, _, site = reference
    expected = effective_inertia(compiled, site, np.array(HOME_RAD))
    jacobian = model.jacobian(HOME_RAD)
    mass = model.mass(HOME_RAD) + ROTOR_INERTIA_KG_M2 * np.eye(7)
    with_rotors = np.diag(np.linalg.inv(jacobian @ np.linalg.solve(mass, jacobian.T)))
    np.testing.assert_allclose(with_rotors, expected, rtol=0.02)  # the fingers slide in the simulator
    assert np.all(model.effective_inertia(HOME_RAD) < with_rotors)


def test_a_description_with_meshes_that_are_not_here(model, tmp_path):
    text = model.path.read_text()
    mesh = '<visual><geometry><mesh filename="package://nowhere/link0.dae"/></geometry></visual>'
    collision = '<collision><geometry><mesh filename="package://nowhere/link0.stl"/></geometry></collision>'
    path = tmp_path / "meshes.urdf"
    path.write_text(text.replace('<link name="fr3_link0">', f'<link name="fr3_link0">{mesh}{collision}'))
    loaded = RobotModel.from_contract(cell(str(path)))
    np.testing.assert_allclose(loaded.forward(HOME_RAD), model.forward(HOME_RAD), atol=1e-12)
    with pytest.raises(RobotModelError, match=r"self_collision.*meshes\.urdf.*link0\.stl"):
        loaded.collision_geometry()


def test_every_shipped_robot_is_found():
    names = [path.stem for path in (config_directory() / "robots").glob("*.urdf")]
    assert "fr3" in names
    for name in names:
        assert description_file(name).is_file()


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (cell(""), "robot.description: missing"),
        (cell("fr33"), "no robot 'fr33'; valid: .*fr3.*path"),
        (cell("/nowhere/arm.urdf"), "no such file: /nowhere/arm.urdf"),
        (cell("arm.urdf.xacro"), "is xacro"),
        (cell(joints=()), "joint_names: missing"),
        (cell(joints=("fr3_joint1", "joint_two")), "joint_two not in .*valid: fr3_joint1, .*fr3_joint7"),
        (cell(joints=("fr3_joint2", "fr3_joint1")), "from base to end effector: fr3_joint1, fr3_joint2"),
        (cell(joints=("fr3_joint1", "fr3_finger_joint1")), "fr3_finger_joint1 does not move ee_frame 'fr3_hand_tcp'"),
        (cell(ee_frame="tool0"), "ee_frame: 'tool0' is not in .*valid: base, .*fr3_link0, .*fr3_hand_tcp"),
        (cell(base_frame="world"), "base_frame: 'world' is not in .*valid: base, .*fr3_link0"),
        (cell(base_frame="fr3_link3"), "base_frame: 'fr3_link3' moves"),
    ],
)
def test_mistakes_are_named(contract, message):
    with pytest.raises(RobotModelError, match=message):
        RobotModel.from_contract(contract)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</robot>", "", "cannot be read as URDF"),
        ('velocity="4.18"', 'velocity="0"', "fr3_joint6: position, velocity and effort limits"),
        ('<joint name="fr3_joint7" type="revolute">', '<joint name="fr3_joint7" type="continuous">', "continuous"),
    ],
)
def test_a_bad_urdf_is_named(model, tmp_path, old, new, message):
    path = tmp_path / "bad.urdf"
    path.write_text(model.path.read_text().replace(old, new))
    with pytest.raises(RobotModelError, match=message):
        RobotModel.from_contract(cell(str(path)))
