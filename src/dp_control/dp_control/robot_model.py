"""Rigid-body model of a cell's arm, read from its URDF: kinematics, gravity, inertia, limits.

Pure: no ROS, no clock. Needs the package pinocchio, which is imported here only, so that cells without
``robot.description`` run without it. One :class:`RobotModel` belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from dp_core.contract import Contract, ContractError, config_directory
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_INSTALL = "install it: pip install pin, or apt install ros-jazzy-pinocchio"


class RobotModelError(ContractError):
    """The robot's description is missing or does not fit the contract."""


def import_pinocchio() -> Any:
    """The module ``pinocchio``.

    Raises:
        RobotModelError: it is not installed; says how to install it.
    """
    try:
        import pinocchio
    except ImportError as error:
        raise RobotModelError(f"robot.description: needs the package pinocchio ({error}); {_INSTALL}") from None
    if not hasattr(pinocchio, "buildModelFromUrdf"):  # an unrelated package of that name is on PyPI
        raise RobotModelError(f"robot.description: {pinocchio.__file__} is not the robotics library; {_INSTALL}")
    return pinocchio


def description_file(description: str) -> Path:
    """The URDF file of a ``robot.description``.

    Args:
        description: a name in ``config/robots`` such as ``fr3``, or the path of a ``.urdf`` file.

    Raises:
        RobotModelError: there is none; lists the valid names.
    """
    if not description:
        raise RobotModelError("robot.description: missing; the robot's URDF is needed")
    path = Path(description).expanduser()
    if path.suffix == ".xacro":
        raise RobotModelError(f"robot.description: {path} is xacro; give the URDF that `xacro {path.name}` prints")
    if path.suffix != ".urdf" and len(path.parts) == 1:
        folder = config_directory() / "robots"
        path = folder / f"{description}.urdf"
        if not path.is_file():
            names = ", ".join(sorted(p.stem for p in folder.glob("*.urdf"))) or "none"
            raise RobotModelError(
                f"robot.description: no robot '{description}'; valid: {names}, or the path of a .urdf file"
            )
    if not path.is_file():
        raise RobotModelError(f"robot.description: no such file: {path}")
    return path


