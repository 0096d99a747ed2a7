"""Stamps of a camera's frames: the time of the light on the sensor, on the ROS clock."""

from __future__ import annotations

from dataclasses import dataclass

from dp_ros.ros_time_map import RosTimeMap

from dp_camera.clock_map import ClockFit, ClockMap

#: Of a USB 3 port in practice, for the default of the transport latency.
_USB_BYTES_PER_S = 300e6
_BYTES_PER_PIXEL_ON_USB = 2  # YUYV


@dataclass(frozen=True)
class ClockReading:
    """The ROS clock, read between two readings of the monotonic clock; ns."""

    before_ns: int
    ros_ns: int
    after_ns: int


@dataclass(frozen=True)
class FrameStamp:
    """Times of a frame on the ROS clock, ns: taken (and how well the fit knows it), and received by the host."""

    stamp_ns: int
    uncertainty_ns: int
    received_ns: int


def default_transport_latency_s(width: int, height: int, rate_hz: float) -> float:
    """What `transport_latency_s` is when the contract leaves it open: half a period, and the bytes on USB 3.

    A rolling shutter reads for most of a period from the middle of the exposure of its middle row on; the frame is
    complete when the last row is. Half of that is the best guess without a measurement, good to half a period.
    """
    return 0.5 / rate_hz + width * height * _BYTES_PER_PIXEL_ON_USB / _USB_BYTES_PER_S


class FrameStamper:
    """Stamps frames one after another; one thread. Any thread may read `fit`.

    The camera's clock is mapped to the monotonic clock, which nobody sets, and from there to the ROS clock, so that a
    ROS clock that is set moves the stamps at once and does not disturb the fit.

    Args:
        transport_latency_s: the shortest time from acquisition to receipt. No fit can see it.
        settle_frames: frames before the first stamp, see :class:`dp_camera.clock_map.ClockMap`.
    """

    def __init__(self, transport_latency_s: float, settle_frames: int = 15) -> None:
        self._transport_ns = round(1e9 * transport_latency_s)
        self._settle_frames = settle_frames
        self._domain: tuple[str, int | None] | None = None
        self._map = ClockMap(settle_frames=settle_frames)
        self._ros = RosTimeMap()
        self._last_ns: int | None = None
        self._jumps = 0
        self.refused = 0
        self._fit = self._map.fit

    def stamp(
        self, camera_ns: int, clock: tuple[str, int | None], received_ns: int, now: ClockReading
    ) -> FrameStamp | None:
        """Stamp a frame.

        Args:
            camera_ns: its time on the camera's clock.
            clock: name of that clock, and after how many ns it wraps.
            received_ns: when it was received, monotonic.
            now: the two clocks of the host, read since.

        Returns:
            None while the fit settles, and for a frame that is not after its predecessor (then `refused` counts up).
        """
        if clock != self._domain:
            self._domain = clock
            self._map = ClockMap(wrap_ns=clock[1], settle_frames=self._settle_frames)
        self._ros.observe(now.before_ns, now.ros_ns, now.after_ns)
        host_ns = self._map.update(camera_ns, received_ns)
        self._fit = self._map.fit
        if host_ns is None:
            return None
        stamp_ns = self._ros.ros_ns(host_ns - self._transport_ns)
        if self._ros.jumps != self._jumps:
            self._jumps, self._last_ns = self._ros.jumps, None  # after the clock was set back, so are the stamps
        if self._last_ns is not None and stamp_ns <= self._last_ns:
            self.refused += 1
            return None
        self._last_ns = stamp_ns
        return FrameStamp(stamp_ns, self._fit.uncertainty_ns, self._ros.ros_ns(received_ns))

    def restart(self) -> None:
        """The camera was started anew."""
        self._map.restart()
        self._fit = self._map.fit

    @property
    def fit(self) -> ClockFit:
        """How well the camera's clock is known, as of the last frame: a snapshot, for the map itself goes on."""
        return self._fit

    @property
    def clock_jumps(self) -> int:
        """Times that the ROS clock was set."""
        return self._ros.jumps
