"""Streams of a cell in fault episodes: samples as sensors, people and a policy make them, spoilt on their way."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dp_bringup.fault_scripts import Fault

Array = NDArray[np.float64]

BASE_DELAY_S = 0.003
OTHER_FRAME = "camera_link"
#: Time constant with which an advancing plan gathers speed.
ADVANCE_S = 0.3


@dataclass(frozen=True)
class Sample:
    """One message of a stream, before control's checks.

    Attributes:
        stream: pose, twist, wrench, engaged, joints, gripper or chunk.
        t_ns: header stamp.
        frame: of the header.
        values: pose7, twist (6,), wrench (6,), engaged (1,), joints (n,), width (1,) or poses (T, 7) of a chunk.
        stamps_ns: of a chunk's actions.
        widths: of a chunk.
        chunk_id: of a chunk.
    """

    stream: str
    t_ns: int
    frame: str
    values: Array
    stamps_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    widths: Array = field(default_factory=lambda: np.zeros(0))
    chunk_id: int = 0


class FaultyNetwork:
    """Carries samples to control; faults drop, delay, repeat, reorder and spoil them. Deterministic from ``rng``."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._queue: list[tuple[float, int, Sample]] = []
        self._count = 0
        self._stuck: dict[str, Array] = {}

    def send(self, sample: Sample, now_s: float, faults: Iterable[Fault]) -> None:
        """A sample leaves its source at ``now_s`` while ``faults`` are under way."""
        delay, copies = BASE_DELAY_S, 1
        for fault in faults:
            stream, _, effect = fault.kind.partition("_")
            if stream != sample.stream:
                continue
            if effect == "silent":
                return
            if effect == "late":
                delay += 0.4 * fault.size
            elif effect == "duplicate":
                copies = 3
            elif effect == "reversed":
                delay += 2.0 * (fault.end_s - now_s)  # the last one first
            else:
                sample = self._spoilt(sample, effect, fault)
        for i in range(copies):
            self._push(now_s + delay + 0.012 * i, sample)

    def deliver(self, now_s: float, stalled: bool) -> list[Sample]:
        """What has arrived by ``now_s``, in order of arrival; a stalled network keeps it all for later."""
        arrived: list[Sample] = []
        while not stalled and self._queue and self._queue[0][0] <= now_s:
            arrived.append(heapq.heappop(self._queue)[2])
        return arrived

    def _push(self, due_s: float, sample: Sample) -> None:
        self._count += 1
        heapq.heappush(self._queue, (due_s, self._count, sample))

    def _spoilt(self, sample: Sample, effect: str, fault: Fault) -> Sample:
        rng, values = self._rng, sample.values.copy()
        rows = values.reshape(-1, values.shape[-1])
        row = int(rng.integers(len(rows)))
        if effect == "nan":
            rows[row, int(rng.integers(rows.shape[1]))] = rng.choice([math.nan, math.inf, -math.inf])
        elif effect == "frame":
            return replace(sample, frame=OTHER_FRAME)
        elif effect == "huge":
            rows *= 10.0 ** (300.0 * fault.size) if rng.random() < 0.3 else 30.0
        elif effect == "zero_quat":
            rows[row, 3:] = 0.0
        elif effect == "sign_flip":
            rows[rng.random(len(rows)) < 0.5, 3:] *= -1.0
        elif effect == "turned":
            # Half a turn about a principal axis of the tool: (x y z w) times i, j or k, exactly.
            swap, signs = _HALF_TURNS[int(rng.integers(3))]
            rows[row:, 3:] = rows[row:, 3:][:, swap] * signs
        elif effect == "jump":
            rows[row:, :3] += fault.sign * (0.02 + fault.size) * np.eye(3)[int(rng.integers(3))]
        elif effect == "stuck":
            return replace(sample, values=self._stuck.setdefault(f"{fault.start_s}", values))
        elif effect == "stamp":
            offset_ns = fault.sign * round(1e9 * 0.02 * 500.0**fault.size)
            return replace(sample, t_ns=sample.t_ns + offset_ns, stamps_ns=sample.stamps_ns + offset_ns)
        elif effect == "unsorted":
            stamps = sample.stamps_ns.copy()
            stamps[row] = stamps[0] if row else stamps[-1]
            return replace(sample, stamps_ns=stamps)
        elif effect == "sizes":
            return replace(sample, widths=sample.widths[:row])
        elif effect in ("spike", "contact"):
            rows[row] += 200.0 * fault.size if effect == "contact" or rng.random() < 0.2 else 0.0
        elif effect == "released":
            rows[:] = 0.0
        return replace(sample, values=values)


_HALF_TURNS = (
    ([3, 2, 1, 0], np.array([1.0, 1.0, -1.0, -1.0])),
    ([2, 3, 0, 1], np.array([-1.0, 1.0, 1.0, -1.0])),
    ([1, 0, 3, 2], np.array([1.0, -1.0, 1.0, -1.0])),
)


class ReferencePath:
    """A smooth path that a policy plans along, as a function of time; sometimes far beyond what the arm may do.

    Args:
        rng: draws kind, amplitudes and frequencies.
        start: pose7 near which it begins.
        start_s: time at which it passes ``start``.
        speed_m_s: that the arm may have; an advancing plan keeps well below, so that it can be followed.
    """

    def __init__(self, rng: np.random.Generator, start: Array, start_s: float, speed_m_s: float) -> None:
        self.kind = str(rng.choice(["advance", "wander", "wild"], p=[0.3, 0.5, 0.2]))
        self._start, self._start_s, self._rng = start, start_s, rng
        self.direction = rng.normal(size=3)
        self.direction /= np.linalg.norm(self.direction)
        self._speed = speed_m_s * float(rng.uniform(0.05, 0.4))
        self._amplitude = rng.uniform(0.0, 0.15, 3)
        self._pulsation = rng.uniform(0.5, 6.0, 4)
        self._axis = rng.normal(size=3)
        self._axis /= np.linalg.norm(self._axis)
        self._turn = float(rng.uniform(0.0, 1.5))

    def poses(self, times_s: Array) -> Array:
        """(T, 7) at the times (T,) s."""
        t = times_s - self._start_s
        poses = np.tile(self._start, (len(t), 1))
        if self.kind == "advance":
            # From rest to its speed within a second: a spline through a corner swings back a little before it.
            progress = self._speed * ADVANCE_S * np.logaddexp(0.0, t / ADVANCE_S)
            poses[:, :3] += progress[:, None] * self.direction
            return poses
        poses[:, :3] += self._amplitude * np.sin(self._pulsation[:3] * t[:, None])
        half = 0.5 * self._turn * np.sin(self._pulsation[3] * t)
        turns = np.concatenate([np.sin(half)[:, None] * self._axis, np.cos(half)[:, None]], axis=1)
        poses[:, 3:] = _products(turns, poses[:, 3:])
        if self.kind == "wild":
            poses[:, :3] += self._rng.normal(scale=0.1, size=(len(t), 3))
            quats = poses[:, 3:] + self._rng.normal(scale=0.3, size=(len(t), 4))
            poses[:, 3:] = quats / np.linalg.norm(quats, axis=1, keepdims=True)
        return poses


def _products(a: Array, b: Array) -> Array:
    """Hamilton products of quaternions (n, 4) xyzw."""
    v = a[:, 3:] * b[:, :3] + b[:, 3:] * a[:, :3] + np.cross(a[:, :3], b[:, :3])
    w = a[:, 3:] * b[:, 3:] - np.sum(a[:, :3] * b[:, :3], axis=1, keepdims=True)
    return np.concatenate([v, w], axis=1)
