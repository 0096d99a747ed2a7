"""The simulated cell: 1 kHz physics with the arm's controller in the loop. No ROS, no clock, no threads.

Units are SI, poses pose7 in the base frame `fr3_link0` (= world). One instance per thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from dp_core.impedance import ImpedanceGains
from dp_core.robot_spec import RobotSpec
from numpy.typing import ArrayLike, NDArray

from dp_sim.arm_controllers import ArmView, BadTargetError, ImpedanceArm, make_controller
from dp_sim.contact import ContactWatch
from dp_sim.external_force import ExternalForce
from dp_sim.franka import ARM_JOINTS, FINGER_JOINTS, HOME_RAD, JOINT_RANGE_RAD, TCP_SITE
from dp_sim.gripper import GripperServo
from dp_sim.kinematics import effective_inertia, solve_pose
from dp_sim.scene import PHYSICS_PERIOD_S, build_model
from dp_sim.task import SceneStatus, SceneView, Scorer, Task, load_task

Array = NDArray[np.float64]

SCORE_PERIOD_MS = 10
_JOINTS = len(ARM_JOINTS)


@dataclass(frozen=True)
class RobotState:
    """Measured state at one instant.

    Attributes:
        t_ms: physics time since the cell was made, ms; never goes back.
        joint_position: (7,) rad.
        joint_velocity: (7,) rad/s.
        joint_effort: (7,) Nm of the joints, gravity included.
        ee_pose: pose7 of `fr3_hand_tcp`.
        wrench: (6,) N | Nm that the environment exerts on the tool, base frame, at the TCP.
        finger_position: (2,) m, each half of the width.
    """

    t_ms: int
    joint_position: Array
    joint_velocity: Array
    joint_effort: Array
    ee_pose: Array
    wrench: Array
    finger_position: Array

    @property
    def width_m(self) -> float:
        """Opening between the fingers, m."""
        return float(self.finger_position[0] + self.finger_position[1])


class SimulatedCell:
    """Robot, table and objects of one task.

    Attributes:
        controller: what runs inside the arm; `ImpedanceArm` unless `robot` says otherwise.
    """

    def __init__(
        self,
        task: Task | str,
        seed: int = 0,
        gains: ImpedanceGains | None = None,
        robot: RobotSpec | None = None,
        clock_code: bool = False,
    ) -> None:
        """Build the model and reset it with `seed`. Raises `UnknownTaskError`.

        Args:
            task: or its name.
            seed: of the first episode.
            gains: of the impedance law.
            robot: decides what the arm listens to (`back_end`) and whether it carries itself (`gravity`).
            clock_code: a screen before each camera, see `dp_sim.clock_code`.
        """
        robot = robot or RobotSpec()
        self.task = load_task(task) if isinstance(task, str) else task
        self._carries_itself = robot.back_end == "effort" and robot.gravity == "robot"
        self.model = build_model(self.task, self._carries_itself, clock_code)
        self.data = mujoco.MjData(self.model)
        self.t_ms = 0
        self._site = self.model.site(TCP_SITE).id
        self._objects = {name: self.model.body(name).id for name in self.task.objects}
        self._gripper = GripperServo()
        self._driven = self.model.nu > _JOINTS + len(FINGER_JOINTS)
        self._scorer = Scorer(self.task)
        self._contacts = ContactWatch(self.model, self.task.forbidden_geoms)
        self._home = solve_pose(self.model, self._site, self.task.start(np.random.default_rng(0))[0], HOME_RAD)
        inertia = effective_inertia(self.model, self._site, self._home)
        self._allocate()
        self.controller = make_controller(robot, gains or ImpedanceGains(), inertia, self._home)
        self.reset(seed)

    def _allocate(self) -> None:
        """Views into the physics state and work arrays, made once."""
        data = self.data
        fingers = [int(self.model.joint(name).qposadr[0]) for name in FINGER_JOINTS]
        if fingers != [_JOINTS, _JOINTS + 1]:
            raise RuntimeError("the model must start with the arm's joints and then the fingers")
        self._q, self._dq = data.qpos[:_JOINTS], data.qvel[:_JOINTS]
        self._finger_q, self._finger_dq = data.qpos[_JOINTS : _JOINTS + 2], data.qvel[_JOINTS : _JOINTS + 2]
        self._bias = data.qfrc_bias[:_JOINTS]
        self._position, self._matrix = data.site_xpos[self._site], data.site_xmat[self._site]
        self._jacobian_full = np.zeros((6, self.model.nv))
        self._jacobian_linear, self._jacobian_angular = self._jacobian_full[:3], self._jacobian_full[3:]
        self._jacobian = self._jacobian_full[:, :_JOINTS]
        self._quat_wxyz, self._quat_xyzw = np.zeros(4), np.zeros(4)
        self._twist6 = np.zeros(6)
        self._mass_full = np.zeros((self.model.nv, self.model.nv))
        self._push = ExternalForce(self.model, data, self._site)
        self._arm = ArmView(
            self._q, self._dq, self._bias, self._position, self._quat_xyzw, self._jacobian, self._mass_matrix
        )

    def _mass_matrix(self) -> Array:
        """(7, 7) kg m2, a view."""
        mujoco.mj_fullM(self.model, self.data, self._mass_full)
        return self._mass_full[:_JOINTS, :_JOINTS]

    def reset(self, seed: int) -> RobotState:
        """Begin an episode drawn from `seed`: the same seed gives the same episode. Time runs on."""
        rng = np.random.default_rng(seed)
        tool, objects = self.task.start(rng)
        mujoco.mj_resetData(self.model, self.data)
        self._q[:] = solve_pose(self.model, self._site, tool, self._home)
        self._finger_q[:] = self.task.start_width_m / 2.0
        for name, pose in objects.items():
            self._put(name, pose)
        self._gripper.reset(self.task.start_width_m)
        self._push.clear()
        mujoco.mj_step1(self.model, self.data)
        self._arm.t_ms = self.t_ms
        self.controller.reset(self._arm, tool)
        self._contacts.reset()
        self._scorer.reset()
        self._reset_ms = self.t_ms
        self.status: SceneStatus = self._scorer.update(self.scene())
        return self.state()

    def _put(self, name: str, pose: Array) -> None:
        body = self.model.body(self._objects[name])
        wxyz = pose[[6, 3, 4, 5]]
        if body.mocapid[0] >= 0:
            self.data.mocap_pos[body.mocapid[0]] = pose[:3]
            self.data.mocap_quat[body.mocapid[0]] = wxyz
        elif body.jntnum[0] == 1:
            joint = self.model.joint(int(body.jntadr[0]))
            start = int(joint.qposadr[0])
            if joint.type[0] == mujoco.mjtJoint.mjJNT_SLIDE:
                self.data.qpos[start] = joint.axis @ (pose[:3] - body.pos)
            else:
                self.data.qpos[start : start + 3] = pose[:3]
                self.data.qpos[start + 3 : start + 7] = wxyz

    def set_target_pose(self, pose: Array) -> None:
        """Target of the impedance law, pose7. Raises `BadTargetError`, also where the arm does not take poses."""
        if not isinstance(self.controller, ImpedanceArm):
            raise BadTargetError(f"this arm takes no poses: its controller is {type(self.controller).__name__}")
        self.controller.set_pose(pose)

    def apply_wrench(self, force: ArrayLike, torque: ArrayLike = (0.0, 0.0, 0.0), body: str = "") -> None:
        """Push the arm (or an object) from now on; zeros end it, and so does a reset.

        Args:
            force: (3,) N, base axes.
            torque: (3,) Nm, base axes.
            body: MuJoCo body at whose origin the force acts (`fr3_link4` is the elbow); empty is the TCP.

        Raises:
            BadPushError: not finite, or no such body.
        """
        self._push.set(force, torque, body)

    def set_gripper(self, width_m: float, speed_m_s: float = 0.0, force_N: float = 0.0) -> None:
        """Target opening; zero speed or force means the gripper's default."""
        if not np.isfinite((width_m, speed_m_s, force_N)).all():
            raise BadTargetError(f"gripper command is not finite: {width_m}, {speed_m_s}, {force_N}")
        self._gripper.command(width_m, speed_m_s, force_N)

    def step(self, n_ms: int = 10) -> SceneStatus:
        """Advance `n_ms` milliseconds; score the scene every 10 ms."""
        model, data = self.model, self.data
        for _ in range(n_ms):
            self._control()
            mujoco.mj_step2(model, data)
            mujoco.mj_step1(model, data)
            self._contacts.update(data)
            self.t_ms += 1
            if (self.t_ms - self._reset_ms) % SCORE_PERIOD_MS == 0:
                self.status = self._scorer.update(self.scene())
        return self.status

    def _control(self) -> None:
        """Arm controller and gripper servo on the state of this millisecond (`mj_step1` has run)."""
        data, arm = self.data, self._arm
        mujoco.mj_jacSite(self.model, data, self._jacobian_linear, self._jacobian_angular, self._site)
        self._measure_quat()
        arm.t_ms = self.t_ms
        data.ctrl[:_JOINTS] = self.controller.torque(arm)
        self._push.apply()
        q1, q2 = self._finger_q.tolist()
        v1, v2 = self._finger_dq.tolist()
        data.ctrl[_JOINTS], data.ctrl[_JOINTS + 1] = self._gripper.forces(q1, q2, v1, v2, PHYSICS_PERIOD_S)
        if self._driven:
            data.ctrl[_JOINTS + 2 :] = self.task.drive((self.t_ms - self._reset_ms) / 1000.0)

    def _measure_quat(self) -> Array:
        mujoco.mju_mat2Quat(self._quat_wxyz, self._matrix)
        self._quat_xyzw[:3] = self._quat_wxyz[1:]
        self._quat_xyzw[3] = self._quat_wxyz[0]
        return self._quat_xyzw

    def ee_pose(self) -> Array:
        """pose7 of the TCP, a copy."""
        return np.concatenate([self._position, self._measure_quat()])

    def object_poses(self) -> dict[str, Array]:
        """pose7 of each published object."""
        xpos, xquat = self.data.xpos, self.data.xquat
        return {name: np.concatenate([xpos[i], xquat[i][[1, 2, 3, 0]]]) for name, i in self._objects.items()}

    def scene(self) -> SceneView:
        """The measurement that the score is made from."""
        linear = self._jacobian_linear[:, :_JOINTS] @ self._dq
        return SceneView(
            t_s=(self.t_ms - self._reset_ms) / 1000.0,
            ee_pose=self.ee_pose(),
            ee_speed_m_s=float(np.sqrt(linear @ linear)),
            width_m=float(self._finger_q.sum()),
            objects=self.object_poses(),
            object_speeds={name: self._speed(i) for name, i in self._objects.items()},
            held=self._contacts.held(self.data),
            collisions=self._contacts.collisions,
        )

    def _speed(self, body: int) -> tuple[float, float]:
        if self.model.body_dofnum[body] == 0:
            return 0.0, 0.0
        mujoco.mj_objectVelocity(self.model, self.data, mujoco.mjtObj.mjOBJ_BODY, body, self._twist6, 0)
        turn, linear = self._twist6[:3], self._twist6[3:]
        return float(np.sqrt(linear @ linear)), float(np.sqrt(turn @ turn))

    def wrench(self) -> Array:
        """(6,) N | Nm exerted by the environment on the tool, at the TCP in base axes, from the external torques."""
        data = self.data
        known = data.qfrc_actuator + data.qfrc_passive + data.qfrc_applied - data.qfrc_bias
        external = (data.qfrc_constraint + data.qfrc_smooth - known)[:_JOINTS]
        jacobian = self._jacobian
        gram = jacobian @ jacobian.T + 1e-6 * np.eye(6)
        return np.linalg.solve(gram, jacobian @ external)

    def state(self) -> RobotState:
        """Measured robot state, copies."""
        return RobotState(
            t_ms=self.t_ms,
            joint_position=self._q.copy(),
            joint_velocity=self._dq.copy(),
            joint_effort=self._joint_effort(),
            ee_pose=self.ee_pose(),
            wrench=self.wrench(),
            finger_position=self._finger_q.copy(),
        )

    def _joint_effort(self) -> Array:
        effort = self.data.ctrl[:_JOINTS].copy()
        if self._carries_itself:
            effort += self.data.qfrc_gravcomp[:_JOINTS]
        return effort

    def within_joint_limits(self, margin_rad: float = 0.05) -> bool:
        """Whether every arm joint keeps `margin_rad` from its limits."""
        low, high = np.array(JOINT_RANGE_RAD).T
        return bool(((self._q > low + margin_rad) & (self._q < high - margin_rad)).all())
