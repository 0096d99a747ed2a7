"""Which frames the next inference will want, so that they can be encoded while nothing else is to be done. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dp_core.alignment import ObservationAligner

# Frames that cannot be ready in time are encoded ahead only while the forecast has proved this good.
TRUSTED_SHARE = 0.9


@dataclass(frozen=True)
class Frame:
    """A camera frame by acquisition time; ``step`` counts the observation steps back from the expected t_obs."""

    camera: str
    stamp_ns: int
    image: Any
    step: int


def expected_observation_ns(aligner: ObservationAligner, after_ns: int) -> int | None:
    """The first t_obs later than ``after_ns``, if the cameras keep their rates; None while one has no frame.

    The state is measured much more often, so t_obs is set by the cameras: an inference begins when the last of them
    has delivered a frame later than ``after_ns``, and looks at the newest instant that all have reached.
    """
    first, periods = {}, {}
    for name, buffer in aligner.cameras.items():
        newest_ns = buffer.newest_ns
        if newest_ns is None:
            return None
        periods[name] = round(1e9 / aligner.contract.cameras[name].rate_hz)
        first[name] = newest_ns + max(0, (after_ns - newest_ns) // periods[name] + 1) * periods[name]
    last_ns = max(first.values(), default=0)
    return min((last_ns - (last_ns - first[name]) % periods[name] for name in first), default=None)


def frames_wanted(aligner: ObservationAligner, t_obs_ns: int, cameras: tuple[str, ...]) -> list[Frame]:
    """Frames that have arrived and belong to the window of the expected observation, oldest first.

    Args:
        aligner: buffers of acquisition times.
        t_obs_ns: of :func:`expected_observation_ns`.
        cameras: those that the policy sees.
    """
    period_ns = aligner.contract.action.period_ns
    wanted: list[Frame] = []
    for step in range(aligner.history - 1, -1, -1):
        t_ns = t_obs_ns - step * period_ns
        for name in cameras:
            found = aligner.cameras[name].nearest(t_ns)
            # A frame farther away than this will have a nearer neighbour.
            if found is not None and 2 * abs(found[0] - t_ns) * aligner.contract.cameras[name].rate_hz <= 1e9:
                wanted.append(Frame(name, found[0], found[1], step))
    return wanted


def worth_encoding(frame: Frame, now_ns: int, t_obs_ns: int, encode_ns: int, used_share: float) -> bool:
    """Whether to encode a wanted frame now.

    A frame of t_obs itself has to be encoded in any case while the rest of the observation is awaited. An older one
    is worth it when it is ready before t_obs: then a forecast that fails costs nothing. When it takes longer, to begin
    now is still to end earlier, provided that the forecast comes true: so only while it has done so.

    Args:
        frame: of :func:`frames_wanted`.
        now_ns: present time.
        t_obs_ns: expected time of the observation.
        encode_ns: measured time to encode one frame.
        used_share: share of the frames encoded ahead that were then used.
    """
    return frame.step == 0 or now_ns + encode_ns <= t_obs_ns or used_share >= TRUSTED_SHARE
