"""What one recorded episode says of the policy's punctuality: deadlines of chunks, and each hold with its reason. Pure.

A chunk's deadline is the time of the last action of the plan that it replaces: from then on the arm has nothing to do
but to stand. It is missed too when no chunk comes while the policy drives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dp_ros.messages import stamp_to_ns

from dp_bringup.session import MODE_NAMES
from dp_msgs.msg import CommandState

#: A policy's first chunk of an episode may take this long to come, s.
FIRST_CHUNK_S = 1.0
FIRST_CHUNK = "waited for the first chunk"
TAKEOVER = "a person took over"
ENDED = "the episode was ended"
#: Who ends an episode stops its recording before control: the recording may see this much of it, s.
END_S = 0.5
NEVER = "the policy never drove"


@dataclass(frozen=True)
class Hold:
    """A time in which the arm stood still, or was driven by others, although the policy had been asked to drive.

    Attributes:
        begin_s: after the policy began to drive.
        duration_s: until it went on, or the recording ended.
        mode: control's mode.
        text: control's reason.
        explanation: why this is as it should be; empty when it is not.
    """

    begin_s: float
    duration_s: float
    mode: str
    text: str
    explanation: str


@dataclass(frozen=True)
class EpisodeAudit:
    """Punctuality in one episode.

    Attributes:
        policy_s: time from the policy's beginning to the end of the recording.
        chunks: that were published.
        deadlines: of chunks; the first chunk of an episode has none.
        missed: by how many seconds each missed deadline was missed.
        overdue: chunks that came after the actions that the plan before had committed to, in time or not.
        cycles: of control, from the policy's beginning to the end of the recording.
        skipped: cycles that were left out, because control or the simulator was late.
        overruns: how often any were.
        holds: in order.
    """

    policy_s: float
    chunks: int
    deadlines: int
    missed: tuple[float, ...]
    overdue: int
    cycles: int
    skipped: int
    overruns: int
    holds: tuple[Hold, ...]


def audit_episode(
    states: Sequence[Any], chunks: Iterable[Any], reports: Iterable[Any], action_latency_s: float, period_s: float
) -> EpisodeAudit:
    """Judge one episode by the messages of its recording.

    Args:
        states: CommandState, in order.
        chunks: ActionChunk.
        reports: ChunkReport.
        action_latency_s: of the contract: an action of time t is sent this much earlier.
        period_s: of control.
    """
    begun = next((i for i, state in enumerate(states) if state.mode == CommandState.POLICY), None)
    if begun is None:
        never = Hold(0.0, 0.0, "", NEVER if states else "the recording has no state of control", "")
        return EpisodeAudit(0.0, 0, 0, (), 0, 0, 0, 0, (never,))
    driven = states[begun:]
    stamps = [stamp_to_ns(state.header.stamp) for state in driven]
    begin_ns, end_ns = stamps[0], stamps[-1]
    gaps = [round(1e-9 * (b - a) / period_s) - 1 for a, b in pairwise(stamps)]
    published = sorted(chunks, key=lambda chunk: int(chunk.chunk_id))
    driving = [stamp_to_ns(state.header.stamp) for state in driven if state.mode == CommandState.POLICY]
    late_s, overdue = _deadlines(published, list(reports), round(1e9 * action_latency_s), driving[-1])
    missed = tuple(late for late in late_s if late >= 0.0)
    return EpisodeAudit(
        policy_s=1e-9 * (end_ns - begin_ns),
        chunks=len(published),
        deadlines=len(late_s),
        missed=missed,
        overdue=overdue,
        cycles=len(driven),
        skipped=sum(max(gap, 0) for gap in gaps),
        overruns=sum(gap > 0 for gap in gaps),
        holds=tuple(_holds(driven, begin_ns)),
    )


def _deadlines(
    chunks: Sequence[Any], reports: Sequence[Any], latency_ns: int, until_ns: int
) -> tuple[list[float], int]:
    """How late each chunk came for its deadline (s, negative: in time), and how many came after the committed part.

    Args:
        chunks: in the order of their ids.
        reports: of control, in any order.
        latency_ns: actions are sent this much earlier.
        until_ns: the policy drove until then.
    """
    arrived = {int(r.chunk_id): ns for r in reports if (ns := stamp_to_ns(r.received))}
    refused = {int(r.chunk_id) for r in reports if r.stop_reason and not r.executed}
    late_s, overdue, plan = [], 0, None
    for chunk in chunks:
        number = int(chunk.chunk_id)
        # The last chunks of an episode have no report yet; they were published a moment before they arrived.
        sending_ns = arrived.get(number, stamp_to_ns(chunk.published)) + latency_ns
        if plan is not None:
            late_s.append(1e-9 * (sending_ns - stamp_to_ns(plan.stamps[-1])))
            committed = int(plan.committed)
            overdue += committed < len(plan.stamps) and sending_ns >= stamp_to_ns(plan.stamps[committed])
        plan = plan if number in refused else chunk
    if plan is not None and (late := until_ns + latency_ns - stamp_to_ns(plan.stamps[-1])) >= 0:
        late_s.append(1e-9 * late)  # the last plan ended, and nothing came any more
    return late_s, overdue


def _holds(states: Sequence[Any], begin_ns: int) -> Iterable[Hold]:
    """Spans of states in which the policy does not drive, each with the first of its texts."""
    marks = [i for i, (a, b) in enumerate(pairwise(states), 1) if _kind(a) != _kind(b)]
    for first, end in pairwise([0, *marks, len(states)]):
        state = states[first]
        if not _kind(state):
            continue
        from_ns = stamp_to_ns(state.header.stamp)
        until_ns = stamp_to_ns(states[min(end, len(states) - 1)].header.stamp)
        begin_s, duration_s = 1e-9 * (from_ns - begin_ns), 1e-9 * (until_ns - from_ns)
        mode = MODE_NAMES.get(state.mode, str(state.mode))
        why = _explanation(state, first == 0, end == len(states), duration_s)
        yield Hold(round(begin_s, 3), round(duration_s, 3), mode, str(state.text), why)


def _kind(state: Any) -> str:
    """What sort of hold a state belongs to; empty while the policy drives."""
    if state.mode == CommandState.POLICY and state.input_alive:
        return ""
    return f"{state.mode} {re.sub('[0-9.]+', '#', state.text)}"


def _explanation(state: Any, first: bool, last: bool, duration_s: float) -> str:
    if state.mode == CommandState.POLICY and first and duration_s <= FIRST_CHUNK_S:
        return FIRST_CHUNK
    if state.mode == CommandState.TELEOP and state.intervention:
        return TAKEOVER
    # After a fault control is in another mode. A stop that lasts was somebody's who does not run the episodes.
    return ENDED if state.mode == CommandState.STOPPED and last and duration_s <= END_S else ""
