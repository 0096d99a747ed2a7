"""How contact sheets and films look, and the labels on them."""

from dataclasses import dataclass

import cv2
import numpy as np
from dp_dataset.bag_reader import BagError

from dp_recorder.bag_tools.picture_decoding import Picture

LABEL_HEIGHT = 16


@dataclass(frozen=True)
class ThumbSettings:
    """How sheet and film look.

    Attributes:
        times: Pictures of each camera on the sheet.
        height: Of one picture, pixels.
        film: Whether to make the film.
        rate_hz: Pictures per second of the film.
    """

    times: int = 8
    height: int = 160
    film: bool = True
    rate_hz: float = 15.0

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, value, low, high in (
            ("times", self.times, 1, 64),
            ("height", self.height, 32, 1080),
            ("rate_hz", self.rate_hz, 1, 60),
        ):
            if not low <= value <= high:
                raise BagError(f"{name} is {value:g}, valid: {low} to {high}")


def short_name(topic: str) -> str:
    """Name of a camera for a label: the topic without what all of them share."""
    parts = [part for part in topic.split("/") if part not in ("", "camera", "compressed", "image_raw", "color")]
    return "/".join(parts) or topic


def labelled(picture: Picture, text: str) -> Picture:
    """The picture under a dark strip with a text."""
    strip = np.zeros((LABEL_HEIGHT, picture.shape[1], 3), np.uint8)
    cv2.putText(strip, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(np.concatenate((strip, picture)), np.uint8)
