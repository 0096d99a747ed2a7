"""Videos of episodes (MP4, H.264)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_benchmark.errors import MissingPackageError

FRAME_RATE_HZ = 10.0


class EpisodeVideo:
    """Writes frames as they come; the file is whole after :meth:`close`.

    Args:
        path: of the .mp4 file; its folder is made.

    Raises:
        MissingPackageError: imageio or its ffmpeg is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import imageio.v2 as imageio
            import imageio_ffmpeg  # noqa: F401
        except ImportError as error:
            raise MissingPackageError(f"videos need imageio and imageio-ffmpeg ({error})") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer: Any = imageio.get_writer(path, fps=FRAME_RATE_HZ, macro_block_size=None)

    def add(self, frame: NDArray[np.uint8], seed: int, step: int, max_coverage: float) -> None:
        """Append a frame (H, W, 3) uint8 rgb with a line of figures at its top."""
        import cv2

        marked = np.ascontiguousarray(frame)
        text = f"seed {seed}  {step / FRAME_RATE_HZ:.1f} s  best coverage {max_coverage:.2f}"
        cv2.putText(marked, text, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (20, 20, 20), 1, cv2.LINE_AA)
        self._writer.append_data(marked)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
