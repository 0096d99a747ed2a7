"""Baseline after LeRobot's asynchronous inference: a queue of numbered actions, merged 0.3 old + 0.7 new.

Written after `RobotClient` and `PolicyServer` of huggingface/lerobot (`async_inference`, `aggregate_fn_name`
``weighted_average``): the client counts steps, not time. Each step sends the next action of the queue, and an
observation, numbered by the action sent last, whenever half of the chunk or less is left. The server works on the
newest observation, one at a time. Actions up to the one sent last are skipped; those whose number is queued are
averaged element by element in the network's action vector; all others of the old queue are dropped.

In its favour: the server's filter of similar observations is left out (it stalls a slow arm), and between two steps
the command goes on a straight line to the next action in place of a step.
"""

from __future__ import annotations

import numpy as np
from dp_control.gripper import GripperChannel
from dp_core.actions import decode_action
from dp_core.contract import Contract
from dp_core.poses import interpolate_pose, pose_distance
from numpy.typing import NDArray

from dp_bringup.latency_benchmark.methods import Actions, Arrival, Command, Tally

Array = NDArray[np.float64]

OLD_WEIGHT, NEW_WEIGHT = 0.3, 0.7
CHUNK_SIZE_THRESHOLD = 0.5


def merge(queue: dict[int, Array], first: int, actions: Actions, sent: int) -> dict[int, Array]:
    """The queue after a chunk has arrived.

    Args:
        queue: actions (10,) by step, not sent yet.
        first: step of the chunk's first action.
        actions: (Tp, 10).
        sent: step of the action sent last.
    """
    merged: dict[int, Array] = {}
    for step, action in enumerate(np.asarray(actions, dtype=np.float64), first):
        if step > sent:
            merged[step] = OLD_WEIGHT * queue[step] + NEW_WEIGHT * action if step in queue else action
    return merged


class WeightedQueue:
    """One episode of the merge; see the module.

    Args:
        contract: of the cell.
        steps: Ta, which this stack does not know: its threshold decides.
    """

    def __init__(self, contract: Contract, steps: int) -> None:
        self.tally = Tally()
        self._limits = contract.limits
        self._gripper = GripperChannel(contract.gripper)
        self._period_ns = contract.action.period_ns
        self._queue: dict[int, Array] = {}
        self._sent, self._chunk_size, self._next_step_ns, self._stepped_ns = -1, 0, -1, -1
        self._must_go, self._waiting_ns = True, -1
        self._numbers: dict[int, int] = {}
        self._predicted: set[int] = set()
        self._now_ns = 0
        self._place: Array | None = None
        self._goal: Array | None = None

    def begin(self, t_ns: int) -> None:
        """The first step is now."""
        self._next_step_ns = t_ns

    def next_observation(self, newest_ns: int, t_ns: int, busy: bool) -> int | None:
        """The client sends at its steps; the server takes what it was sent last."""
        if t_ns == self._stepped_ns and len(self._queue) <= CHUNK_SIZE_THRESHOLD * self._chunk_size:
            self._send(newest_ns)
        if busy or self._waiting_ns < 0:
            return None
        observed_ns, self._waiting_ns = self._waiting_ns, -1
        self._predicted.add(self._numbers[observed_ns])
        return observed_ns

    def _send(self, newest_ns: int) -> None:
        number, must_go = max(self._sent, 0), self._must_go and not self._queue
        self._must_go = self._must_go and not must_go
        if must_go or number not in self._predicted:
            self._waiting_ns = newest_ns
            self._numbers[newest_ns] = number

    def context(self, observed_ns: int) -> tuple[Actions | None, int]:
        """The policy knows nothing of the plan in execution."""
        return None, 0

    def take(self, arrival: Arrival, t_ns: int) -> None:
        """Merge into the queue; the seam is what changes in the action that is to be sent next."""
        first = self._numbers[arrival.observed_ns]
        merged = merge(self._queue, first, arrival.actions, self._sent)
        self.tally.late += len(arrival.actions) - len(merged)
        if self._chunk_size and merged and self._place is not None:
            following = min(merged)
            old = _pose(self._queue[following]) if following in self._queue else self._place
            metres, radians = pose_distance(old, _pose(merged[following]))
            self.tally.seams.append((float(metres), float(radians)))
        self._queue, self._must_go = merged, True
        self._chunk_size = max(self._chunk_size, len(arrival.actions))
        self._aim()

    def command(self, t_ns: int, pose: Array, width: float) -> Command:
        """A step where one is due; the command is on the way to the next action."""
        if self._place is None or self._goal is None:
            self._place, self._goal = pose, pose
            self._gripper.start(width)
        self._place = self._advanced(self._place, self._goal, t_ns)
        if self._next_step_ns < 0:
            return Command(self._place)
        changed = False
        if t_ns >= self._next_step_ns:
            self._next_step_ns += self._period_ns
            self._stepped_ns = t_ns
            if self._queue:
                self._sent = min(self._queue)
                sent = self._queue.pop(self._sent)
                changed = self._gripper.follow(float(sent[9]))
            self._aim()
        self.tally.hold_periods += bool(self._chunk_size) and not self._queue
        return Command(self._place, self._gripper.width if changed else None)

    def finish(self, t_ns: int) -> None:
        """Nothing is left to count."""

    def _aim(self) -> None:
        """Go to the next action from here; the last one stands where there is none."""
        if self._queue:
            self._goal = _pose(self._queue[min(self._queue)])
            low, high = self._limits.workspace_min_m, self._limits.workspace_max_m
            self._goal[:3] = np.clip(self._goal[:3], low, high)

    def _advanced(self, place: Array, goal: Array, t_ns: int) -> Array:
        """On a straight line, so as to arrive at the next step, no faster than the cell's speed limits."""
        passed_s, self._now_ns = 1e-9 * (t_ns - self._now_ns), t_ns
        metres, radians = pose_distance(place, goal)
        shortest_s = max(
            float(metres) / self._limits.linear_velocity_m_s, float(radians) / self._limits.angular_velocity_rad_s
        )
        left_s = max(1e-9 * (self._next_step_ns - t_ns) + passed_s, shortest_s, 1e-9)
        return interpolate_pose(place, goal, np.float64(min(passed_s / left_s, 1.0)))


def _pose(action: Array) -> Array:
    return decode_action(action)[0]
