"""Frames that a camera took and nobody got, by the camera's own counter."""

from __future__ import annotations

from dataclasses import dataclass

#: Width of the counter in the metadata of a UVC camera.
COUNTER_BITS = 32
#: A longer step than this is not believed to be a gap: at 30 Hz, five minutes.
LONGEST_GAP = 9_000


@dataclass(frozen=True)
class GapSummary:
    """What the counter told of one camera.

    Attributes:
        frames: numbers seen.
        lost: numbers left out between them.
        gaps: places where numbers were left out.
        longest_gap: most numbers left out in one place.
        repeats: numbers seen again at once.
        resets: times that the camera counted anew; what was lost there nobody knows.
    """

    frames: int = 0
    lost: int = 0
    gaps: int = 0
    longest_gap: int = 0
    repeats: int = 0
    resets: int = 0


class FrameGaps:
    """Counts gaps, repeats, wraps and resets of a frame counter; constant memory."""

    def __init__(self, bits: int = COUNTER_BITS, longest_gap: int = LONGEST_GAP) -> None:
        """Start with no frame seen.

        Args:
            bits: width of the counter, after which it goes on from zero.
            longest_gap: a longer step, forwards or backwards, is a counter that was set anew.
        """
        self._modulus = 1 << bits
        self._longest = longest_gap
        self._last: int | None = None
        self._frames = self._lost = self._gaps = self._longest_gap = self._repeats = self._resets = 0

    def add(self, number: int) -> int:
        """Take the counter of the next frame; returns how many frames are missing before it."""
        self._frames += 1
        last, self._last = self._last, number
        if last is None:
            return 0
        step = (number - last) % self._modulus
        if step == 0:
            self._repeats += 1
            return 0
        if step > self._longest + 1:  # a step back is a long one forwards
            self._resets += 1
            return 0
        missing = step - 1
        if missing:
            self._lost += missing
            self._gaps += 1
            self._longest_gap = max(self._longest_gap, missing)
        return missing

    def restart(self) -> None:
        """The camera was started anew on purpose: its next number begins a new count."""
        self._last = None

    @property
    def summary(self) -> GapSummary:
        """All that was counted so far."""
        return GapSummary(self._frames, self._lost, self._gaps, self._longest_gap, self._repeats, self._resets)
