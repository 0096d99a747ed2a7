"""A task with two right answers: go round a pillar, left or right with equal odds.

A point moves in a plane, positions in metres: from (0, -0.3) to (0, 0.3) with a pillar of radius 0.06 between. The
observation is the position, an action is the position wanted 0.1 s later. All demonstrations come straight on and
part in front of the pillar: there the mean of their actions leads into it, so that a policy that averages is seen to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from dp_dataset.statistics import compute_statistics
from dp_trainer.windows import TrainingData
from numpy.typing import NDArray
from torch import from_numpy

START_Y, GOAL_Y, PILLAR_RADIUS = -0.3, 0.3, 0.06
RATE_HZ = 10.0
#: Steps of a demonstration, and the most of a rollout.
DEMONSTRATION_STEPS, ROLLOUT_STEPS = 36, 60
#: A rollout has arrived from here on.
ARRIVAL_Y = 0.27
#: Largest motion per step.
STEP_LIMIT = 0.04
#: Distance before and after the pillar's middle over which a demonstration swerves.
SWERVE = 0.135
#: Mean and standard deviation of the detour, and standard deviations of the sideways start and of a motion.
DETOUR, DETOUR_SPREAD, START_SPREAD, MOTION_NOISE = 0.14, 0.01, 0.01, 0.003

#: What can become of a rollout.
OUTCOMES = ("left", "right", "collision", "unfinished")


@dataclass(frozen=True)
class Rollouts:
    """Motions of R rollouts.

    Attributes:
        paths: (R, S + 1, 2) float64 positions; after arrival or collision the last one is repeated.
        outcomes: one of ``OUTCOMES`` each.
    """

    paths: NDArray[np.float64]
    outcomes: tuple[str, ...]

    def share(self, outcome: str) -> float:
        """Share of the rollouts with that outcome."""
        return self.outcomes.count(outcome) / len(self.outcomes)


def demonstrate(count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions and wanted positions of ``count`` demonstrations, half of them on each side.

    The hand never is quite where it was wanted, and the next command starts from the way as it should be: the
    demonstrations show how to come back to it.

    Returns:
        observations and actions, (count, DEMONSTRATION_STEPS, 2) each, metres.
    """
    phase = np.linspace(0, 1, DEMONSTRATION_STEPS + 1)
    sides = rng.permutation(np.where(np.arange(count) % 2, 1.0, -1.0))
    widths = sides * rng.normal(DETOUR, DETOUR_SPREAD, count)
    starts = rng.normal(0, START_SPREAD, count)
    ways = np.empty((count, len(phase), 2))
    forward = START_Y + (GOAL_Y - START_Y) * phase
    swerve = 0.5 + 0.5 * np.cos(np.pi * np.clip(forward / SWERVE, -1, 1))
    ways[..., 0] = widths[:, None] * swerve + starts[:, None] * (1 - phase)
    ways[..., 1] = forward
    reached = ways + rng.normal(0, MOTION_NOISE, ways.shape)
    return reached[:, :-1], ways[:, 1:]


def training_data(observations: NDArray[np.float64], actions: NDArray[np.float64]) -> TrainingData:
    """Demonstrations (E, S, 2) as the trainer's data."""
    episodes, steps = observations.shape[:2]
    numbers = [array.reshape(-1, 2).astype(np.float32) for array in (observations, actions)]
    valid = np.ones(episodes * steps, bool)
    statistics = [compute_statistics(array, valid).to_dict() for array in numbers]
    return TrainingData(
        images={},
        proprioception=from_numpy(numbers[0]),
        actions=from_numpy(numbers[1]),
        valid=valid,
        episode_ends=np.arange(1, episodes + 1) * steps,
        statistics=dict(zip(("proprioception", "action"), statistics, strict=True)),
        contract={},
        rate_hz=RATE_HZ,
        source="two-way task",
    )


def roll_out(
    plan: Callable[[NDArray[np.float64]], NDArray[np.float64]], history: int, count: int, rng: np.random.Generator
) -> Rollouts:
    """Let a policy move.

    Args:
        plan: (R, history, 2) last positions, newest last, to (R, Ta, 2) actions to carry out, metres.
        history: positions that it sees.
        count: R, rollouts side by side.
        rng: draws starts and motion noise.
    """
    path = np.stack([rng.normal(0, START_SPREAD, count), np.full(count, START_Y)], axis=-1)[:, None]
    hit = np.zeros(count, bool)
    while path.shape[1] <= ROLLOUT_STEPS:
        seen = path[:, np.maximum(np.arange(-history, 0) + path.shape[1], 0)]
        for wanted in plan(seen).swapaxes(0, 1):
            position = path[:, -1]
            motion = wanted - position
            length = np.linalg.norm(motion, axis=-1, keepdims=True)
            motion *= np.minimum(1.0, STEP_LIMIT / np.maximum(length, 1e-9))
            motion += rng.normal(0, MOTION_NOISE, motion.shape)
            resting = hit | (position[:, 1] >= ARRIVAL_Y)
            following = np.where(resting[:, None], position, position + motion)
            hit |= distance_to_segments(position, following) < PILLAR_RADIUS
            path = np.concatenate([path, following[:, None]], axis=1)
    path = path[:, : ROLLOUT_STEPS + 1]
    return Rollouts(path, tuple(classify(way) for way in path))


def classify(path: NDArray[np.float64]) -> str:
    """Outcome of one path (S, 2): what it hit, or the side on which it passed the pillar."""
    if (distance_to_segments(path[:-1], path[1:]) < PILLAR_RADIUS).any():
        return "collision"
    if path[-1, 1] < ARRIVAL_Y:
        return "unfinished"
    return "left" if path[np.argmax(path[:, 1] >= 0), 0] < 0 else "right"


def distance_to_segments(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least distance (N,) of the pillar's middle, the origin, to segments between (N, 2) points."""
    along = end - start
    share = -(start * along).sum(axis=-1) / np.maximum((along**2).sum(axis=-1), 1e-12)
    return np.linalg.norm(start + np.clip(share, 0, 1)[:, None] * along, axis=-1)
