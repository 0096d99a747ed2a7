"""The arms on which commands are executed: soft and stiff."""

from __future__ import annotations

import numpy as np
from dp_control.kinematics import QpKinematics
from dp_core.contract import load_contract
from dp_sim.arm_controllers import JointArm
from dp_sim.cell import SimulatedCell
from numpy.typing import NDArray

from dp_bringup.control_bench.recorded_motion import RecordedMotion

Array = NDArray[np.float64]

#: Contract of the cell by arm: Cartesian impedance, and joint positions from our inverse kinematics.
ARMS = {"soft arm": "sim_franka", "stiff arm": "sim_franka_joint"}


class SimulatedArm:
    """Takes pose commands at a fixed period; one instance for many motions.

    Args:
        name: of `ARMS`.
        task: of the simulator.
        period_ms: of commands.
    """

    def __init__(self, name: str, task: str, period_ms: int) -> None:
        contract = load_contract(ARMS[name])
        self.name = name
        self._period_ms = period_ms
        self._cell = SimulatedCell(task, 0, contract.impedance, contract.robot)
        stiff = isinstance(self._cell.controller, JointArm)
        self._kinematics = QpKinematics.from_contract(contract) if stiff else None

    def execute(self, motion: RecordedMotion, commands: Array) -> Array:
        """Execute commands in the recorded scene, with the recorded gripper.

        Args:
            motion: gives the scene and the gripper's widths.
            commands: (N, 7) one for each period.

        Returns:
            (N, 7) poses measured when each command was sent.
        """
        state = self._cell.reset(motion.seed)
        if self._kinematics is not None:
            self._kinematics.start(state.joint_position)
        width = motion.width_at(0.0)
        measured = np.empty_like(commands)
        for i, command in enumerate(commands):
            measured[i] = self._cell.ee_pose()
            self._send(command)
            wanted = motion.width_at(1e-3 * self._period_ms * i)
            if wanted != width:
                width = wanted
                self._cell.set_gripper(width)
            self._cell.step(self._period_ms)
        return measured

    def _send(self, command: Array) -> None:
        controller = self._cell.controller
        if self._kinematics is None or not isinstance(controller, JointArm):
            self._cell.set_target_pose(command)
            return
        controller.set_joints(self._kinematics.solve(command, 1e-3 * self._period_ms).position)
