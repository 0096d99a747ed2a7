"""Features of camera frames, kept while windows overlap. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

F = TypeVar("F")

# Frames encoded ahead whose fate is remembered.
_OUTCOMES = 20


@dataclass
class _Entry(Generic[F]):
    features: F
    ahead: bool
    used: bool = False


@dataclass
class FrameCounts:
    """Frames since the node was configured.

    Attributes:
        encoded: by the network, each once.
        ahead: of these, before an inference asked for them.
        in_vain: encoded ahead and forgotten without having been used.
        reused: asked for by an inference and found.
    """

    encoded: int = 0
    ahead: int = 0
    in_vain: int = 0
    reused: int = 0


@dataclass
class FeatureCache(Generic[F]):
    """Features by camera and acquisition stamp; the oldest ones go. Used by one thread.

    Args:
        capacity: frames kept, of all cameras together.
    """

    capacity: int
    counts: FrameCounts = field(default_factory=FrameCounts)

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity {self.capacity} is not valid; at least one frame must fit")
        self._entries: OrderedDict[tuple[str, int], _Entry[F]] = OrderedDict()
        self._outcomes: deque[bool] = deque(maxlen=_OUTCOMES)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, frame: tuple[str, int]) -> bool:
        return frame in self._entries

    @property
    def used_share(self) -> float:
        """Share of the frames encoded ahead of late that an inference then used; 1 before any is known."""
        return sum(self._outcomes) / len(self._outcomes) if self._outcomes else 1.0

    def get(self, camera: str, stamp_ns: int) -> F | None:
        """Features of a frame for an inference; None: not encoded yet."""
        entry = self._entries.get((camera, stamp_ns))
        if entry is None:
            return None
        self._entries.move_to_end((camera, stamp_ns))
        self.counts.reused += 1
        if entry.ahead and not entry.used:
            self._outcomes.append(True)
        entry.used = True
        return entry.features

    def put(self, camera: str, stamp_ns: int, features: F, ahead: bool = False) -> None:
        """Keep the features of a frame, encoded for an inference or ``ahead`` of one."""
        self.counts.encoded += 1
        self.counts.ahead += ahead
        self._entries[(camera, stamp_ns)] = _Entry(features, ahead, used=not ahead)
        while len(self._entries) > self.capacity:
            self._forget(self._entries.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget all features: another network encodes from now on, or stamps begin anew."""
        # Nobody has waited for these in vain: the episode ended under them.
        self._entries.clear()

    def _forget(self, entry: _Entry[F]) -> None:
        if entry.ahead and not entry.used:
            self.counts.in_vain += 1
            self._outcomes.append(False)
