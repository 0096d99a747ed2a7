"""The simulated cell on the virtual clock: time counts from the reset, pictures are made only where one is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from dp_core.contract import Contract
from dp_core.images import resize_image
from dp_sim.cameras import CameraRenderer
from dp_sim.cell import SimulatedCell
from dp_sim.rates import camera_periods_ms, tick_ms
from dp_sim.task import SceneStatus
from numpy.typing import NDArray

Array = NDArray[np.float64]
NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Shutter:
    """What a camera would see at one instant: all that moves. Rendered later, or never."""

    qpos: Array
    mocap_pos: Array
    mocap_quat: Array


class LatencyWorld:
    """One task's cell, whose episodes do not depend on those before. One thread.

    Args:
        task: of the simulated cell.
        contract: rates, cameras, impedance.

    Raises:
        UnknownTaskError: no such task.
        RenderingUnavailableError: nothing renders here.
    """

    def __init__(self, task: str, contract: Contract) -> None:
        self._contract = contract
        self.cell = SimulatedCell(task, 0, contract.impedance, contract.robot)
        self.tick_ms = tick_ms(contract)
        periods = camera_periods_ms(contract)
        self._periods_ms = {name: periods[name] for name in contract.observation.cameras}
        sizes = {name: (contract.cameras[name].width, contract.cameras[name].height) for name in self._periods_ms}
        self._renderer = CameraRenderer(self.cell.model, sizes)
        self._scratch = mujoco.MjData(self.cell.model)
        self._reset_ms = 0

    def reset(self, seed: int) -> None:
        """Begin an episode; its time is 0 now."""
        self.cell.reset(seed)
        self._reset_ms = self.cell.t_ms

    @property
    def t_ns(self) -> int:
        """Time since the reset."""
        return (self.cell.t_ms - self._reset_ms) * NS_PER_MS

    @property
    def status(self) -> SceneStatus:
        """The task's score."""
        return self.cell.status

    def measured(self) -> tuple[Array, float]:
        """Pose7 of the tool, and the gripper's width in m."""
        return self.cell.ee_pose(), float(self.cell.data.qpos[7] + self.cell.data.qpos[8])

    def exposed(self) -> list[str]:
        """Cameras that take a frame at this instant."""
        elapsed_ms = self.cell.t_ms - self._reset_ms
        return [name for name, period_ms in self._periods_ms.items() if elapsed_ms % period_ms == 0]

    def shutter(self) -> Shutter:
        """This instant, to be rendered later."""
        data = self.cell.data
        return Shutter(data.qpos.copy(), data.mocap_pos.copy(), data.mocap_quat.copy())

    def picture(self, camera: str, shutter: Shutter) -> NDArray[np.uint8]:
        """The picture (H, W, 3) uint8 RGB, of the size that the policy sees."""
        scratch = self._scratch
        scratch.qpos[:], scratch.mocap_pos[:], scratch.mocap_quat[:] = (
            shutter.qpos,
            shutter.mocap_pos,
            shutter.mocap_quat,
        )
        mujoco.mj_fwdPosition(self.cell.model, scratch)
        spec = self._contract.observation
        return resize_image(self._renderer.render(scratch, camera), spec.image_width, spec.image_height)

    def images(self, frames: dict[str, list[Any]]) -> dict[str, NDArray[np.uint8]]:
        """Per camera (To, H, W, 3) pictures of its shutters."""
        return {name: np.stack([self.picture(name, shutter) for shutter in taken]) for name, taken in frames.items()}

    def drive(self, pose: Array | None, width: float | None) -> None:
        """Apply a command and run one control period of physics."""
        if pose is not None:
            self.cell.set_target_pose(pose)
        if width is not None:
            gripper = self._contract.gripper
            self.cell.set_gripper(width, gripper.speed_m_s, gripper.force_N)
        self.cell.step(self.tick_ms)

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()
