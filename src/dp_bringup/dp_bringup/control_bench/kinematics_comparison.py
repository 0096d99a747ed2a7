"""Our inverse kinematics beside pink's, on the same paths with the same limits of the same joints."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
from dp_control.interfaces import JointSolution
from dp_control.kinematics import QpKinematics
from dp_control.kinematics_benchmark import measure
from dp_core.contract import load_contract
from numpy.typing import NDArray

from dp_bringup.control_bench.simulated_arms import ARMS

Array = NDArray[np.float64]

#: Amplitudes of the two paths (m): inside the arm's reach, and far out of it on each axis.
PATHS = {"within reach": (0.10, 0.20, 0.08), "leaves the reach": (0.50, 0.80, 0.40)}
_HOME_RAD = (0.0, -0.2, 0.0, -2.3, 0.0, 2.1, 0.7854)


class PinkReference:
    """pink as its examples use it: frame and posture task, its own limits, daqp; otherwise like ours. One thread.

    Attributes:
        failures: solves without a solution; the arm then stands still for a period.
    """

    tolerance_m = 1e-3
    tolerance_rad = 5e-3

    def __init__(self, ours: QpKinematics) -> None:
        """Take model, tool frame and limits from ``ours``. Raises ImportError without pink."""
        import pink
        from pink.limits import AccelerationLimit, ConfigurationLimit, VelocityLimit
        from pink.tasks import FrameTask, PostureTask

        self._pink, self._ours = pink, ours
        self._model = ours.model.pinocchio_model
        self._frame = ours.model.ee_frame
        self._tool = FrameTask(self._frame, 1.0, 0.3, lm_damping=1e-3)
        self._posture = PostureTask(1e-3)
        self._acceleration = AccelerationLimit(self._model, np.array(ours.limits.acceleration))
        self._limits = [ConfigurationLimit(self._model), VelocityLimit(self._model), self._acceleration]
        self.failures = 0

    def start(self, joints: Array) -> None:
        """Begin at (n,) rad."""
        self._configuration = self._pink.Configuration(self._model, self._model.createData(), np.array(joints))
        self._posture.set_target(np.array(joints))
        self._velocity = np.zeros(len(joints))

    def solve(self, pose: Array, period_s: float) -> JointSolution:
        """One period towards ``pose`` (pose7)."""
        import pinocchio

        self._tool.set_target(pinocchio.XYZQUATToSE3(pose))
        self._acceleration.set_last_integration(self._velocity, period_s)
        try:
            with np.errstate(invalid="ignore"):  # its acceleration limit takes roots outside the joint limits
                self._velocity = self._pink.solve_ik(
                    self._configuration, [self._tool, self._posture], period_s, solver="daqp", limits=self._limits,
                    safety_break=False,
                )  # fmt: skip
        except self._pink.exceptions.NoSolutionFound:
            self._velocity = np.zeros_like(self._velocity)
            self.failures += 1
        self._configuration.update(self._configuration.q + self._velocity * period_s)
        reached = self._configuration.get_transform_frame_to_world(self._frame)
        error = pinocchio.log6(reached.actInv(pinocchio.XYZQUATToSE3(pose))).vector
        left = float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))
        return JointSolution(self._configuration.q.copy(), self._velocity, *left)

    def forward(self, joints: Array) -> Array:
        """Pose7 at (n,) rad."""
        return self._ours.forward(joints)


def kinematics_rows(duration_s: float = 20.0) -> list[dict[str, Any]]:
    """Time of a solve and what the joints do, by path; ours only where pink is not installed."""
    contract = load_contract(ARMS["stiff arm"])
    ours = QpKinematics.from_contract(contract)
    methods: dict[str, Any] = {"ours": ours}
    try:
        methods["pink"] = PinkReference(ours)
    except ImportError:
        pass  # the reference is a development dependency; its rows are then missing, ours stand
    rows = []
    for path, swing_m in PATHS.items():
        for name, kinematics in methods.items():
            before = getattr(kinematics, "failures", 0)
            figures = measure(kinematics, _HOME_RAD, time.thread_time, duration_s, swing_m=swing_m)
            failures = getattr(kinematics, "failures", 0) - before
            rows.append(
                {"part": "kinematics", "path": path, "method": name, "failures": failures}
                | dataclasses.asdict(figures)
            )
    return rows
