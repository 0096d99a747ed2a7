"""A loop's statistics as diagnostics, for ``/diagnostics``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from dp_ros.loop_statistics import LoopSnapshot


def key_values(values: Mapping[str, str]) -> list[KeyValue]:
    """KeyValue messages of a mapping, in its order."""
    return [KeyValue(key=key, value=value) for key, value in values.items()]


class LoopReporter:
    """Makes the status of one loop; warns while cycles are being skipped.

    Args:
        name: of the status, such as ``control: loop``.
        refused: what real-time set-up was not permitted, shown and not warned about: the loop may be good without.
    """

    def __init__(self, name: str, refused: Sequence[str] = ()) -> None:
        self._name = name
        self._refused = "; ".join(refused)
        self._skipped = 0

    def status(self, snapshot: LoopSnapshot) -> DiagnosticStatus:
        """The status now; WARN when cycles were skipped since the last call."""
        fresh = snapshot.skipped - self._skipped
        self._skipped = snapshot.skipped
        status = DiagnosticStatus(name=self._name, hardware_id="")
        status.level = DiagnosticStatus.WARN if fresh else DiagnosticStatus.OK
        p99 = snapshot.jitter_us[1]
        status.message = f"{fresh} cycles skipped since the last report" if fresh else f"jitter p99 {p99:.0f} us"
        status.values = key_values({**snapshot.values(), "real_time_refused": self._refused})
        return status
