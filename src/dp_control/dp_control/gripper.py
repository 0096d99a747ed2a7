"""The gripper's own channel: widths are decided with hysteresis and sent on change, never averaged."""

from __future__ import annotations

from dp_core.contract import GripperSpec

# Shares of the opening at which a policy's continuous width closes and opens the fingers.
CLOSE_BELOW = 0.35
OPEN_ABOVE = 0.65
# Fingers wider than this share hold nothing: they are open whatever was commanded before.
SURELY_OPEN = 0.95


class GripperChannel:
    """Keeps the commanded width. Pure: no clock, no I/O.

    Args:
        spec: widths of the gripper.
    """

    def __init__(self, spec: GripperSpec) -> None:
        self._spec = spec
        self._width: float | None = None

    @property
    def width(self) -> float:
        """Commanded width in metres; the open width before anything is known."""
        return self._spec.max_width_m if self._width is None else self._width

    def start(self, measured_m: float | None) -> None:
        """Begin a mode from what the fingers do now; commands nothing.

        A closed command on an object shows as a width in between, so there the last command stands.
        """
        if measured_m is None:
            return
        if measured_m >= SURELY_OPEN * self._spec.max_width_m:
            self._width = self._spec.max_width_m
        elif self._width is None:
            self._width = min(max(measured_m, self._spec.min_width_m), self._spec.max_width_m)

    def command(self, width_m: float) -> bool:
        """Take a person's width, clipped to the gripper's range. True when the command changed."""
        clipped = min(max(width_m, self._spec.min_width_m), self._spec.max_width_m)
        changed = clipped != self._width
        self._width = clipped
        return changed

    def follow(self, width_m: float) -> bool:
        """Take a policy's width through the hysteresis: fully open or fully closed. True when the command changed."""
        low, high = self._spec.min_width_m, self._spec.max_width_m
        share = (width_m - low) / (high - low)
        if share < CLOSE_BELOW:
            return self.command(low)
        if share > OPEN_ABOVE:
            return self.command(high)
        return False
