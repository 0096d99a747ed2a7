"""What to do next: plan on this observation, encode that frame, or wait. Pure: times come in as arguments.

Not thread-safe: the owner guards it. What touches :attr:`InferenceCore.cache` is called by the worker only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from dp_core.alignment import Observation, ObservationAligner
from dp_core.contract import Contract
from dp_policy.config import PolicyConfig
from dp_policy.plan_memory import PlanMemory
from numpy.typing import NDArray

from dp_policy_node.feature_cache import FeatureCache
from dp_policy_node.frames_ahead import Frame, expected_observation_ns, frames_wanted, worth_encoding
from dp_policy_node.inference_schedule import InferenceSchedule
from dp_policy_node.plan_arrival import PlanArrival
from dp_policy_node.stream_watch import StreamWatch

# Samples kept of each stream: a second of history at any rate that occurs, little memory.
CAPACITY = 400
# Seconds of frames kept on top of the window and of the greatest age of a stream.
FRAMES_SPARE_S = 0.1
# A clock this far before the activation was set back, and the activation begins anew.
RESTART_NS = 1_000_000_000
# Age assumed for the very first chunk on top of the engine's own time: transport and alignment.
FIRST_TRANSPORT_NS = 40_000_000


@dataclass(frozen=True)
class PlanJob:
    """An inference to run now.

    Attributes:
        observation: valid.
        received_ns: receipt of the newest frame.
        activation: number of the activation it belongs to.
        previous_plan: (L, A) what is left of the plan in execution, None without one.
        n_late: leading actions of it that will have run when the chunk arrives.
    """

    observation: Observation
    received_ns: int
    activation: int
    previous_plan: NDArray[np.float32] | None
    n_late: int


@dataclass
class InferenceCounts:
    """Since the node was configured.

    Attributes:
        chunks: published.
        discarded: made in vain, because the activation, or the plan that they go on from, ended meanwhile.
        refused: outputs of the network that were not finite or no pose.
        dropped_plans: plans that control refused or ended, so that nothing goes on from them.
        lost_plans: plans that never reached control, so that nothing goes on from them either.
        restarts: of the clock.
    """

    chunks: int = 0
    discarded: int = 0
    refused: int = 0
    dropped_plans: int = 0
    lost_plans: int = 0
    restarts: int = 0


class InferenceCore:
    """Buffers, schedule, features and plan of one policy; see the module.

    Args:
        contract: of the cell.
        config: of the policy.
        steps: Ta, actions executed of each chunk.
        engine_ns: time that the engine takes for a chunk.
        timeout_s: a stream silent for so long after the activation is a failure.
        executes: the chunks move an arm, so that each goes on from the one before; false in a dry run.
    """

    def __init__(
        self, contract: Contract, config: PolicyConfig, steps: int, engine_ns: int, timeout_s: float, executes: bool
    ) -> None:
        self._contract = contract
        self._executes = executes
        self.aligner = self._new_aligner(config)
        self.memory = PlanMemory(contract.action.period_ns)
        self._arrival = PlanArrival()
        self.watch = StreamWatch(timeout_s)
        self.counts = InferenceCounts()
        self.active = False
        self.activation = 0
        self.problem = ""
        self.encode_ns = 0
        self._planned_activation = 0
        self._since_ns = 0
        self._received_ns = 0
        self._restarts = 0
        self._plan_id: int | None = None
        self._plan_end_ns = self._not_before_ns = 0
        self.cache: FeatureCache[Any] = FeatureCache(1)
        self.use(config, steps, engine_ns)

    def use(self, config: PolicyConfig, steps: int, engine_ns: int) -> None:
        """Go on with this policy. A plan of another one in execution is let run out first: control mixes no two.

        Args:
            config: see the class, as the others.
            steps: of the class.
            engine_ns: of the class.
        """
        cameras = config.observation.cameras
        rates = [self._contract.cameras[name].rate_hz for name in self._contract.observation.cameras]
        self._cameras = cameras
        if config.observation.history > self.aligner.history:
            self.aligner, self._restarts = self._new_aligner(config), 0
        self.aligner.history = config.observation.history
        self.cache = FeatureCache(max(1, 4 * len(cameras) * config.observation.history), self.cache.counts)
        self.schedule = InferenceSchedule(
            self._contract.action.period_ns,
            steps,
            round(1e9 / min(rates, default=self._contract.action.rate_hz)),
            engine_ns + FIRST_TRANSPORT_NS,
            round(1e9 * self._contract.action.latency_s),
        )
        if self._plan_id is not None or self._arrival.executes:
            self._not_before_ns = self._plan_end_ns + self._contract.control.period_ns
        self._forget_plan()

    def _new_aligner(self, config: PolicyConfig) -> ObservationAligner:
        """Empty buffers. Frames are kept as the cameras send them, so no more of them than a window may need."""
        contract = self._contract
        ages_s = [camera.max_age_s for camera in contract.cameras.values()]
        ages_s += [stream.max_age_s for stream in contract.streams.values()]
        window_s = config.observation.history * 1e-9 * contract.action.period_ns
        fastest_hz = max((camera.rate_hz for camera in contract.cameras.values()), default=0.0)
        frames = 2 + ceil((window_s + max(ages_s) + FRAMES_SPARE_S) * fastest_hz)
        return ObservationAligner(contract, config.observation.history, CAPACITY, frames)

    def begin(self, since_ns: int, now_s: float) -> None:
        """Start an activation; samples acquired before ``since_ns`` may show another episode."""
        self.active = True
        self._reset(since_ns, now_s)

    def end(self) -> None:
        """End the activation."""
        self.active = False
        self.activation += 1
        self._arrival.clear()
        self._forget_plan()

    def _reset(self, since_ns: int, now_s: float) -> None:
        self._since_ns = since_ns
        self.aligner.clear()
        self.schedule.start()
        self.activation += 1
        self.watch.start(now_s)
        self.problem = ""
        self._not_before_ns = 0
        self._arrival.clear()
        self._forget_plan()

    def _forget_plan(self) -> None:
        self.memory.clear()
        self._plan_id = None

    def accepts(self, header_ns: int, now_ns: int, now_s: float) -> bool:
        """Whether a sample stamped ``header_ns`` belongs to the present activation."""
        if not self.active:
            return False
        if now_ns < self._since_ns - RESTART_NS:
            self.counts.restarts += 1
            self._reset(now_ns, now_s)
        return header_ns >= self._since_ns

    def push_image(self, camera: str, header_ns: int, frame: Any, now_ns: int) -> None:
        """Store a frame that was accepted."""
        self.aligner.push_image(camera, header_ns, frame)
        self._received_ns = now_ns

    def ready(self) -> bool:
        """True when there may be an inference to start: cheap, for callbacks that would else wake the worker."""
        t_obs = self.aligner.newest_observation_ns()
        return t_obs is not None and self.schedule.due(t_obs)

    def next(self, now_ns: int, now_s: float) -> PlanJob | Frame | None:
        """What the worker does now; None: nothing, until more arrives."""
        if not self.active:
            return None
        self._notice_restarts()
        if self._arrival.failed(now_ns, self.schedule.delivery_ns):
            self._drop_plan()
            self.counts.lost_plans += 1
        t_obs = self.aligner.newest_observation_ns()
        if self.watch.advanced(t_obs, now_s):
            self.problem = ""
        self.problem = self.watch.problem(self.aligner, now_s) or self.problem
        if t_obs is None:
            return None
        if self.schedule.due(t_obs) and now_ns >= self._not_before_ns:
            observation = self.aligner.sample(t_obs)
            if observation.valid:
                self.problem = ""
                return self._plan_job(observation)
            self.problem = "; ".join(observation.problems)
        return self._frame_ahead(t_obs, now_ns)

    def _notice_restarts(self) -> None:
        if self.aligner.restarts != self._restarts:
            self._restarts = self.aligner.restarts
            self.counts.restarts += 1
            self.schedule.start()
            self.activation += 1
            self._arrival.clear()
            self._forget_plan()
            self._not_before_ns = 0
        if self.activation != self._planned_activation:
            # Stamps may begin anew with the clock, and frames of the last episode are of no use.
            self._planned_activation = self.activation
            self.cache.clear()

    def _plan_job(self, observation: Observation) -> PlanJob:
        remaining = self.memory.remaining(observation.t_ns) if self._executes else None
        n_late = 0 if remaining is None else min(self.schedule.n_late, len(remaining))
        return PlanJob(observation, self._received_ns, self.activation, remaining, n_late)

    def _frame_ahead(self, t_obs: int, now_ns: int) -> Frame | None:
        """The next frame worth encoding while nothing is to be planned."""
        after_ns = self.schedule.due_after_ns
        expected = expected_observation_ns(self.aligner, t_obs if after_ns is None else max(t_obs, after_ns))
        if expected is None:
            return None
        for frame in frames_wanted(self.aligner, expected, self._cameras):
            known = (frame.camera, frame.stamp_ns) in self.cache
            if not known and worth_encoding(frame, now_ns, expected, self.encode_ns, self.cache.used_share):
                return frame
        return None

    def wanted(self, job: PlanJob) -> bool:
        """Whether a chunk of this job is still wanted; counts one that is not."""
        # While one is made none is published, so the plan that it was given is the one in execution or none is.
        stopped = job.previous_plan is not None and self._plan_id is None
        wanted = self.active and job.activation == self.activation and not stopped
        self.counts.discarded += not wanted
        return wanted

    def failed(self, job: PlanJob) -> None:
        """The output of the network cannot be executed."""
        self.counts.refused += 1
        if job.activation == self.activation:
            self.schedule.failed(job.observation.t_ns)

    def published(self, job: PlanJob, chunk_id: int, actions: NDArray[np.float32], now_ns: int) -> None:
        """A chunk of this job is on its way."""
        t_obs = job.observation.t_ns
        self.schedule.published(t_obs, now_ns)
        self.counts.chunks += 1
        if self._executes:
            self.memory.remember(t_obs, actions)
            self._arrival.published(chunk_id, now_ns)
            self._plan_id = chunk_id
            self._plan_end_ns = t_obs + (len(actions) - 1) * self._contract.action.period_ns

    def reported(self, chunk_id: int, stopped: bool) -> None:
        """Control has reported a chunk.

        Args:
            chunk_id: of the chunk.
            stopped: it was refused, or ended before its time: nothing goes on from it then, if it is the newest one.
        """
        self._arrival.reported(chunk_id, stopped)
        if stopped and self._plan_id is not None and chunk_id >= self._plan_id:
            self._drop_plan()
            self.counts.dropped_plans += 1

    def _drop_plan(self) -> None:
        """Control does not execute the newest plan: the next one is due, and goes on from nothing."""
        self._forget_plan()
        self.schedule.drop()
