"""Where the human Push-T demonstrations lie."""

from __future__ import annotations

import os
from pathlib import Path

from dp_dataset.replay_buffer import is_replay_buffer

from dp_benchmark.errors import BenchmarkError

VARIABLE = "DP_PUSHT_DATA"
SOURCE = "https://diffusion-policy.cs.columbia.edu/data/training/pusht.zip"
FOLDER = Path("pusht") / "pusht_cchi_v7_replay.zarr"
PLACES = (Path("data") / FOLDER, Path("..") / "shared" / "data" / FOLDER)


def find_demonstrations(asked: Path | None = None) -> Path:
    """The replay buffer: ``asked``, else $DP_PUSHT_DATA, else the usual places.

    Raises:
        BenchmarkError: there is none; the text says where to get it.
    """
    named = asked or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    places = (named,) if named else PLACES
    for place in places:
        if is_replay_buffer(place):
            return place.resolve()
    looked = ", ".join(str(place) for place in places)
    raise BenchmarkError(
        f"no Push-T demonstrations at {looked}; download {SOURCE}, unpack it into data/, "
        f"or name the folder {FOLDER.name} with --data or ${VARIABLE}"
    )
