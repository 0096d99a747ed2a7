"""Arrays of a zarr v2 folder, read so that a damaged file is an error and never a wrong number.

zarr takes a missing chunk for zeros, and the blosc codec reads past the end of a truncated one.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

#: Place of the compressed size in the header of a blosc chunk: bytes 12 to 15, little endian.
_BLOSC_SIZE = slice(12, 16)


class ReplayBufferError(ValueError):
    """A folder is not a Push-T replay buffer, or an array of it is missing, damaged or of another shape."""


def open_array(path: Path, name: str) -> Any:
    """The zarr array ``name`` of a folder, all of its chunks present and whole.

    Raises:
        ReplayBufferError: it is missing or damaged.
    """
    if not (path / name / ".zarray").is_file():
        raise ReplayBufferError(f"{path}: {name} is missing")
    try:
        array = zarr.open_array(str(path / name), mode="r", zarr_format=2)
        description = json.loads((path / name / ".zarray").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReplayBufferError(f"{path}: the description of {name} is damaged: {error}") from None
    _check_chunks(path, name, description)
    return array


def read_array(path: Path, name: str) -> NDArray[Any]:
    """The whole array ``name`` of a folder.

    Raises:
        ReplayBufferError: it is missing or damaged.
    """
    array = open_array(path, name)
    return read_rows(path, name, array, 0, array.shape[0])


def read_rows(path: Path, name: str, array: Any, start: int, stop: int) -> NDArray[Any]:
    """Rows ``start`` to ``stop`` of an array of :func:`open_array`.

    Raises:
        ReplayBufferError: a chunk is damaged.
    """
    try:
        return np.asarray(array[start:stop])
    except (OSError, ValueError, RuntimeError) as error:
        raise ReplayBufferError(f"{path}: {name} is damaged in rows {start} to {stop - 1}: {error}") from None


def _check_chunks(path: Path, name: str, description: dict[str, Any]) -> None:
    separator = description.get("dimension_separator", ".")
    counts = (-(-size // chunk) for size, chunk in zip(description["shape"], description["chunks"], strict=True))
    is_blosc = (description.get("compressor") or {}).get("id") == "blosc" and not description.get("filters")
    for place in itertools.product(*(range(count) for count in counts)):
        file = path / name / separator.join(map(str, place))
        if not file.is_file():
            raise ReplayBufferError(f"{path}: chunk {file.relative_to(path)} is missing")
        if is_blosc:
            with file.open("rb") as stream:
                size = int.from_bytes(stream.read(16)[_BLOSC_SIZE], "little")
            if size != file.stat().st_size:
                raise ReplayBufferError(f"{path}: chunk {file.relative_to(path)} is damaged or incomplete")
