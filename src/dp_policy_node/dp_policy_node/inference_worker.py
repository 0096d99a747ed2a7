"""The inference thread: runs what the core decides, never on the executor's time.

Callbacks store samples through :class:`InferenceWorker`, which guards the core; the thread encodes, plans and
publishes. Only the thread touches the engine.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from dp_core.contract import Contract
from dp_core.images import resize_image
from dp_ros.messages import ns_to_stamp
from numpy.typing import NDArray

from dp_msgs.msg import ActionChunk
from dp_policy_node.chunk_message import Ledger, chunk_message
from dp_policy_node.frames_ahead import Frame
from dp_policy_node.inference_core import InferenceCore, PlanJob
from dp_policy_node.loaded_engine import ReadyPolicy

# Durations remembered for diagnostics and for the decision to encode ahead.
WINDOW = 50
_ENCODE_QUANTILE = 0.9


class InferenceWorker:
    """See the module. ``run`` is the thread's body; all else is called by the executor.

    Args:
        contract: of the cell.
        policy: the first one to run.
        core: decides; guarded here.
        now_ns: the ROS clock.
        publish: sends a chunk; called by the thread with the core held still, so it must not wait for the executor.
        refuse: says what was refused; called by the thread.
        fail: ends the node, with the reason; called by the thread.
        first_chunk_id: of the first chunk; the others count up.
        added_ns: each chunk is held back for so long, as if the inference took longer; for experiments.
    """

    def __init__(
        self,
        contract: Contract,
        policy: ReadyPolicy,
        core: InferenceCore,
        now_ns: Callable[[], int],
        publish: Callable[[ActionChunk], None],
        refuse: Callable[[str], None],
        fail: Callable[[str], None],
        first_chunk_id: int = 0,
        added_ns: int = 0,
    ) -> None:
        self._contract, self.core = contract, core
        self._now_ns, self._publish, self._refuse, self._fail = now_ns, publish, refuse, fail
        self._condition = threading.Condition()
        self._added_ns = added_ns
        self._closed = False
        self._policy = policy
        self._next_policy: ReadyPolicy | None = None
        self._seed: int | None = None
        self._reseeding = False
        self._chunk_id = first_chunk_id
        self.encode_ms: deque[float] = deque(maxlen=WINDOW)
        self.denoise_ms: deque[float] = deque(maxlen=WINDOW)

    @property
    def policy(self) -> ReadyPolicy:
        """The policy that makes chunks now."""
        return self._policy

    @property
    def next_chunk_id(self) -> int:
        """Identifier of the next chunk."""
        return self._chunk_id

    @contextmanager
    def guarded(self) -> Iterator[InferenceCore]:
        """The core, held still."""
        with self._condition:
            yield self.core

    # Samples

    def push_image(self, camera: str, header_ns: int, frame: NDArray[np.uint8]) -> None:
        """Store a frame (H, W, 3) as the camera sent it."""
        now_ns = self._now_ns()
        with self._condition:
            if self.core.accepts(header_ns, now_ns, time.monotonic()):
                self.core.push_image(camera, header_ns, frame, now_ns)
                self._condition.notify()

    def push_pose(self, header_ns: int, pose: NDArray[np.float64]) -> None:
        """Store a measured pose7."""
        with self._condition:
            if self.core.accepts(header_ns, self._now_ns(), time.monotonic()):
                self.core.aligner.push_pose(header_ns, pose)
                self._notify_if_ready()

    def push_width(self, header_ns: int, width_m: float) -> None:
        """Store a measured gripper width."""
        with self._condition:
            if self.core.accepts(header_ns, self._now_ns(), time.monotonic()):
                self.core.aligner.push_width(header_ns, width_m)
                self._notify_if_ready()

    def _notify_if_ready(self) -> None:
        # State comes up to a thousand times a second: the thread is not woken for each sample.
        if self.core.ready():
            self._condition.notify()

    # Requests

    def begin(self, since_ns: int) -> None:
        """Start an activation."""
        with self._condition:
            self.core.begin(since_ns, time.monotonic())
            self._condition.notify()

    def end(self) -> None:
        """End the activation; a chunk that is being made is not published any more."""
        with self._condition:
            self.core.end()

    def swap(self, policy: ReadyPolicy) -> None:
        """Go on with this policy after the inference that runs now."""
        with self._condition:
            self._next_policy = policy
            self._condition.notify()

    def reseed(self, seed: int) -> None:
        """Restart the noise before the next inference, also that of a policy that is still being loaded."""
        with self._condition:
            self._seed, self._reseeding = seed, True

    def reported(self, chunk_id: int, delivery_ns: int | None, stopped: bool) -> None:
        """Control has reported a chunk.

        Args:
            chunk_id: of the chunk.
            delivery_ns: time from its publication to control's receipt; None: not known.
            stopped: it was refused, or ended before its time.
        """
        with self._condition:
            if delivery_ns is not None:
                self.core.schedule.delivered(delivery_ns)
            self.core.reported(chunk_id, stopped)
            if stopped:
                self._condition.notify()

    def close(self) -> None:
        """End the thread's body; a chunk that is being made is not published any more."""
        with self._condition:
            self._closed = True
            self.core.end()
            self._condition.notify()

    # The thread

    def run(self) -> None:
        """Do one job after another until closed."""
        while (job := self._wait()) is not None:
            if isinstance(job, Frame):
                self._encode(job.camera, job.stamp_ns, job.image, ahead=True)
            else:
                self._plan(job)

    def _wait(self) -> PlanJob | Frame | None:
        with self._condition:
            while not self._closed:
                self._apply_requests()
                job = self.core.next(self._now_ns(), time.monotonic())
                if job is not None:
                    return job
                if self.core.watch.failure:
                    self._fail(self.core.watch.failure)
                    return None
                self._condition.wait(timeout=0.1)
        return None

    def _apply_requests(self) -> None:
        """What was asked for between two inferences. Called with the condition held."""
        if self._next_policy is not None:
            self._policy, self._next_policy = self._next_policy, None
            loaded = self._policy.loaded
            self.core.use(loaded.config, self._policy.steps, round(1e9 * self._policy.engine.latency_s))
            self.encode_ms.clear()
            self.denoise_ms.clear()
            self._reseeding = True
        if self._reseeding and self._seed is not None:
            self._policy.engine.reseed(self._seed)
        self._reseeding = False

    def _encode(self, camera: str, stamp_ns: int, image: NDArray[np.uint8], ahead: bool) -> Any:
        """Features of one frame, into the cache."""
        started = time.perf_counter()
        wanted = self._policy.loaded.config.observation
        frame = resize_image(image, wanted.image_width, wanted.image_height)
        features = self._policy.engine.encode(camera, frame)
        self.core.cache.put(camera, stamp_ns, features, ahead)
        self.encode_ms.append((time.perf_counter() - started) * 1e3)
        self.core.encode_ns = round(1e6 * float(np.quantile(self.encode_ms, _ENCODE_QUANTILE)))
        return features

    def _features(self, job: PlanJob) -> dict[str, list[Any]]:
        """Features of the window, encoding what is not known yet."""
        observation, cache = job.observation, self.core.cache
        found: dict[str, list[Any]] = {}
        for camera in self._policy.loaded.config.observation.cameras:
            found[camera] = []
            for stamp_ns, image in zip(observation.frame_stamps_ns[camera], observation.images[camera], strict=True):
                known = cache.get(camera, stamp_ns)
                found[camera].append(self._encode(camera, stamp_ns, image, ahead=False) if known is None else known)
        return found

    def _plan(self, job: PlanJob) -> None:
        observation, policy = job.observation, self._policy
        aligned_ns = self._now_ns()
        started = time.perf_counter()
        features = self._features(job)
        encode_ms = (time.perf_counter() - started) * 1e3
        result = policy.engine.plan(features, observation.proprioception, job.previous_plan, job.n_late)
        self.denoise_ms.append(result.timings.denoise_ms)
        self._hold_back(self._now_ns() + self._added_ns)
        captures = [stamp for stamps in observation.frame_stamps_ns.values() for stamp in stamps]
        ledger = Ledger(
            observed_ns=observation.t_ns,
            capture_oldest_ns=min(captures),
            capture_newest_ns=max(captures),
            received_ns=job.received_ns,
            aligned_ns=aligned_ns,
            started_ns=aligned_ns,
            ended_ns=self._now_ns(),
            encode_ms=encode_ms,
            denoise_ms=result.timings.denoise_ms,
            given=policy.loaded.policy.given(job.n_late, 0 if job.previous_plan is None else len(job.previous_plan)),
        )
        try:
            message = chunk_message(
                result.actions, self._contract, ledger, self._chunk_id, policy.steps, policy.loaded.policy_id
            )
        except ValueError as error:
            with self._condition:
                self.core.failed(job)
            self._refuse(str(error))
            return
        self._send(job, message, result.actions)

    def _hold_back(self, until_ns: int) -> None:
        """Wait as a slower engine would, on the ROS clock."""
        with self._condition:
            while self._added_ns and not self._closed and self.core.active and self._now_ns() < until_ns:
                self._condition.wait(timeout=1e-3)

    def _send(self, job: PlanJob, message: ActionChunk, actions: NDArray[np.float32]) -> None:
        """Publish, unless the activation ended during the inference: then nobody wants the chunk.

        The activation cannot end between the look at it and the sending: who has ended it knows that no chunk comes.
        """
        with self._condition:
            if not self.core.wanted(job):
                return
            now_ns = self._now_ns()
            # Remembered before it is sent: control's report may be faster than the rest of this thread.
            self.core.published(job, self._chunk_id, actions, now_ns)
            self._chunk_id += 1
            message.published = ns_to_stamp(now_ns)
            self._publish(message)
