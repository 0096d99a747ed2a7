"""The gate before an episode: every required stream present, at rate and in time, or a reason that names it."""

from __future__ import annotations

from collections.abc import Sequence

from dp_recorder.live_health import StreamHealth
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.verdict import FUTURE_S, HIGHEST_RATE, clock_problem, lowest_rate

#: Time over which the gate measures rates, s.
GATE_WINDOW_S = 1.5
#: What of that must have been received before a rate is believed, s; at least three periods.
EVIDENCE_S = 0.8
_EVIDENCE_PERIODS = 3.0
#: In simulation stamps and /clock may be taken a moment apart, at many times real time, s.
_SIMULATED_FUTURE_S = 1.0


def stream_problem(
    stream: RecordedStream, health: StreamHealth, now_ns: int, *, simulated: bool, patience_s: float = 0.0
) -> str:
    """What keeps a required stream from being recorded.

    Args:
        stream: The stream as the contract has it.
        health: What came of it lately; something did.
        now_ns: Present ROS time, ns.
        simulated: ROS time is that of /clock: the publishers' clocks are ours.
        patience_s: Silence that is allowed beyond the stream's ``max_age_s``, s.

    Returns:
        One clause without the topic; empty when all is well.
    """
    if health.newest_stamp_ns == 0:
        return "its stamps are not set (0); the publisher must stamp acquisition time"
    if health.frozen:
        return "its stamps stand still while messages come: a frozen clock or a repeated sample"
    if problem := _late(stream, health, now_ns, simulated, patience_s):
        return problem
    return _off_rate(stream, health, lowest_rate(simulated))


def _late(stream: RecordedStream, health: StreamHealth, now_ns: int, simulated: bool, patience_s: float) -> str:
    """Whether what came is too old, or of a clock that is not ours."""
    age_s = health.age_s(now_ns)
    if age_s is None:
        return "nothing received"
    if age_s < -(_SIMULATED_FUTURE_S if simulated else FUTURE_S):
        return f"its newest stamp lies {-age_s:.3f} s in the future: the publisher's clock is ahead of ours"
    if not simulated and health.received and (problem := clock_problem(health.delay_s, stream.max_age_s)):
        return problem
    if stream.max_age_s is not None and age_s > stream.max_age_s + patience_s:
        return f"its newest message is {age_s:.2f} s old, allowed {stream.max_age_s:g} s"
    return ""


def _off_rate(stream: RecordedStream, health: StreamHealth, lowest: float) -> str:
    if stream.rate_hz is None:
        return ""
    needed_s = max(EVIDENCE_S, _EVIDENCE_PERIODS / stream.rate_hz)
    if health.span_s < needed_s:
        return f"only {health.span_s:.1f} s of it received so far, {needed_s:.1f} s are needed to tell its rate"
    low, high = lowest * stream.rate_hz, HIGHEST_RATE * stream.rate_hz
    if health.rate_hz < low:
        share = f"{100 * lowest:.0f} % of the contract's {stream.rate_hz:g}"
        return f"{health.rate_hz:.1f} Hz, at least {low:.1f} Hz are needed ({share})"
    if health.rate_hz > high:
        return (
            f"{health.rate_hz:.1f} Hz, far above the contract's {stream.rate_hz:g} Hz: "
            "two publishers, or a wrong rate in the contract"
        )
    return ""


def gate_problems(
    streams: Sequence[RecordedStream],
    health: Sequence[StreamHealth],
    silent: Sequence[RecordedStream],
    now_ns: int,
    *,
    simulated: bool,
) -> dict[RecordedStream, str]:
    """Required streams that keep an episode from starting, each with the reason.

    Args:
        streams: What is to be recorded.
        health: What came of each lately, in the same order.
        silent: Streams that send nothing at all; they are told apart by the caller, who knows their publishers.
        now_ns: Present ROS time, ns.
        simulated: ROS time is that of /clock.
    """
    problems = {}
    for stream, state in zip(streams, health, strict=True):
        if not stream.required or stream in silent:
            continue
        if problem := stream_problem(stream, state, now_ns, simulated=simulated):
            problems[stream] = problem
    return problems
