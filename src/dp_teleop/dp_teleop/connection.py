"""Whether there is a device, which one, and since when not. Not thread-safe: its owner has a lock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

# The owner looks this often; after so many looks without a sample the device is lost. A process that was kept from
# running itself looks once when it goes on, and then takes what has come meanwhile.
LOOK_S = 0.04
SILENT_LOOKS = 4
# In simulated time, which may stand still, as much must have passed.
SILENT_NS = 150_000_000


@dataclass
class Connection:
    """State of the connection to the device.

    Attributes:
        source: ``topic`` or ``device``, which delivered last.
        name: of the device, or of the one that is being looked for.
        connected: it delivers samples.
        reason: why not.
        losses: how often it went.
        refused: samples that were refused.
        refusal: why the last one was.
        figures: what else the device says of itself, by name.
    """

    source: str = ""
    name: str = ""
    connected: bool = False
    reason: str = "no sample yet"
    losses: int = 0
    refused: int = 0
    refusal: str = ""
    figures: dict[str, str] = field(default_factory=dict)
    _arrived_ns: int = 0
    _looks: int = 0
    _refusing: bool = False
    _arrivals: deque[int] = field(default_factory=lambda: deque(maxlen=100))

    def arrive(self, source: str, name: str, now_ns: int) -> bool:
        """Note a good sample at ROS time ``now_ns``; True: the device has just appeared, or another in its place."""
        appeared = not self.connected or source != self.source
        if appeared:
            self._arrivals.clear()
        self.source, self.name, self.connected, self.reason = source, name, True, ""
        self._arrived_ns, self._looks, self._refusing = now_ns, 0, False
        self._arrivals.append(now_ns)
        return appeared

    def repeat(self) -> None:
        """Note that the source goes on, with what it said a moment ago."""
        self._looks = 0

    def open_to(self, source: str) -> bool:
        """Whether samples of a source are wanted: no other one delivers."""
        return not self.connected or self.source == source

    def refuse(self, problem: str) -> None:
        """Note a sample that was refused, and why."""
        self.refused += 1
        self.refusal, self._refusing = problem, True

    def lose(self, reason: str) -> bool:
        """Note that the device is gone; True: it was there until now."""
        lost = self.connected
        self.connected, self.reason = False, reason
        self.losses += lost
        return lost

    def silence(self, now_ns: int) -> str:
        """To be asked each :data:`LOOK_S`: that a connected device has said nothing good for too long, or empty."""
        self._looks += 1
        # A clock that was set back says nothing of the time that has passed; the looks do.
        just_now = 0 <= now_ns - self._arrived_ns < SILENT_NS
        if not self.connected or self._looks < SILENT_LOOKS or just_now:
            return ""
        if self._refusing:
            return f"each sample {self.refusal}"
        return f"{self.name} is silent for {max(self.age_s(now_ns), SILENT_LOOKS * LOOK_S):.2f} s"

    def age_s(self, now_ns: int) -> float:
        """Since the last good sample arrived, s; 0 before the first one."""
        return 1e-9 * (now_ns - self._arrived_ns) if self._arrived_ns else 0.0

    def rate_hz(self) -> float:
        """Of the last good samples; 0 while there is no device."""
        if not self.connected or len(self._arrivals) < 2:
            return 0.0
        return (len(self._arrivals) - 1) / max(1e-9 * (self._arrivals[-1] - self._arrivals[0]), 1e-9)
