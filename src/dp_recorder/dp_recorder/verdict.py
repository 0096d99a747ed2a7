"""Whether an episode may be trusted, judged from counts rather than impressions."""

from collections.abc import Sequence
from dataclasses import dataclass

from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.stream_statistics import StreamSummary

GOOD = "good"
SUSPECT = "suspect"
BAD = "bad"


@dataclass(frozen=True)
class Verdict:
    """``level`` is good, suspect or bad; ``reasons`` say why, worst first, and are empty for good."""

    level: str
    reasons: tuple[str, ...]


def judge(
    streams: Sequence[RecordedStream], summaries: Sequence[StreamSummary], failure: str | None
) -> Verdict:
    """Judge an episode.

    Bad: the bag is incomplete (write failure, queue overflow, a required stream that never came).
    Suspect: messages were lost or came out of order, or a required stream paused for longer than a policy
    may bridge.

    Args:
        streams: What was to be recorded.
        summaries: What was, in the same order.
        failure: Why writing failed; None if it did not.
    """
    bad: list[str] = [failure] if failure else []
    suspect: list[str] = []
    for stream, summary in zip(streams, summaries, strict=True):
        if summary.dropped:
            bad.append(f"{stream.topic}: {summary.dropped} messages dropped, the queue was full")
        if stream.required and summary.received == 0:
            bad.append(f"{stream.topic}: nothing received")
        suspect.extend(_doubts(stream, summary))
    if bad:
        return Verdict(BAD, tuple(bad + suspect))
    return Verdict(SUSPECT if suspect else GOOD, tuple(suspect))


def _doubts(stream: RecordedStream, summary: StreamSummary) -> list[str]:
    doubts = []
    if summary.lost:
        doubts.append(f"{stream.topic}: {summary.lost} of {summary.published} published messages lost")
    if stream.required and summary.out_of_order:
        doubts.append(f"{stream.topic}: {summary.out_of_order} stamps not after their predecessor")
    if stream.required and stream.max_age_s is not None and summary.max_gap_s > stream.max_age_s:
        doubts.append(
            f"{stream.topic}: gap of {summary.max_gap_s:.3f} s between stamps, allowed {stream.max_age_s:.3f} s"
        )
    return doubts