class RobotModel:
    """The arm of a cell: its joints in the order of the chain, every other joint of the URDF (fingers) fixed at zero.

    Positions are (n,) rad (m for sliding joints), poses pose7 of the end effector in the base frame, twists and
    wrenches linear over angular in base axes at the origin of the end-effector frame. Gravity points along -z of the
    URDF's root.

    Attributes:
        joint_names: names of the n arm joints.
        base_frame: frame that poses are expressed in.
        ee_frame: frame that poses describe.
        lower: (n,) rad, lower position limits.
        upper: (n,) rad, upper position limits.
        velocity_limit: (n,) rad/s.
        effort_limit: (n,) Nm.
        path: the URDF file.
        pinocchio_model: the reduced model, for libraries that work on it.
    """

    def __init__(self, path: str | Path, joint_names: Iterable[str], base_frame: str, ee_frame: str) -> None:
        """Read a URDF; meshes are not opened.

        Args:
            path: the URDF file.
            joint_names: the arm's joints from base to end effector.
            base_frame: frame that poses are expressed in; must not move with these joints.
            ee_frame: frame that poses describe; must move with all of these joints.

        Raises:
            RobotModelError: pinocchio is missing, the file is no URDF, or a name is not in it (lists the valid ones).
        """
        self._pin = pin = import_pinocchio()
        self.path, self.base_frame, self.ee_frame = Path(path), base_frame, ee_frame
        self.joint_names = tuple(joint_names)
        try:
            full = pin.buildModelFromUrdf(str(path))
        except (ValueError, RuntimeError) as error:
            raise RobotModelError(f"robot.description: {path}: cannot be read as URDF: {error}") from None
        self._check_joints(full)
        fixed = [i for i, name in enumerate(full.names) if i > 0 and name not in self.joint_names]
        model = pin.buildReducedModel(full, fixed, pin.neutral(full))
        self.pinocchio_model, self._full = model, full
        self._data = model.createData()
        self._check_frames(model)
        self._ee = model.getFrameId(ee_frame)
        self._world_to_base = model.frames[model.getFrameId(base_frame)].placement.inverse()
        self._rotation = np.ascontiguousarray(self._world_to_base.rotation)
        self.lower, self.upper = _read_only(model.lowerPositionLimit), _read_only(model.upperPositionLimit)
        self.velocity_limit, self.effort_limit = _read_only(model.velocityLimit), _read_only(model.effortLimit)
        self._check_limits()

    @classmethod
    def from_contract(cls, contract: Contract) -> RobotModel:
        """The arm of a cell: joints of ``streams.joint_states``, frames and ``robot.description`` of the contract.

        Raises:
            RobotModelError: as for the constructor; or no description, or no joint names.
        """
        names = contract.streams["joint_states"].joint_names
        if not names:
            raise RobotModelError("streams.joint_states.joint_names: missing; robot.description needs the arm's joints")
        path = description_file(contract.robot.description)
        return cls(path, names, contract.base_frame, contract.ee_frame)

    def placement(self, joints: ArrayLike) -> Any:
        """Pose of the end effector in the base frame at ``joints`` (n,) rad, as pinocchio's SE3."""
        pin = self._pin
        pin.forwardKinematics(self.pinocchio_model, self._data, np.asarray(joints, dtype=np.float64))
        return self._world_to_base * pin.updateFramePlacement(self.pinocchio_model, self._data, self._ee)

    def forward(self, joints: ArrayLike) -> Array:
        """Pose7 of the end effector in the base frame at ``joints`` (n,) rad."""
        pose: Array = self._pin.SE3ToXYZQUAT(self.placement(joints))
        return pose

    def jacobian(self, joints: ArrayLike) -> Array:
        """Jacobian (6, n): joint velocities to the twist of the end effector (m/s, rad/s), base axes."""
        pin = self._pin
        q = np.asarray(joints, dtype=np.float64)
        jacobian = pin.computeFrameJacobian(
            self.pinocchio_model, self._data, q, self._ee, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        )
        return np.concatenate([self._rotation @ jacobian[:3], self._rotation @ jacobian[3:]])

    def body_twist_derivative(self, joints: ArrayLike, velocity: ArrayLike) -> Array:
        """Derivative (6, n) by the joints of the end effector's twist in its own axes, at fixed ``velocity`` (n,)."""
        pin, model, data = self._pin, self.pinocchio_model, self._data
        q, dq = np.asarray(joints, dtype=np.float64), np.asarray(velocity, dtype=np.float64)
        pin.computeForwardKinematicsDerivatives(model, data, q, dq, np.zeros_like(dq))
        return np.array(pin.getFrameVelocityDerivatives(model, data, self._ee, pin.ReferenceFrame.LOCAL)[0])

    def gravity(self, joints: ArrayLike) -> Array:
        """Torques (n,) Nm that hold the arm still at ``joints`` (n,) rad against gravity."""
        q = np.asarray(joints, dtype=np.float64)
        return np.array(self._pin.computeGeneralizedGravity(self.pinocchio_model, self._data, q))

    def bias(self, joints: ArrayLike, velocity: ArrayLike) -> Array:
        """Torques (n,) Nm of gravity, centrifugal and Coriolis forces at ``velocity`` (n,) rad/s."""
        q, dq = np.asarray(joints, dtype=np.float64), np.asarray(velocity, dtype=np.float64)
        return np.array(self._pin.nonLinearEffects(self.pinocchio_model, self._data, q, dq))

    def coriolis(self, joints: ArrayLike, velocity: ArrayLike) -> Array:
        """Torques (n,) Nm of centrifugal and Coriolis forces alone: :meth:`bias` without gravity."""
        return self.bias(joints, velocity) - self.gravity(joints)

    def mass(self, joints: ArrayLike) -> Array:
        """Joint-space mass matrix (n, n) kg m2, symmetric, of the links alone (no motor inertia)."""
        q = np.asarray(joints, dtype=np.float64)
        upper = np.triu(self._pin.crba(self.pinocchio_model, self._data, q))
        return upper + np.triu(upper, 1).T

    def effective_inertia(self, joints: ArrayLike) -> Array:
        """Inertia (6,) kg | kg m2 seen along each base axis at the end effector: diagonal of ``(J M^-1 J^T)^-1``."""
        jacobian = self.jacobian(joints)
        mobility = jacobian @ np.linalg.solve(self.mass(joints), jacobian.T)
        return np.diag(np.linalg.inv(mobility)).copy()

    def collision_geometry(self) -> Any:
        """The URDF's collision shapes on the arm's model, without pairs (pinocchio's GeometryModel).

        Raises:
            RobotModelError: a mesh file is not found.
        """
        pin = self._pin
        try:
            full = pin.buildGeomFromUrdf(self._full, str(self.path), pin.GeometryType.COLLISION)
        except (ValueError, RuntimeError) as error:
            raise RobotModelError(
                f"robot.self_collision: a collision shape of {self.path} cannot be loaded: {error}"
            ) from None
        fixed = [i for i, name in enumerate(self._full.names) if i > 0 and name not in self.joint_names]
        return pin.buildReducedModel(self._full, full, fixed, pin.neutral(self._full))[1]

    def _check_joints(self, full: Any) -> None:
        names = list(full.names)[1:]
        unknown = [name for name in self.joint_names if name not in names]
        if unknown:
            raise RobotModelError(
                f"streams.joint_states.joint_names: {', '.join(unknown)} not in {self.path}; valid: {', '.join(names)}"
            )
        order = tuple(name for name in names if name in self.joint_names)
        if order != self.joint_names:
            raise RobotModelError(
                f"streams.joint_states.joint_names: {', '.join(self.joint_names)} must be from base to end effector: "
                f"{', '.join(order)}"
            )

    def _check_frames(self, model: Any) -> None:
        frames = [frame.name for frame in model.frames if frame.name != "universe"]
        for key, name in (("base_frame", self.base_frame), ("ee_frame", self.ee_frame)):
            if name not in frames:
                raise RobotModelError(f"{key}: '{name}' is not in {self.path}; valid: {', '.join(frames)}")
        if model.frames[model.getFrameId(self.base_frame)].parentJoint != 0:
            raise RobotModelError(f"base_frame: '{self.base_frame}' moves with the arm's joints in {self.path}")
        moving = set(model.supports[model.frames[model.getFrameId(self.ee_frame)].parentJoint])
        idle = [name for name in self.joint_names if model.getJointId(name) not in moving]
        if idle:
            raise RobotModelError(
                f"streams.joint_states.joint_names: {', '.join(idle)} does not move ee_frame '{self.ee_frame}'"
            )

    def _check_limits(self) -> None:
        if self.pinocchio_model.nq != len(self.joint_names):
            raise RobotModelError(f"{self.path}: continuous joints need position limits (type revolute)")
        ranges = np.stack([self.upper - self.lower, self.velocity_limit, self.effort_limit])
        bad = [
            name
            for name, ok in zip(self.joint_names, np.all((ranges > 0.0) & (ranges < 1e9), axis=0), strict=True)
            if not ok
        ]
        if bad:
            raise RobotModelError(f"{self.path}: {', '.join(bad)}: position, velocity and effort limits are needed")


def _read_only(values: ArrayLike) -> Array:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array
