"""Runs episodes in the simulated cell: demonstrations by the scripted operator, and evaluations of a policy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from dp_ros.messages import stamp_to_ns

from dp_bringup.session import MODE_NAMES, CellSession, SessionError
from dp_msgs.msg import CommandState, SceneState
from dp_msgs.srv import StopEpisode

STALL_S = 30.0  # no progress of the simulated time for this long: the graph is stuck
FIRST_EVALUATION_SEED = 1_000_000  # demonstrations count from 0, so no start is seen twice


@dataclass(frozen=True)
class EpisodeResult:
    """One finished episode.

    Attributes:
        seed: of the scene.
        driver: operator or policy.
        success: all conditions of the task held.
        collisions: contacts with what must not be touched.
        side: left, right, or empty when the obstacle was never passed.
        duration_s: simulated time from the change of mode to the end.
        wall_s: time by the clock on the wall, reset and recording included.
        driving_wall_s: the same for the simulated `duration_s` alone.
        reason: empty for a success, else the conditions that were not met.
        conditions: text of each condition at the end.
        path: folder of the recording, empty when there is none.
        verdict: the recorder's.
    """

    seed: int
    driver: str
    success: bool
    collisions: int
    side: str
    duration_s: float
    wall_s: float
    reason: str = ""
    conditions: dict[str, str] = field(default_factory=dict)
    path: str = ""
    verdict: str = ""
    driving_wall_s: float = 0.0

    def row(self) -> dict[str, Any]:
        """Plain data; `EpisodeResult(**row)` reads it back."""
        return asdict(self)


class EpisodeRunner:
    """Runs one episode after another on a session; `wait_until_ready` of the session has been called."""

    def __init__(self, session: CellSession, task: str) -> None:
        self._session = session
        self._task = task

    def demonstrate(self, seed: int) -> EpisodeResult:
        """The scripted operator drives; it starts when the recorder does."""
        return self._run(seed, CommandState.TELEOP, "operator", mode_first=True)

    def evaluate(self, seed: int) -> EpisodeResult:
        """The policy drives."""
        return self._run(seed, CommandState.POLICY, "policy", mode_first=False)

    def _run(self, seed: int, mode: int, driver: str, mode_first: bool) -> EpisodeResult:
        session, started = self._session, time.monotonic()
        session.set_mode(CommandState.STOPPED)
        session.reset(seed)
        if mode_first:
            session.set_mode(mode)
        with self._recording(driver, seed):
            start_ns, driving = stamp_to_ns(_scene(session).header.stamp), time.monotonic()
            if not mode_first:
                session.set_mode(mode)
            fault = self._watch(mode)
            scene, driving_wall_s = _scene(session), time.monotonic() - driving
            success = scene.success and not fault
            outcome = StopEpisode.Request.SUCCESS if success else StopEpisode.Request.FAILURE
            path, verdict = session.stop_recording(outcome, fault)
        session.set_mode(CommandState.STOPPED)
        return EpisodeResult(
            seed=seed,
            driver=driver,
            success=success,
            collisions=int(scene.collisions),
            side=str(scene.side),
            duration_s=round(1e-9 * (stamp_to_ns(scene.header.stamp) - start_ns), 3),
            wall_s=round(time.monotonic() - started, 3),
            reason="" if success else fault or _unmet(scene),
            conditions=dict(zip(scene.condition_names, scene.condition_texts, strict=True)),
            path=path,
            verdict=verdict,
            driving_wall_s=round(driving_wall_s, 3),
        )

    @contextlib.contextmanager
    def _recording(self, driver: str, seed: int) -> Iterator[None]:
        """Record the body; an episode that ends by an error or Ctrl-C is discarded, not left open."""
        self._session.start_recording(self._task, f"scripted {driver}", f"seed={seed}")
        try:
            yield
        except BaseException:
            self._session.abandon_recording()
            raise

    def _watch(self, mode: int) -> str:
        """Wait for success or failure (the task's time limit is one); returns why control stopped, or nothing."""
        session = self._session
        last_ns, moved_at = 0, time.monotonic()
        stopped_since: float | None = None
        while True:
            session.poll()
            scene, command = _scene(session), session.command
            if scene.success or scene.failure:
                return ""
            now = time.monotonic()
            stopped_since = (stopped_since or now) if command is not None and command.mode != mode else None
            if command is not None and stopped_since is not None and now - stopped_since > 1.0:
                return f"control left {MODE_NAMES[mode]} for {MODE_NAMES.get(command.mode)}: {command.text}"
            stamp_ns = stamp_to_ns(scene.header.stamp)
            if stamp_ns != last_ns:
                last_ns, moved_at = stamp_ns, now
            elif now - moved_at > STALL_S:
                raise SessionError(f"simulated time has stood still for {STALL_S:g} s")
            time.sleep(0.01)


def _scene(session: CellSession) -> SceneState:
    """The newest scene state, which `wait_until_ready` has seen to be there."""
    if session.scene is None:
        raise SessionError("no scene state has been received; call wait_until_ready first")
    return session.scene


def _unmet(scene: SceneState) -> str:
    """The conditions that are not met, as text."""
    pairs = zip(scene.conditions_met, scene.condition_texts, strict=True)
    return "; ".join(text for met, text in pairs if not met) or "failed"
