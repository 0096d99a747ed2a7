"""Delays that a real cell has, in physics time: commands that take effect later, pictures that arrive later or never.

Pure: no clock, no ROS. All times are whole milliseconds of physics, so a seed gives the same delays at any speed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from dp_core.configuration import ConfigurationError, require_choice, require_range

T = TypeVar("T")

STAMPS = ("acquisition", "arrival")
LONGEST_DELAY_S = 5.0
NEVER_MS = 1 << 62


class DelayLine(Generic[T]):
    """Things in the order in which they were put in, each due some time later; none overtakes another."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, T]] = deque()

    def put(self, due_ms: int, item: T) -> int:
        """Add `item`; returns when it is due, which is not before the one put in last."""
        if self._waiting:
            due_ms = max(due_ms, self._waiting[-1][0])
        self._waiting.append((due_ms, item))
        return due_ms

    def take(self, t_ms: int) -> Iterator[tuple[int, T]]:
        """Remove and yield (due time, item) of what is due at `t_ms`."""
        while self._waiting and self._waiting[0][0] <= t_ms:
            yield self._waiting.popleft()

    @property
    def next_ms(self) -> int:
        """When the next item is due; `NEVER_MS` when there is none."""
        return self._waiting[0][0] if self._waiting else NEVER_MS


@dataclass(frozen=True)
class CameraDelay:
    """How the pictures of one camera travel.

    Attributes:
        delay_s: from exposure to arrival, s.
        jitter_s: the delay of each picture differs by up to this much either way (uniform), but is never below 0.
        drop: share of pictures that never arrive.
        stamps: what the header says: acquisition (when the picture was taken) or arrival (a camera whose driver stamps
            a picture when it comes in; then header stamp minus acquisition is the delay).
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    drop: float = 0.0
    stamps: str = "acquisition"

    def __post_init__(self) -> None:
        """Check ranges."""
        require_range("camera_delay_s", self.delay_s, 0, LONGEST_DELAY_S, "s")
        require_range("camera_jitter_s", self.jitter_s, 0, LONGEST_DELAY_S, "s")
        require_range("camera_drop", self.drop, 0, 1)
        require_choice("camera_stamps", self.stamps, STAMPS)


class CameraTiming:
    """When a camera exposes, and when each of its pictures arrives. Draws from its own generator.

    Args:
        period_ms: between exposures; need not be whole (30 Hz exposes at 33, 67, 100 ms, ...).
        delay: see `CameraDelay`.
        seed: of jitter and drops, any integers.
        start_ms: the first exposure comes after this.
    """

    def __init__(self, period_ms: float, delay: CameraDelay, seed: tuple[int, ...], start_ms: int = 0) -> None:
        self._period_ms, self._delay = period_ms, delay
        self._rng = np.random.default_rng(seed)
        self._number = int(start_ms / period_ms) + 1

    @property
    def next_ms(self) -> int:
        """Time of the next exposure."""
        return round(self._number * self._period_ms)

    def expose(self) -> int | None:
        """Take the next picture; returns when it arrives, or None when it is lost."""
        taken_ms = self.next_ms
        self._number += 1
        lost = self._rng.random() < self._delay.drop
        jitter_s = self._delay.jitter_s * self._rng.uniform(-1.0, 1.0)
        return None if lost else taken_ms + round(1000.0 * max(0.0, self._delay.delay_s + jitter_s))

    def stamp_ms(self, taken_ms: int, arrived_ms: int) -> int:
        """What the header of a picture says."""
        return arrived_ms if self._delay.stamps == "arrival" else taken_ms


def per_camera(name: str, text: str, cameras: Collection[str]) -> dict[str, float]:
    """A number for each camera from text: empty (0), one number for all, or `front=0.04,wrist=0.02` (others 0).

    Args:
        name: of the parameter, for errors.
        text: its value.
        cameras: names of all cameras.

    Raises:
        ConfigurationError: not a number, or no such camera; lists those there are.
    """
    values = dict.fromkeys(cameras, 0.0)
    for part in filter(None, (part.strip() for part in text.split(","))):
        camera, equals, number = part.rpartition("=")
        if equals:
            require_choice(f"{name}: camera", camera.strip(), cameras)
        try:
            value = float(number)
        except ValueError:
            raise ConfigurationError(
                f"{name}: {part!r} is not valid; valid: a number, or CAMERA=NUMBER for {', '.join(cameras)}"
            ) from None
        values.update({camera.strip(): value} if equals else dict.fromkeys(cameras, value))
    return values
