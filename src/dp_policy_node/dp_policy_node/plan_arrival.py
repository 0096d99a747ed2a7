"""Whether the newest chunk has reached control, told from its reports. Pure: times come in as arguments."""

from __future__ import annotations

# Time in which control reports what a chunk has replaced, on top of its delivery: a cycle, the way back, busy cores.
REPORT_NS = 500_000_000


class PlanArrival:
    """Notices a chunk that control never received.

    Control reports a chunk when the next one replaces it: that report is the receipt of the newer chunk. Where one is
    due and none comes, control still executes an older plan. No receipt is due where nothing could be replaced, as for
    the first chunk of an activation.

    Nothing is concluded before control has once been heard to report so since the node was configured: from one that
    sends no reports nothing can be learnt.

    Attributes:
        executes: control is taken to have a plan, be it the newest or an older one.
    """

    def __init__(self) -> None:
        self._heard = False
        self.clear()

    def clear(self) -> None:
        """Another activation begins: control has no plan."""
        self._newest: int | None = None
        self.executes = False
        self._awaited_since_ns: int | None = None

    def published(self, chunk_id: int, now_ns: int) -> None:
        """A chunk is on its way."""
        if self.executes and self._awaited_since_ns is None:
            self._awaited_since_ns = now_ns
        self._newest, self.executes = chunk_id, True

    def reported(self, chunk_id: int, stopped: bool) -> None:
        """Control has reported a chunk.

        Args:
            chunk_id: of the chunk.
            stopped: it was refused, or ended before its time: then nothing has replaced it.
        """
        if self._newest is None:
            return
        if chunk_id >= self._newest:
            self.executes, self._awaited_since_ns = False, None
        elif not stopped:
            self._heard, self._awaited_since_ns = True, None

    def failed(self, now_ns: int, delivery_ns: int) -> bool:
        """True, once, when the receipt of the newest chunk is long due.

        Args:
            now_ns: present time.
            delivery_ns: measured time from publication to control's receipt.
        """
        since_ns = self._awaited_since_ns
        if not self._heard or since_ns is None or now_ns - since_ns <= REPORT_NS + 2 * delivery_ns:
            return False
        self._awaited_since_ns = None
        return True
