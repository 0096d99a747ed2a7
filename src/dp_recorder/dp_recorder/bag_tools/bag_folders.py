"""Which bags a person means who names an episode, several, or a folder full of them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dp_dataset.bag_reader import BagError

from dp_recorder.episode import DISCARDED_FOLDER, EPISODE_FILE

WORK_FOLDER = ".repair"
ORIGINAL_SUFFIX = ".orig"
_ACCESS_MODE = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


def find_bags(places: Sequence[Path], discarded: bool = False) -> list[Path]:
    """Folders of the bags in the given places, each once, in the order of the places and then of their names.

    Args:
        places: Folders of bags, folders that hold such at any depth, or MCAP files.
        discarded: Whether discarded episodes in folders are meant too; those named are in any case.

    Raises:
        BagError: If a place does not exist or holds no bag; names it.
    """
    found: dict[Path, None] = {}
    for place in places:
        if place.is_file() and place.suffix == ".mcap":
            # Of a recording split into several files only the named one is meant.
            inside = [place if len(list(place.parent.glob("*.mcap"))) > 1 else place.parent]
        elif not place.is_dir():
            raise BagError(f"{place} is neither a folder nor an .mcap file")
        elif is_bag(place):
            inside = [place]
        else:
            inside = sorted(Path(root) for root in _folders_in(place, discarded) if is_bag(Path(root)))
        if not inside:
            raise BagError(f"no bags in {place}: neither it nor a folder in it holds an .mcap file or {EPISODE_FILE}")
        found.update(dict.fromkeys(inside))
    return list(found)


def is_bag(folder: Path) -> bool:
    """Whether a folder holds a bag, if only one whose repair was interrupted."""
    names = [entry.name for entry in os.scandir(folder)]
    return EPISODE_FILE in names or bool(originals_in(folder)) or any(name.endswith(".mcap") for name in names)


def originals_in(folder: Path) -> list[Path]:
    """Old files that repairs have kept, the oldest first: ``.mcap.orig``, ``.mcap.orig2`` and so on."""
    found = folder.glob(f"*.mcap{ORIGINAL_SUFFIX}*")
    return sorted(found, key=lambda path: (len(path.name), path.name))


def is_being_written(path: Path) -> bool:
    """Whether a process of this machine that we may look at holds a file open for writing."""
    try:
        wanted = path.stat()
    except OSError:
        return False
    for process in Path("/proc").glob("[0-9]*"):
        if process.name != str(os.getpid()) and _holds(process, wanted):
            return True
    return False


def _holds(process: Path, wanted: os.stat_result) -> bool:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return False
    for descriptor in descriptors:
        try:
            if os.path.samestat(descriptor.stat(), wanted) and _is_writable(process, descriptor.name):
                return True
        except OSError:
            continue
    return False


def _is_writable(process: Path, descriptor: str) -> bool:
    for line in (process / "fdinfo" / descriptor).read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & _ACCESS_MODE != os.O_RDONLY
    return False


def _folders_in(place: Path, discarded: bool) -> Iterator[str]:
    for root, names, _ in os.walk(place):
        left_out = {DISCARDED_FOLDER} if not discarded else set()
        names[:] = [name for name in names if not name.startswith(".") and name not in left_out]
        yield root
