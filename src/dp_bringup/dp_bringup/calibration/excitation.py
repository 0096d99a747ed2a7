"""Motions that show a latency: a smooth wobble along one axis, and steps of the gripper. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from dp_core.allowed_region import PositionRegion
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_bringup.calibration.estimate import CalibrationError
from dp_bringup.calibration.robot_latency import AXES, LEAST_RMS_M

Array = NDArray[np.float64]

# Control takes at most 256 actions in a chunk.
MOST_ACTIONS = 256
ACTION_PERIOD_S = 0.05
# Share of the velocity and acceleration limits that the wobble may use: a limiter that acts would change the motion.
SHARE_OF_LIMITS = 0.6
TAPER_S = 0.8
MARGIN_M = 0.005
# A span holds some rest before and after the wobble, which makes its rms that much smaller.
SPARE_RMS = 1.2


@dataclass(frozen=True)
class Wobble:
    """A sum of sines within a band, faded in and out.

    Attributes:
        amplitude_m: largest deflection.
        duration_s: from rest to rest.
        lowest_hz, highest_hz: of the band.
        tones: number of sines.
    """

    amplitude_m: float = 0.02
    duration_s: float = 8.0
    lowest_hz: float = 0.3
    highest_hz: float = 1.0
    tones: int = 6

    def __post_init__(self) -> None:
        """Refuse what cannot be sent in one chunk or is no motion."""
        longest_s = (MOST_ACTIONS - 1) * ACTION_PERIOD_S
        if not 2.0 * TAPER_S < self.duration_s <= longest_s:
            raise CalibrationError(f"--duration {self.duration_s:g} is not valid; valid: 2 to {longest_s:g} s")
        if not 0.001 <= self.amplitude_m <= 0.1:
            raise CalibrationError(f"--amplitude {self.amplitude_m:g} is not valid; valid: 0.001 to 0.1 m")
        if not 0.05 <= self.lowest_hz < self.highest_hz <= 4.0:
            raise CalibrationError(
                f"--band {self.lowest_hz:g} {self.highest_hz:g} is not valid; valid: 0.05 to 4 Hz, lower one first"
            )

    def times(self) -> Array:
        """(n,) s of the actions."""
        return np.asarray(np.arange(round(self.duration_s / ACTION_PERIOD_S) + 1) * ACTION_PERIOD_S, float)

    def deflection(self, rng: np.random.Generator, t_s: Array) -> Array:
        """(n,) m at those times; begins and ends at rest at zero."""
        frequencies = np.linspace(self.lowest_hz, self.highest_hz, self.tones)
        phases = rng.uniform(0.0, 2.0 * math.pi, self.tones)
        grid_s = np.arange(0.0, self.duration_s, 0.005)
        shape = self._shape(frequencies, phases, grid_s)
        return np.asarray(self.amplitude_m * self._shape(frequencies, phases, t_s) / np.abs(shape).max())

    def _shape(self, frequencies: Array, phases: Array, t_s: Array) -> Array:
        waves = np.sin(2.0 * math.pi * np.outer(t_s, frequencies) + phases).sum(axis=1)
        rise = np.clip(np.minimum(t_s, self.duration_s - t_s) / TAPER_S, 0.0, 1.0)
        return np.asarray(waves * rise**3 * (10.0 - 15.0 * rise + 6.0 * rise**2))


def wobble_poses(wobble: Wobble, axis: str, start: Array, contract: Contract, rng: np.random.Generator) -> Array:
    """Poses (n, 7) of the actions: `start` moved along an axis of the base frame.

    Raises:
        CalibrationError: it would leave the workspace or come near the limits of motion, or is too small to measure;
            says what would fit.
    """
    times = wobble.times()
    offsets = wobble.deflection(rng, times)
    if np.std(offsets) < SPARE_RMS * LEAST_RMS_M:
        raise CalibrationError(
            f"a wobble of {wobble.amplitude_m:g} m moves by {1e3 * np.std(offsets):.1f} mm (rms); "
            f"{1e3 * SPARE_RMS * LEAST_RMS_M:.1f} mm are needed: give a larger --amplitude"
        )
    index = AXES.index(axis)
    low, high = contract.limits.workspace_min_m[index], contract.limits.workspace_max_m[index]
    if not low + MARGIN_M <= start[index] - wobble.amplitude_m <= start[index] + wobble.amplitude_m <= high - MARGIN_M:
        raise CalibrationError(
            f"a wobble of {wobble.amplitude_m:g} m along {axis} about {start[index]:.3f} m leaves the workspace "
            f"({low:g} to {high:g} m): move the arm to its middle, or give a smaller --amplitude"
        )
    poses = np.tile(np.asarray(start, float), (len(times), 1))
    poses[:, index] += offsets
    region = PositionRegion(contract.limits.workspace_min_m, contract.limits.workspace_max_m, contract.safety)
    if (boundary := region.worsened(poses[:, :3])) is not None:
        raise CalibrationError(
            f"a wobble of {wobble.amplitude_m:g} m along {axis} about {start[index]:.3f} m meets a boundary of the "
            f"contract ({boundary}): move the arm away from it, or give a smaller --amplitude"
        )
    for order, limit, name in (
        (1, contract.limits.linear_velocity_m_s, "velocity, m/s"),
        (2, contract.limits.linear_acceleration_m_s2, "acceleration, m/s2"),
    ):
        largest = float(np.abs(np.diff(offsets, order)).max()) / ACTION_PERIOD_S**order
        if largest > SHARE_OF_LIMITS * limit:
            raise CalibrationError(
                f"the wobble needs {largest:.2f} of {name}; {SHARE_OF_LIMITS:.0%} of the limit {limit:g} is allowed: "
                "give a smaller --amplitude or a lower --band"
            )
    return poses


def step_widths(contract: Contract, start_m: float, steps: int, rest_s: float) -> tuple[Array, Array]:
    """Times (n,) s and widths (n,) m of a gripper that opens and closes in turns, first away from `start_m`.

    Raises:
        CalibrationError: more steps than a chunk holds, or too few.
    """
    period_s = 0.1
    count = round((steps + 1) * rest_s / period_s) + 1
    if steps < 3 or rest_s < 0.5 or count > MOST_ACTIONS:
        most = int((MOST_ACTIONS - 1) * period_s / rest_s) - 1
        raise CalibrationError(f"--steps {steps} every {rest_s:g} s is not valid; valid: 3 to {most}, 0.5 s or more")
    times = np.asarray(np.arange(count) * period_s, float)
    low, high = contract.gripper.min_width_m, contract.gripper.max_width_m
    opens_first = start_m < 0.5 * (low + high)
    number = np.minimum((times + 1e-9) // rest_s, steps).astype(int)
    is_open = (number % 2 == 1) == opens_first
    return times, np.where(is_open, high, low)
