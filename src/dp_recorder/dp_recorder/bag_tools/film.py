"""A small film: the cameras side by side, at the pace at which they were seen."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from dp_dataset.bag_reader import BagError, RawMessage

from dp_recorder.bag_tools.picture_decoding import Picture, decode_picture
from dp_recorder.bag_tools.picture_layout import ThumbSettings, labelled, short_name

#: So long a film waits for a camera that has not shown anything yet before it begins without it, ns.
_WAIT_NS = 1_000_000_000


class Film:
    """The cameras side by side, at the pace at which they were seen."""

    def __init__(self, cameras: Sequence[str], span_ns: tuple[int, int], settings: ThumbSettings, path: Path) -> None:
        """Begin a film.

        Raises:
            BagError: If imageio-ffmpeg is not installed.
        """
        self._ffmpeg = _ffmpeg()
        self._cameras, self._path = list(cameras), path
        self._start_ns, self._end_ns = span_ns
        self._next_ns, self._period_ns = span_ns[0], round(1e9 / settings.rate_hz)
        self._rate_hz, self._height = settings.rate_hz, settings.height - settings.height % 2
        self._waiting: dict[str, RawMessage] = {}
        self._shown: dict[str, Picture] = {}
        self._widths: dict[str, int] = {}
        self._part = path.with_name(f".{path.stem}.part.mp4")
        self._writer: Any = None

    def add(self, t_ns: int, entry: RawMessage) -> None:
        """Take a picture; those of the film up to its time are written."""
        if entry.topic not in self._widths:
            self._widths[entry.topic] = decode_picture(entry, self._height).shape[1]
        self._write_until(t_ns)
        self._waiting[entry.topic] = entry

    def finish(self) -> None:
        """Write the rest and give the film its name."""
        self._write_until(self._end_ns + 1)
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._part.replace(self._path)

    def close(self) -> None:
        """Drop a film that was not finished."""
        if self._writer is not None:
            with closing(self._writer):
                self._writer = None
        self._part.unlink(missing_ok=True)

    def _write_until(self, t_ns: int) -> None:
        ready = len(self._widths) == len(self._cameras) or t_ns - self._start_ns > _WAIT_NS
        while ready and self._next_ns < t_ns:
            frame = self._frame()
            if self._writer is None:
                self._writer = self._open(frame)
            self._writer.send(np.ascontiguousarray(frame))
            self._next_ns += self._period_ns

    def _frame(self) -> Picture:
        for name, entry in self._waiting.items():
            try:
                self._shown[name] = decode_picture(entry, self._height)
            except ValueError:
                continue
        self._waiting.clear()
        clock = f"{(self._next_ns - self._start_ns) / 1e9:.2f} s"
        tiles = []
        for number, name in enumerate(self._cameras):
            width = self._widths.setdefault(name, self._height)
            blank = np.zeros((self._height, width, 3), np.uint8)
            tile = self._shown.get(name, blank)
            tile = tile if tile.shape == blank.shape else blank
            tiles.append(labelled(tile, f"{short_name(name)} {clock}" if number == 0 else short_name(name)))
        frame = np.concatenate(tiles, axis=1)
        # Encoders want even sizes.
        return np.asarray(np.pad(frame, ((0, 0), (0, frame.shape[1] % 2), (0, 0))), np.uint8)

    def _open(self, frame: Picture) -> Iterator[Any]:
        height, width = frame.shape[:2]
        writer = self._ffmpeg.write_frames(
            str(self._part),
            (width, height),
            fps=self._rate_hz,
            codec="libx264",
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-crf", "26", "-preset", "veryfast", "-movflags", "+faststart", "-threads", "2"],
        )
        writer.send(None)
        return writer  # type: ignore[no-any-return]


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise BagError("a film needs imageio-ffmpeg: pip install imageio-ffmpeg, or ask for no film") from error
    return imageio_ffmpeg
