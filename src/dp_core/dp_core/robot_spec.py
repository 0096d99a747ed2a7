"""How control speaks to the arm and the gripper of a cell."""

from __future__ import annotations

from dataclasses import dataclass

from dp_core.configuration import ConfigurationError, require_choice

# Controllers that each back end can drive; the first one is the default.
CONTROLLERS = {
    "sim": ("impedance",),
    "pose": ("crisp", "fzi"),
    "joint": ("joint_trajectory", "forward_position"),
    "effort": ("forward_effort",),
}
ADAPTERS = ("none", "franka")
GRAVITY = ("robot", "controller")
GRIPPERS = ("sim", "franka", "gripper_command", "forward")


@dataclass(frozen=True)
class RobotSpec:
    """The ``robot`` section of a contract.

    Attributes:
        back_end: what is sent: sim (pose to the simulated cell), pose, joint (by inverse kinematics), effort (our
            Cartesian impedance law).
        controller: who receives it, see :data:`CONTROLLERS`; empty is the first of the back end.
        topic: where it is sent; empty is the controller's own name for it.
        description: URDF file: a name in ``config/robots`` or a path. Needed by joint and effort; with the others it
            switches the check of reachability on.
        gravity: effort: who carries the arm: robot (Franka's FCI, whose efforts exclude gravity) or controller (we do:
            Gazebo, raw effort interfaces).
        motor_inertia_kg_m2: effort: inertia of each joint's motor behind its gear, which a URDF does not state; counts
            in the design of the damping. Empty is zero.
        posture_rad: null-space posture of the joints; empty: the joint positions at the start of each mode.
        self_collision: keep the links apart in inverse kinematics.
        adapter: franka adds robot mode, error recovery and collision thresholds.
        namespace: of the adapter's topics, services and actions.
        gripper: who opens and closes: sim, franka (move and grasp actions), gripper_command (control_msgs action),
            forward (Float64MultiArray).
        gripper_name: namespace or topic of the gripper; empty is its driver's default.
        collision_torque_Nm: franka: contact threshold per joint; empty leaves the robot's own.
        collision_force_N: franka: contact threshold of the Cartesian wrench, (6,); empty leaves the robot's own.
    """

    back_end: str = "sim"
    controller: str = ""
    topic: str = ""
    description: str = ""
    gravity: str = "robot"
    motor_inertia_kg_m2: tuple[float, ...] = ()
    posture_rad: tuple[float, ...] = ()
    self_collision: bool = False
    adapter: str = "none"
    namespace: str = ""
    gripper: str = "sim"
    gripper_name: str = ""
    collision_torque_Nm: tuple[float, ...] = ()
    collision_force_N: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the choices."""
        require_choice("back_end", self.back_end, CONTROLLERS)
        if self.controller:
            require_choice("controller", self.controller, CONTROLLERS[self.back_end])
        require_choice("gravity", self.gravity, GRAVITY)
        if self.motor_inertia_kg_m2 and min(self.motor_inertia_kg_m2) < 0.0:
            raise ConfigurationError(f"motor_inertia_kg_m2: {self.motor_inertia_kg_m2} must be >= 0 for each joint")
        require_choice("adapter", self.adapter, ADAPTERS)
        require_choice("gripper", self.gripper, GRIPPERS)
        if self.back_end in ("joint", "effort") and not self.description:
            raise ConfigurationError(f"description: missing; back_end {self.back_end} needs the robot's URDF")
        for name, count in (("collision_torque_Nm", 7), ("collision_force_N", 6)):
            values = getattr(self, name)
            if values and (len(values) != count or min(values) <= 0.0):
                raise ConfigurationError(f"{name}: {values} must be {count} positive numbers, or empty")
        if bool(self.collision_torque_Nm) != bool(self.collision_force_N):
            raise ConfigurationError("collision_torque_Nm and collision_force_N: give both or none")
        # What looks like a protection must not be ignored.
        if self.collision_force_N and self.adapter != "franka":
            raise ConfigurationError(f"collision_force_N: needs adapter franka, got {self.adapter}; or leave it empty")
        if self.self_collision and not self.description:
            raise ConfigurationError("self_collision: needs description, the robot's URDF")

    @property
    def resolved_controller(self) -> str:
        """The controller, its default filled in."""
        return self.controller or CONTROLLERS[self.back_end][0]
