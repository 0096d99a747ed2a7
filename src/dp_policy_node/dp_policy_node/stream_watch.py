"""Says which stream is silent or has died. Pure: real seconds come in as arguments, simulated time may jump."""

from __future__ import annotations

from dp_core.alignment import ObservationAligner

# Real seconds without a newer observation after which the stream that is missing is named.
STALLED_S = 1.0


class StreamWatch:
    """Watches t_obs advance.

    Args:
        timeout_s: a stream silent for so long after the activation is a failure.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._activated_s = self._advanced_s = 0.0
        self._newest_ns: int | None = None
        self.failure = ""

    def start(self, now_s: float) -> None:
        """Begin an activation."""
        self._activated_s = self._advanced_s = now_s
        self._newest_ns = None

    def advanced(self, t_obs_ns: int | None, now_s: float) -> bool:
        """Take note of the newest t_obs; True when it is another one than before."""
        if t_obs_ns == self._newest_ns:
            return False
        self._newest_ns, self._advanced_s = t_obs_ns, now_s
        return True

    def problem(self, aligner: ObservationAligner, now_s: float) -> str:
        """What keeps observations from coming, or nothing; sets ``failure`` when a stream never began."""
        if self._newest_ns is None:
            silent_s = now_s - self._activated_s
            topics = ", ".join(aligner.missing_topics())
            if silent_s > self._timeout_s and topics:
                self.failure = f"nothing arrived on {topics} within {self._timeout_s} s of activation; the arm holds"
            return f"nothing yet on {topics}" if topics and silent_s > STALLED_S else ""
        stalled_s = now_s - self._advanced_s
        if stalled_s <= STALLED_S:
            return ""
        return f"nothing new on {', '.join(aligner.slowest_topics())} for {stalled_s:.1f} s"
