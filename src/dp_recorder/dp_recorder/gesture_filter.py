"""Takes each gesture at the SpaceMouse once."""

#: The same command again within this time is a bouncing button, s.
BOUNCE_S = 0.3


class GestureFilter:
    """Tells a new gesture from one that was sent again or whose button bounced."""

    def __init__(self) -> None:
        self._newest_ns = 0
        self._last: tuple[str, int] | None = None

    def is_new(self, command: str, stamp_ns: int) -> bool:
        """Whether to act on a command.

        Args:
            command: What is asked for.
            stamp_ns: Time of the sample that completed the gesture, ns.
        """
        if stamp_ns <= self._newest_ns:
            return False
        self._newest_ns = stamp_ns
        before, self._last = self._last, (command, stamp_ns)
        return before is None or before[0] != command or stamp_ns - before[1] >= BOUNCE_S * 1e9
