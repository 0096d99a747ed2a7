"""Waiting for the answer to each published tick, so that the simulator runs as fast as its partners and no faster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection


class LockStep:
    """Newest stamps received from each partner. `note` is called by callbacks, `wait` by the simulator's thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._newest_ns: dict[str, int] = {}
        self._closed = False

    def note(self, partner: str, stamp_ns: int) -> None:
        """Remember that `partner` has answered the tick of `stamp_ns`."""
        with self._condition:
            self._newest_ns[partner] = max(stamp_ns, self._newest_ns.get(partner, stamp_ns))
            self._condition.notify_all()

    def newest_ns(self, partner: str) -> int:
        """Newest stamp of `partner`, or -1."""
        return self._newest_ns.get(partner, -1)

    def close(self) -> None:
        """End all waiting for good."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def wait(
        self,
        t_ns: int,
        partners: Callable[[], Collection[str]],
        timeout_s: float,
        remind: Callable[[], None],
        remind_s: float = 0.1,
    ) -> tuple[str, ...]:
        """Wait until all partners have answered `t_ns`.

        Args:
            t_ns: stamp of the tick.
            partners: names to wait for; asked again at each answer, since an answer may add one.
            timeout_s: wall time after which to give up.
            remind: called every `remind_s` of waiting, to publish the tick again.
            remind_s: see `remind`.

        Returns:
            Partners that have not answered; empty when all have, or after `close`.
        """
        end = time.monotonic() + timeout_s
        next_reminder = time.monotonic() + remind_s
        with self._condition:
            while True:
                missing = tuple(name for name in partners() if self._newest_ns.get(name, -1) < t_ns)
                now = time.monotonic()
                if not missing or self._closed:
                    return ()
                if now >= end:
                    return missing
                if now >= next_reminder:
                    remind()
                    next_reminder = now + remind_s
                self._condition.wait(min(end, next_reminder) - now)


class WallPace:
    """Keeps a loop at a multiple of real time on the monotonic clock, on an absolute schedule.

    A loop that falls behind by more than `slack_s` starts a new schedule instead of racing to catch up.
    """

    def __init__(self, period_s: float, slack_s: float = 0.1) -> None:
        self._period_s, self._slack_s = period_s, slack_s
        self._next: float | None = None
        self.restarts = 0

    def wait(self, rate: float) -> None:
        """Sleep until the next tick at `rate` times real time; 0 does not wait."""
        now = time.monotonic()
        if rate <= 0.0:
            self._next = None
            return
        due = now if self._next is None else self._next
        if now - due > self._slack_s:
            self.restarts += 1
            due = now
        self._next = due + self._period_s / rate
        if self._next > now:
            time.sleep(self._next - now)
