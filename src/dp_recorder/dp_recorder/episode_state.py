"""Fills the message that tells operator and programs how the recorder is doing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dp_msgs.msg import EpisodeState, StreamState
from dp_recorder import operator_flow
from dp_recorder.live_health import StreamHealth
from dp_recorder.live_warnings import DiskState
from dp_recorder.operation import Operation
from dp_recorder.operator_flow import Phase
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.stream_statistics import StreamSummary

_STATES = {
    Phase.IDLE: EpisodeState.IDLE,
    # To the outside the short look at the streams is part of what follows it.
    Phase.CHECKING: EpisodeState.COUNTDOWN,
    Phase.COUNTDOWN: EpisodeState.COUNTDOWN,
    Phase.RECORDING: EpisodeState.RECORDING,
    Phase.CLOSING: EpisodeState.CLOSING,
    Phase.RESET: EpisodeState.RESET,
}


def fill_operation(message: EpisodeState, operation: Operation, now_ns: int) -> None:
    """Fill what the flow knows: state, plan, texts, and the last episode."""
    state = operation.state
    message.state = _STATES[state.phase]
    message.text = operation.text
    if state.phase is Phase.IDLE and operation.failure:
        message.state, message.text = EpisodeState.FAILED, operation.failure
    message.countdown_s = operator_flow.seconds_left(state, now_ns)
    message.episodes_recorded = max(0, operation.recorded)
    progress = operation.progress
    message.prompt, message.plan_number, message.plan_length = "", 0, 0
    if progress is not None:
        message.plan_length = progress.plan.episodes
        if progress.item is not None:
            message.plan_number, message.prompt = progress.item, progress.plan.prompt(progress.item)
    _fill_episode(message, operation, now_ns)


def _fill_episode(message: EpisodeState, operation: Operation, now_ns: int) -> None:
    """Fill what is known of the open episode, else of the last one."""
    episode, closed = operation.session.episode, operation.closed
    if episode is not None:
        message.episode_id, message.path, message.task = episode.episode_id, str(episode.folder), episode.task
        message.duration_s = (now_ns - episode.started_ns) / 1e9
        message.outcome, message.verdict, message.reasons = "", "", []
    elif closed is not None:
        message.path, message.outcome = str(operation.folder), operation.outcome
        message.verdict, message.reasons = closed.verdict.level, list(closed.verdict.reasons)
    if episode is None and operation.progress is not None:
        message.task = operation.progress.plan.task


def fill_disk(message: EpisodeState, disk: DiskState) -> None:
    """Fill what is known of the disk."""
    message.free_bytes = disk.free_bytes
    message.written_bytes_per_s = float(disk.written_bytes_per_s)
    message.queue_share = float(disk.queue_share)


def stream_states(
    streams: Sequence[RecordedStream],
    health: Sequence[StreamHealth],
    summaries: Sequence[StreamSummary] | None,
    problems: Sequence[str],
    now_ns: int,
    resolve: Callable[[str], str],
    *,
    is_open: bool,
) -> list[StreamState]:
    """State of each stream.

    Args:
        streams: What is recorded.
        health: The streams over the last seconds.
        summaries: The streams in the open or last episode; None before the first.
        problems: What is wrong with each now.
        now_ns: Present ROS time, ns.
        resolve: Absolute name of a topic.
        is_open: An episode is open: rates and jitter are those of it, else those of the last seconds.
    """
    states = []
    for index, (stream, live) in enumerate(zip(streams, health, strict=True)):
        counted = summaries[index] if summaries is not None else None
        shown = counted if is_open and counted is not None else live
        age_s = live.age_s(now_ns)
        states.append(
            StreamState(
                topic=resolve(stream.topic),
                required=stream.required,
                received=counted.received if counted else 0,
                lost=max(counted.lost + counted.frames_lost, counted.missing_stamps) if counted else 0,
                dropped=counted.dropped if counted else 0,
                rate_hz=float(shown.rate_hz),
                expected_rate_hz=stream.rate_hz or 0.0,
                max_gap_s=float(counted.max_gap_s if counted else live.max_gap_s),
                jitter_s=float(shown.jitter_s),
                delay_s=float(shown.delay_s),
                age_s=age_s if age_s is not None else -1.0,
                problem=problems[index],
            )
        )
    return states
