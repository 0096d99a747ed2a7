"""One episode on the virtual clock: physics, observation, inference with a given latency, execution, figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from dp_core.alignment import ObservationAligner
from dp_core.contract import Contract
from dp_policy.engine import Engine
from numpy.typing import NDArray

from dp_bringup.latency_benchmark.conditions import Outcome
from dp_bringup.latency_benchmark.methods import Arrival, LatencyMethod
from dp_bringup.latency_benchmark.world import LatencyWorld

Array = NDArray[np.float64]

# The policy begins this long after the reset: control is in its mode by then, and frames of a history are there.
LEAD_IN_NS = 200_000_000
# Samples kept of each stream, as in the inference node.
CAPACITY = 400


class VirtualLatency:
    """Observation-to-arrival time of one inference after another. The same for all methods of a seed.

    Args:
        mean_s: base plus added.
        jitter_s: half width of the uniform jitter.
        seed: of the jitter.
    """

    def __init__(self, mean_s: float, jitter_s: float, seed: int) -> None:
        self._mean_s, self._jitter_s = mean_s, jitter_s
        self._rng = np.random.default_rng([seed, 0x1A7])

    def draw_ns(self) -> int:
        """Latency of the next inference, never negative."""
        return max(0, round(1e9 * (self._mean_s + self._jitter_s * self._rng.uniform(-1.0, 1.0))))


@dataclass(frozen=True)
class _Inference:
    arrival: Arrival
    due_ns: int


class Episode:
    """Drives one episode to its end.

    Args:
        world: reset by :meth:`play`.
        engine: of the checkpoint.
        contract: of the cell.
        method: fresh.
        latency: of this episode.
    """

    def __init__(
        self, world: LatencyWorld, engine: Engine, contract: Contract, method: LatencyMethod, latency: VirtualLatency
    ) -> None:
        self._world, self._engine, self._contract = world, engine, contract
        self._method, self._latency = method, latency
        self._aligner = ObservationAligner(contract, engine.loaded.config.observation.history, CAPACITY)
        self._under_way: _Inference | None = None
        self._ages_s: list[float] = []
        self._asked = 0
        self._commanded: list[Array] = []
        self._measured: list[Array] = []

    def play(self, seed: int) -> Outcome:
        """Until success, failure (the task's time limit is one) or a fault of control."""
        world, method = self._world, self._method
        world.reset(seed)
        self._engine.reseed(seed)
        while not (world.status.success or world.status.failure or method.tally.failure):
            self._period(world.t_ns)
        method.finish(world.t_ns)
        tally, status = method.tally, world.status
        period_s = 1e-9 * self._contract.control.period_ns
        unmet = "; ".join(condition.text for condition in status.conditions if not condition.met)
        return Outcome(
            seed=seed,
            success=status.success,
            reason="" if status.success else tally.failure or status.reason or unmet,
            duration_s=round(1e-9 * (world.t_ns - LEAD_IN_NS), 3),
            chunks=len(self._ages_s),
            late=tally.late,
            hold_s=round(tally.hold_periods * period_s, 3),
            seams_m=tuple(round(metres, 6) for metres, _ in tally.seams),
            seams_rad=tuple(round(radians, 6) for _, radians in tally.seams),
            commanded_jerk=mean_square_jerk(self._commanded, period_s),
            measured_jerk=mean_square_jerk(self._measured, period_s),
            chunk_ages_s=tuple(self._ages_s),
        )

    def _period(self, t_ns: int) -> None:
        """One control period."""
        world, method = self._world, self._method
        pose, width = world.measured()
        self._aligner.push_pose(t_ns, pose)
        self._aligner.push_width(t_ns, width)
        exposed = world.exposed()
        if exposed:
            shutter = world.shutter()
            for camera in exposed:
                self._aligner.push_image(camera, t_ns, shutter)
        if t_ns == LEAD_IN_NS:
            method.begin(t_ns)
        under_way = self._under_way
        if under_way is not None and t_ns >= under_way.due_ns:
            self._ages_s.append(round(1e-9 * (t_ns - under_way.arrival.observed_ns), 4))
            method.take(under_way.arrival, t_ns)
            self._under_way = None
        command = method.command(t_ns, pose, width)
        if t_ns >= LEAD_IN_NS:
            self._start_inference(t_ns)
            self._measured.append(pose[:3])
            if command.pose is not None:
                self._commanded.append(command.pose[:3])
        world.drive(command.pose, command.width)

    def _start_inference(self, t_ns: int) -> None:
        """Its result is computed at once and arrives when the virtual latency has passed."""
        newest_ns = self._aligner.newest_observation_ns()
        if newest_ns is None:
            return
        observed_ns = self._method.next_observation(newest_ns, t_ns, self._under_way is not None)
        if observed_ns is None:
            return
        observation = self._aligner.sample(observed_ns)
        if not observation.valid:
            raise RuntimeError(f"observation at {1e-9 * observed_ns:.2f} s: {'; '.join(observation.problems)}")
        previous, n_late = self._method.context(observed_ns)
        images: dict[str, Any] = self._world.images(observation.images)
        result = self._engine.infer(images, observation.proprioception, previous, n_late)
        arrival = Arrival(self._asked, observed_ns, result.actions)
        self._under_way = _Inference(arrival, t_ns + self._latency.draw_ns())
        self._asked += 1


def mean_square_jerk(positions: list[Array], period_s: float) -> float:
    """Mean square of the third difference of positions (N, 3) in m, m2/s6; 0 for fewer than four."""
    if len(positions) < 4:
        return 0.0
    jerk = np.diff(np.array(positions), 3, axis=0) / period_s**3
    return float(np.mean(np.sum(jerk**2, axis=1)))
