"""Random scripts of faults: what goes wrong, when and how badly, in one episode on the virtual clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: What may happen to the messages of each stream on their way to control.
_ANY_STREAM = ("silent", "late", "duplicate", "reversed", "stamp")
_NUMBERS = ("nan", "frame", "huge")
_POSES = ("zero_quat", "sign_flip", "turned", "jump")
STREAM_EFFECTS: dict[str, tuple[str, ...]] = {
    "pose": (*_ANY_STREAM, *_NUMBERS, *_POSES, "stuck"),
    "twist": (*_ANY_STREAM, *_NUMBERS),
    "chunk": (*_ANY_STREAM, *_NUMBERS, *_POSES, "unsorted", "sizes"),
    "wrench": (*_ANY_STREAM, "nan", "spike", "contact"),
    "engaged": (*_ANY_STREAM, "released"),
    "joints": ("silent", "late", "nan", "stamp"),
    "gripper": ("silent", "nan"),
}
#: What may happen to the arm, the clock, the machine and the people.
WORLD_EFFECTS = (
    "arm_blocked",
    "arm_pushed",
    "arm_jump",
    "clock_forward",
    "clock_back",
    "loop_stall",
    "network_stall",
    "takeover",
    "stop_request",
    "restless_requests",
    "invalid_request",
    "gripper_problem",
    "robot_problem",
)
KINDS = tuple(f"{stream}_{effect}" for stream, effects in STREAM_EFFECTS.items() for effect in effects) + WORLD_EFFECTS
#: Faults of these streams are drawn this much more often, as most of control hangs on them.
_WEIGHTS = {"pose": 2.0, "chunk": 2.0, "twist": 1.5, "arm": 2.0, "clock": 3.0, "loop": 3.0, "network": 3.0}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: one of :data:`KINDS`.
        start_s: virtual time at which it begins.
        end_s: when it ends.
        size: how bad, 0 to 1.
        sign: +1 or -1, where a direction matters.
    """

    kind: str
    start_s: float
    end_s: float
    size: float
    sign: int


@dataclass(frozen=True)
class Script:
    """One episode.

    Attributes:
        duration_s: virtual time.
        mode: the mode asked for first.
        mode_s: when.
        switches: later requests, (virtual time, mode).
        faults: in order of their beginning.
    """

    duration_s: float
    mode: int
    mode_s: float
    switches: tuple[tuple[float, int], ...]
    faults: tuple[Fault, ...]

    def active(self, t_s: float) -> tuple[Fault, ...]:
        """Faults under way at ``t_s``."""
        return tuple(fault for fault in self.faults if fault.start_s <= t_s < fault.end_s)


def random_script(rng: np.random.Generator, rate_hz: float) -> Script:
    """Draw an episode; the faster the loop, the shorter, so that episodes cost about the same."""
    duration = rng.uniform(1.5, 4.0) * (100.0 / rate_hz) ** 0.5
    faults = sorted((_fault(rng, duration) for _ in range(1 + rng.poisson(1.6))), key=lambda fault: fault.start_s)
    switches = [
        (float(rng.uniform(0.3, duration)), int(rng.choice([0, 1, 2, 3], p=[0.2, 0.35, 0.35, 0.1])))
        for _ in range(rng.poisson(0.8))
    ]
    return Script(
        duration_s=float(duration),
        mode=int(rng.choice([0, 1, 2], p=[0.06, 0.42, 0.52])),
        mode_s=float(rng.uniform(0.02, 0.15)),
        switches=tuple(sorted(switches)),
        faults=tuple(faults),
    )


def _fault(rng: np.random.Generator, duration_s: float) -> Fault:
    weights = np.array([_WEIGHTS.get(kind.split("_")[0], 1.0) for kind in KINDS])
    kind = str(rng.choice(KINDS, p=weights / weights.sum()))
    start = rng.uniform(0.1, duration_s - 0.3)
    length = float(rng.choice([0.012, 0.05, 0.2, 0.8], p=[0.2, 0.25, 0.35, 0.2])) * rng.uniform(0.5, 1.5)
    sign = 1 if rng.random() < 0.5 else -1
    return Fault(kind, float(start), float(start + length), float(rng.random()), sign)
