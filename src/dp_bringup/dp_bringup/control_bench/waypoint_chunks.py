"""A recorded motion as a policy would give it: overlapping chunks of waypoints that arrive late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dp_core.chunk_schedule import Chunk

from dp_bringup.control_bench.recorded_motion import RecordedMotion


@dataclass(frozen=True)
class ChunkPlan:
    """How waypoints come.

    Attributes:
        rate_hz: of waypoints.
        horizon: waypoints of a chunk (Tp).
        executed: waypoints after which the next chunk is observed (Ta).
        delay_s: shortest and longest time from observation to arrival, drawn evenly.
    """

    rate_hz: float = 10.0
    horizon: int = 16
    executed: int = 8
    delay_s: tuple[float, float] = (0.06, 0.18)


@dataclass(frozen=True)
class Delivery:
    """A chunk and when it arrives, s from the start of the motion."""

    arrival_s: float
    chunk: Chunk


def deliver(motion: RecordedMotion, plan: ChunkPlan) -> list[Delivery]:
    """All chunks whose waypoints the recording holds, in the order of arrival; the same for the same motion.

    Stamps count from the start of the motion; the first waypoint of a chunk is the pose at its observation.
    """
    rng = np.random.default_rng([motion.seed, 0xC4])
    period_ns = round(1e9 / plan.rate_hz)
    span_ns = (plan.horizon - 1) * period_ns
    count = (round(1e9 * motion.duration_s) - span_ns) // (plan.executed * period_ns) + 1
    deliveries = []
    for number in range(max(count, 0)):
        observed_ns = number * plan.executed * period_ns
        stamps_ns = observed_ns + period_ns * np.arange(plan.horizon, dtype=np.int64)
        times_s = 1e-9 * stamps_ns
        widths = np.array([motion.width_at(t) for t in times_s])
        chunk = Chunk(number, observed_ns, stamps_ns, motion.at(times_s), widths, plan.executed, "recorded")
        deliveries.append(Delivery(1e-9 * observed_ns + float(rng.uniform(*plan.delay_s)), chunk))
    return deliveries


def end_of_execution_s(deliveries: Sequence[Delivery], plan: ChunkPlan) -> float:
    """Until when there was always a newer chunk to come: after it each method ends its plan in its own way."""
    return deliveries[-1].arrival_s + plan.executed / plan.rate_hz - max(plan.delay_s)
