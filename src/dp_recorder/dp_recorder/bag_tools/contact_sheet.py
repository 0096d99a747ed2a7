"""A contact sheet: one row for each camera, one column for each of evenly spread times."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from dp_dataset.bag_reader import RawMessage

from dp_recorder.bag_tools.picture_decoding import Picture, decode_picture
from dp_recorder.bag_tools.picture_layout import ThumbSettings, labelled, short_name

_WIDEST_SHEET = 16384


class ContactSheet:
    """One row for each camera, one column for each of evenly spread times."""

    def __init__(self, cameras: Sequence[str], span_ns: tuple[int, int], settings: ThumbSettings) -> None:
        self._cameras = list(cameras)
        self._start_ns = span_ns[0]
        times, duration_ns = settings.times, span_ns[1] - span_ns[0]
        self._wanted = [span_ns[0] + round((k + 0.5) * duration_ns / times) for k in range(times)]
        self._height = settings.height
        self._found: dict[str, list[tuple[int, Picture]]] = {name: [] for name in cameras}
        self._last: dict[str, tuple[int, RawMessage]] = {}

    def add(self, t_ns: int, entry: RawMessage) -> None:
        """Take a picture: the first one at or after a wanted time is shown."""
        row = self._found[entry.topic]
        self._last[entry.topic] = t_ns, entry
        if len(row) < len(self._wanted) and t_ns >= self._wanted[len(row)]:
            picture = decode_picture(entry, self._height)
            while len(row) < len(self._wanted) and t_ns >= self._wanted[len(row)]:
                row.append((t_ns, picture))

    def picture(self) -> Picture:
        """The sheet, ``(H, W, 3) uint8`` RGB."""
        rows = []
        for name in self._cameras:
            tiles = [self._tile(name, t_ns, tile) for t_ns, tile in self._filled(name)]
            rows.append(np.concatenate(tiles, axis=1))
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, 2), (0, width - row.shape[1]), (0, 0))) for row in rows]
        sheet: Picture = np.concatenate(padded, axis=0)
        if width > _WIDEST_SHEET:
            size = (_WIDEST_SHEET, max(1, sheet.shape[0] * _WIDEST_SHEET // width))
            sheet = np.asarray(cv2.resize(sheet, size, interpolation=cv2.INTER_AREA), np.uint8)
        return sheet

    def _filled(self, name: str) -> list[tuple[int, Picture]]:
        row = list(self._found[name])
        if len(row) < len(self._wanted) and name in self._last:
            t_ns, entry = self._last[name]
            try:
                row.append((t_ns, decode_picture(entry, self._height)))
            except ValueError:
                pass
        blank = row[-1][1] * 0 if row else np.zeros((self._height, self._height, 3), np.uint8)
        # A camera that ended early shows nothing where it showed nothing.
        return [*row, *((-1, blank) for _ in range(len(self._wanted) - len(row)))]

    def _tile(self, name: str, t_ns: int, picture: Picture) -> Picture:
        text = "none" if t_ns < 0 else f"{(t_ns - self._start_ns) / 1e9:.2f} s"
        return labelled(picture, f"{short_name(name)} {text}")


def write_picture(path: Path, picture: Picture) -> None:
    """Write an RGB picture as PNG, in one step.

    Raises:
        OSError: If it cannot be written.
    """
    done, data = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        raise OSError(f"{path} cannot be encoded")
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data.tobytes())
    part.replace(path)
