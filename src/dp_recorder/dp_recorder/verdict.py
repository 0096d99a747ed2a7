"""Whether an episode may be trusted, judged from counts rather than impressions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dp_recorder.episode import NO_OUTCOME, UNLABELLED
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.stream_statistics import StreamSummary

GOOD = "good"
SUSPECT = "suspect"
BAD = "bad"
#: A stream's jitter is doubtful above half its period, and above this in any case, s.
JITTER_FLOOR_S = 0.02
#: Share of the contract's rate that a stream must reach, and must not exceed.
LOWEST_RATE = 0.9
HIGHEST_RATE = 1.5
#: In simulation a busy machine lets control miss ticks, which is no fault of the cell.
LOWEST_SIMULATED_RATE = 0.6
#: A mean rate is believed over this time, s.
_RATE_SPAN_S = 2.0
#: A stamp may lie this far after its receipt (clocks of two machines), s.
FUTURE_S = 0.02


@dataclass(frozen=True)
class Verdict:
    """``level`` is good, suspect or bad; ``reasons`` say why, worst first, and are empty for good."""

    level: str
    reasons: tuple[str, ...]


def judge(
    streams: Sequence[RecordedStream],
    summaries: Sequence[StreamSummary],
    failure: str | None,
    *,
    outcome: str = "",
    simulated: bool = False,
    span_ns: tuple[int, int] | None = None,
    unwritable: Mapping[int, str] | None = None,
) -> Verdict:
    """Judge an episode.

    Bad: the bag is incomplete (write failure, queue overflow, a required stream that never came).
    Suspect: messages were lost or came out of order; a required stream paused for longer than a policy may bridge, at
    the beginning and the end, too, or came unevenly, at another rate, or by a clock that is not ours; nobody said how
    the episode ended.

    Args:
        streams: What was to be recorded.
        summaries: What was, in the same order.
        failure: Why writing failed; None if it did not.
        outcome: The episode's label, one of ``OUTCOMES``; empty if that is not to be judged.
        simulated: Receipts are by /clock, so that delays say nothing about the publishers' clocks.
        span_ns: Begin and end of the episode, clock of the stamps, ns; None where they are not known.
        unwritable: Why messages of a stream, by its index, could not be written although the queue took them.
    """
    bad: list[str] = [failure] if failure else []
    suspect: list[tuple[float, str]] = []
    for index, (stream, summary) in enumerate(zip(streams, summaries, strict=True)):
        if summary.dropped:
            why = (unwritable or {}).get(index, "the queue was full")
            bad.append(f"{stream.topic}: {summary.dropped} messages dropped, {why}")
        if stream.required and summary.received == 0:
            bad.append(f"{stream.topic}: nothing received")
        doubts_here = _doubts(stream, summary, simulated) + _silences(stream, summary, span_ns)
        suspect.extend((share, f"{stream.topic}: {text}") for share, text in doubts_here)
    if outcome == UNLABELLED:
        suspect.append((0.0, NO_OUTCOME))
    doubts = tuple(text for _, text in sorted(suspect, key=lambda doubt: -doubt[0]))
    if bad:
        return Verdict(BAD, (*bad, *doubts))
    return Verdict(SUSPECT if doubts else GOOD, doubts)


def lowest_rate(simulated: bool) -> float:
    """Share of the contract's rate that a stream must reach."""
    return LOWEST_SIMULATED_RATE if simulated else LOWEST_RATE


def jitter_limit_s(rate_hz: float) -> float:
    """Jitter (99th percentile of |interval - period|) above which a stream is doubtful, s."""
    return max(0.5 / rate_hz, JITTER_FLOOR_S)


