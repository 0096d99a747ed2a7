"""Push-T as gym-pusht simulates it, seen with the names and units of the recorded demonstrations.

Physics, starts, coverage and success are gym-pusht's own; this module only translates what is observed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dp_dataset.pusht import block_keypoints, block_vertices
from numpy.typing import ArrayLike, NDArray

from dp_benchmark.errors import BenchmarkError, MissingPackageError

#: Named vectors of an observation and their sizes, as :func:`dp_dataset.replay_buffer.read_pusht` has them.
VECTOR_SIZES = {"agent_position": 2, "keypoints": 18, "vertices": 16, "block_pose": 4}
#: The one camera: 96x96 rgb from above.
CAMERA = "image"
ACTION_DIM = 2
#: Coverage above which the environment ends an episode as solved.
SUCCESS_COVERAGE = 0.95
#: The environment adds two areas in the order of a set of objects, so the last bits of a coverage follow the memory
#: addresses; beyond these decimals it is not repeatable.
COVERAGE_DECIMALS = 12
#: Side of the table, pixels.
TABLE_PX = 512.0


@dataclass(frozen=True)
class StepOutcome:
    """What one environment step led to.

    Attributes:
        coverage: share of the goal that the block covers, 0 to 1, the environment's own.
        success: the environment calls the task solved and ends the episode.
    """

    coverage: float
    success: bool


def load_simulator() -> Any:
    """The class ``PushTEnv`` of gym-pusht, imported quietly and without a display.

    Raises:
        MissingPackageError: gym-pusht or one of its needs is not installed.
    """
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pygame and pymunk warn about packages that they use themselves
            from gym_pusht.envs.pusht import PushTEnv
    except ImportError as error:
        raise MissingPackageError(
            f"Push-T needs gym-pusht ({error}); install it with: pip install '.[pusht]' && "
            "pip install --no-deps gym-pusht==0.1.8"
        ) from None
    return PushTEnv


class PushTEnvironment:
    """One Push-T table.

    Args:
        image_height: of the observed camera image, pixels.
        image_width: of the observed camera image, pixels.
        video_size: side of the frames of :meth:`render`, pixels.
    """

    def __init__(self, image_height: int = 96, image_width: int = 96, video_size: int = 256) -> None:
        self._env = load_simulator()(
            obs_type="state",
            observation_height=image_height,
            observation_width=image_width,
            visualization_height=video_size,
            visualization_width=video_size,
        )

    @property
    def state(self) -> NDArray[np.float64]:
        """(5,) agent x, y and block x, y in pixels (origin upper left, y down), block angle in [0, 2 pi)."""
        return self._env.get_obs()

    def reset(self, seed: int) -> NDArray[np.float64]:
        """A start drawn by the environment from ``seed``; returns :attr:`state`."""
        return self._env.reset(seed=seed)[0]

    def reset_to(self, state: ArrayLike) -> NDArray[np.float64]:
        """A start at a recorded state (5,), at rest; returns :attr:`state`.

        The environment's own ``reset_to_state`` turns the block about its centre of gravity after placing it, so it
        does not arrive at the state that it was given; here the angle is set first.
        """
        env = self._env
        env.reset(seed=0)
        agent_x, agent_y, block_x, block_y, angle = (float(value) for value in np.asarray(state, np.float64))
        env.block.angle, env.block.position = angle, (block_x, block_y)
        env.agent.position = (agent_x, agent_y)
        for body in (env.block, env.agent):
            env.space.reindex_shapes_for_body(body)
        return self.state

    def step(self, action: ArrayLike) -> StepOutcome:
        """Tell the agent where to go for 0.1 s.

        Args:
            action: (2,) target in pixels; brought into the action space (0 to 512) if it lies outside.

        Raises:
            BenchmarkError: the action is not finite.
        """
        target = np.asarray(action, np.float64)
        if not np.isfinite(target).all():
            raise BenchmarkError(f"the policy gave an action that is not finite: {target.tolist()}")
        _, _, terminated, _, info = self._env.step(np.clip(target, 0.0, TABLE_PX))
        return StepOutcome(round(float(info["coverage"]), COVERAGE_DECIMALS), bool(terminated))

    def vectors(self, names: Sequence[str]) -> NDArray[np.float32]:
        """The named vectors side by side, (sum of :data:`VECTOR_SIZES`,), pixels."""
        state = self.state
        pose = state[2:]
        made = {
            "agent_position": lambda: state[:2],
            "keypoints": lambda: block_keypoints(pose).ravel(),
            "vertices": lambda: block_vertices(pose).ravel(),
            "block_pose": lambda: np.array([pose[0], pose[1], np.cos(pose[2]), np.sin(pose[2])]),
        }
        columns = [made[name]() for name in names]
        return np.concatenate(columns).astype(np.float32) if columns else np.zeros(0, np.float32)

    def image(self) -> NDArray[np.uint8]:
        """The camera's view (H, W, 3) uint8 rgb, without the mark of the action."""
        self._env.obs_type = "pixels"
        try:
            return self._env.get_obs()
        finally:
            self._env.obs_type = "state"

    def render(self) -> NDArray[np.uint8]:
        """A frame for a video (video_size, video_size, 3) uint8 rgb, the last action marked."""
        return self._env.render()
