"""Looks at the pictures of cameras while a screen shows clock codes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from dp_core.contract import Contract
from dp_ros.messages import stamp_to_ns
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from dp_bringup.calibration.camera_latency import Sighting
from dp_bringup.calibration.cell import CalibrationSession
from dp_bringup.calibration.code_reader import read_code
from dp_bringup.calibration.estimate import CalibrationError
from dp_bringup.calibration.screen import read_log
from dp_ros import qos

Picture = NDArray[np.uint8]
#: When a counter came on the screen and when the next one did, s; None while unknown.
ShownAt = Callable[[int], tuple[float, float] | None]

_CHANNELS = {"mono8": 1, "8UC1": 1, "rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}


@dataclass
class CameraSightings:
    """What was seen by one camera.

    Attributes:
        stamps: (header stamp s, counter) of the pictures that were read.
        pictures: how many were looked at.
        problems: why the others were not read, and how often.
        example: a picture in which a code was read.
    """

    stamps: list[tuple[float, int]] = field(default_factory=list)
    pictures: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    example: Picture | None = None

    def add(self, picture: Picture, stamp_s: float) -> None:
        """Read a picture."""
        reading = read_code(picture)
        self.pictures += 1
        if reading.counter is None:
            self.problems[reading.problem] += 1
            return
        self.stamps.append((stamp_s, reading.counter))
        if self.example is None:
            self.example = picture.copy()

    def sightings(self, shown_at: ShownAt) -> list[Sighting]:
        """The pictures whose code's time is known."""
        found = [(stamp_s, shown_at(counter)) for stamp_s, counter in self.stamps]
        return [Sighting(stamp_s, *shown) for stamp_s, shown in found if shown is not None]

    def describe(self) -> str:
        """Why pictures were not read, in words."""
        return ", ".join(f"{count} {problem}" for problem, count in self.problems.most_common()) or "none"


def picture_of(message: Any) -> Picture:
    """Pixels of an Image or a CompressedImage, grey or in colours of any order.

    Raises:
        CalibrationError: an encoding that is not known; lists the valid ones.
    """
    if isinstance(message, CompressedImage):
        decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_GRAYSCALE)
        if decoded is None:
            raise CalibrationError("a compressed picture cannot be decoded")
        return np.asarray(decoded, np.uint8)
    if message.encoding not in _CHANNELS:
        raise CalibrationError(f"encoding {message.encoding!r} is not valid; valid: {', '.join(_CHANNELS)}")
    channels = _CHANNELS[message.encoding]
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    picture = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    return picture[..., 0] if channels == 1 else picture[..., :3]


def watch_cameras(
    session: CalibrationSession,
    contract: Contract,
    names: Sequence[str],
    pictures: int,
    on_picture: Callable[[int], None],
    patience_s: float = 60.0,
) -> dict[str, CameraSightings]:
    """Look at `pictures` pictures of each camera.

    Args:
        session: with the running cell.
        contract: topics and rates.
        names: of the cameras.
        pictures: of each.
        on_picture: called with how many have been looked at.
        patience_s: for the first picture of each camera; later ones may take ten times what their rate says.

    Raises:
        SessionError: pictures do not come.
    """
    seen = {name: CameraSightings() for name in names}
    for name in names:
        topic, kind = _image_topic(contract.cameras[name].topic)

        def take(message: Any, one: CameraSightings = seen[name]) -> None:
            if one.pictures < pictures:
                one.add(picture_of(message), 1e-9 * stamp_to_ns(message.header.stamp))

        session.listen(kind, topic, take, qos.SENSOR_IN)

    def done() -> bool:
        on_picture(sum(one.pictures for one in seen.values()))
        return all(one.pictures >= pictures for one in seen.values())

    def begun() -> bool:
        done()
        return all(one.pictures > 0 for one in seen.values())

    topics = ", ".join(contract.cameras[name].topic for name in names)
    session.wait_for(begun, patience_s, f"pictures on {topics}; is the camera running, and in this ROS_DOMAIN_ID?")
    slowest_hz = min(contract.cameras[name].rate_hz for name in names)
    session.wait_for(done, patience_s + 10.0 * pictures / slowest_hz, f"{pictures} pictures on each of {topics}")
    return seen


def _image_topic(topic: str) -> tuple[str, Any]:
    return topic, CompressedImage if topic.endswith("/compressed") else Image


def simulated_screen(period_s: float) -> ShownAt:
    """Times at which the simulator's screens show each counter."""
    return lambda counter: (counter * period_s, (counter + 1) * period_s)


def start_real_screen(session: CalibrationSession, folder: Path, hold: int) -> Callable[[], ShownAt]:
    """Show codes on this computer's screen until the session ends; returns what reads the times so far."""
    log = folder / "screen.csv"
    log.unlink(missing_ok=True)
    module = "dp_bringup.calibration.screen"
    session.start_child("screen", [sys.executable, "-m", module, "--log", str(log), "--hold", str(hold)])
    return lambda: read_log(log).get