def _doubts(stream: RecordedStream, summary: StreamSummary, simulated: bool) -> list[tuple[float, str]]:
    """Doubts about one stream, each with how bad it is: the multiple of what is allowed, or of one per cent lost."""
    doubts = []
    if summary.lost:
        share = 100.0 * summary.lost / max(summary.published or 0, 1)
        doubts.append((share, f"{summary.lost} of {summary.published} published messages lost"))
    if not stream.required or summary.received == 0:
        return doubts
    if summary.frames_lost:
        share = 100.0 * summary.frames_lost / (summary.received + summary.frames_lost)
        doubts.append((share, f"{summary.frames_lost} frames lost before they were published, by the camera's counter"))
    if summary.out_of_order:
        share = 100.0 * summary.out_of_order / summary.received
        doubts.append((share, f"{summary.out_of_order} stamps not after their predecessor"))
    if stream.rate_hz and (share := _off_rate(stream.rate_hz, summary, simulated)) > 1.0:
        doubts.append((share, f"{summary.rate_hz:.1f} Hz, the contract asks for {stream.rate_hz:g} Hz"))
    allowed_s = stream.max_age_s
    if allowed_s is not None and summary.max_gap_s > allowed_s:
        text = f"gap of {summary.max_gap_s:.3f} s between stamps, allowed {allowed_s:.3f} s"
        doubts.append((summary.max_gap_s / allowed_s, text))
    if stream.rate_hz and summary.jitter_s > (limit_s := jitter_limit_s(stream.rate_hz)):
        text = f"jitter of {1e3 * summary.jitter_s:.0f} ms (99th percentile), allowed {1e3 * limit_s:.0f} ms"
        doubts.append((summary.jitter_s / limit_s, text))
    if not simulated and (text := clock_problem(summary.delay_s, allowed_s)):
        doubts.append((abs(summary.delay_s) / (allowed_s or 1.0), text))
    return doubts


def _off_rate(rate_hz: float, summary: StreamSummary, simulated: bool) -> float:
    """Multiple by which a rate is too high or too low, 1 where it is not.

    No gap and no jitter shows it, of a camera that exposes for longer than its period for example.
    """
    first_ns, last_ns = summary.first_stamp_ns or 0, summary.last_stamp_ns or 0
    share = summary.rate_hz / rate_hz
    believed = last_ns - first_ns >= _RATE_SPAN_S * 1e9 and share > 0.0
    return max(share, 1.0 / share) if believed and not lowest_rate(simulated) <= share <= HIGHEST_RATE else 1.0


def _silences(
    stream: RecordedStream, summary: StreamSummary, span_ns: tuple[int, int] | None
) -> list[tuple[float, str]]:
    """Pauses that no interval between stamps shows: before the first message and after the last."""
    allowed_s, first_ns, last_ns = stream.max_age_s, summary.first_stamp_ns, summary.last_stamp_ns
    if span_ns is None or not stream.required or allowed_s is None or first_ns is None or last_ns is None:
        return []
    if clock_problem(summary.delay_s, None):
        return []  # of another clock, and complained of
    late_s = (first_ns - span_ns[0]) / 1e9
    early_s = (span_ns[1] - last_ns) / 1e9 - max(0.0, summary.delay_s)
    limit_s = allowed_s + (1.0 / stream.rate_hz if stream.rate_hz else 0.0)
    parts = (("first", late_s), ("last", early_s))
    return [(s / allowed_s, f"nothing in the {part} {s:.2f} s") for part, s in parts if s > limit_s]


def clock_problem(delay_s: float, max_age_s: float | None) -> str:
    """What is wrong with stamps that differ from their receipt by ``delay_s``; empty when nothing is.

    Args:
        delay_s: Median of receipt minus stamp, s.
        max_age_s: Oldest sample that a policy uses, s; None: any.
    """
    if abs(delay_s) > 3600.0:
        return f"stamps are {abs(delay_s):.3g} s {'behind' if delay_s > 0 else 'ahead of'} our clock: not ROS time"
    if delay_s < -FUTURE_S:
        return f"stamps lie {-delay_s:.3f} s in the future: the publisher's clock is ahead of ours"
    if max_age_s is not None and delay_s > max_age_s:
        return f"stamps are {delay_s:.3f} s old when received, allowed {max_age_s:.3f} s: late, or a clock behind ours"
    return ""
