"""What there is in a folder of episodes, from their small files alone: no bag is opened."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_dataset.mcap_records import MAGIC

from dp_recorder.bag_tools.bag_copy import METADATA_FILE, read_information
from dp_recorder.bag_tools.bag_folders import is_being_written, originals_in
from dp_recorder.episode import EPISODE_FILE, of_known_types

CLOSED, RECORDING, KILLED, FOREIGN = "closed", "recording", "killed", "foreign"
STATES = (CLOSED, RECORDING, KILLED, FOREIGN)


@dataclass(frozen=True)
class ListedBag:
    """One line of the list.

    Attributes:
        folder: The bag's folder.
        id: The episode's id, or the folder's name.
        state: ``closed``, ``recording`` (a process of this machine writes it), ``killed`` (needs ``dp bag repair``)
            or ``foreign`` (a whole bag that is no episode).
        task: What the robot was asked to do.
        outcome: Label.
        verdict: The recorder's.
        operator: Who drove.
        duration_s: s; 0 where unknown.
        size_bytes: Of the bag, with the originals that a repair kept.
        note: Free text.
    """

    folder: Path
    id: str
    state: str
    task: str = ""
    outcome: str = ""
    verdict: str = ""
    operator: str = ""
    duration_s: float = 0.0
    size_bytes: int = 0
    note: str = ""


#: By what a list can be sorted.
SORT_KEYS: dict[str, Callable[[ListedBag], Any]] = {
    "id": lambda bag: (str(bag.folder.parent), bag.id),
    "task": lambda bag: (bag.task, bag.id),
    "outcome": lambda bag: (bag.outcome, bag.id),
    "verdict": lambda bag: (bag.verdict, bag.id),
    "duration": lambda bag: bag.duration_s,
    "size": lambda bag: bag.size_bytes,
    "state": lambda bag: (bag.state, bag.id),
    "operator": lambda bag: (bag.operator, bag.id),
}


def list_bag(folder: Path) -> ListedBag:
    """Describe one bag, by its folder, or by one of several files in it."""
    folder = folder.parent if folder.is_file() else folder
    files = [*folder.glob("*.mcap"), *originals_in(folder)]
    episode = _episode(folder)
    if episode.get("state") == "closed":
        # Its content is for `check`: reading YAML takes most of the time of a long list.
        information: dict[str, Any] | None = {} if (folder / METADATA_FILE).is_file() else None
    else:
        information = read_information(folder)
    duration_ns = ((information or {}).get("duration") or {}).get("nanoseconds", 0)
    return ListedBag(
        folder=folder,
        id=str(episode.get("id", folder.name)),
        state=_state(folder, episode, information),
        task=str(episode.get("task", "")),
        outcome=str(episode.get("outcome", "")),
        verdict=str(episode.get("verdict", "")),
        operator=str(episode.get("operator", "")),
        duration_s=float(episode.get("duration_s") or duration_ns / 1e9),
        size_bytes=sum(path.stat().st_size for path in files),
        note=str(episode.get("note", "")),
    )


def select(
    bags: Sequence[ListedBag],
    *,
    outcomes: Sequence[str] = (),
    verdicts: Sequence[str] = (),
    states: Sequence[str] = (),
    task: str = "",
) -> list[ListedBag]:
    """Those that match; an empty condition is met by all.

    Args:
        bags: To choose from.
        outcomes: Any of these.
        verdicts: Any of these.
        states: Any of these.
        task: Occurs in the task, whatever its case.
    """
    return [
        bag
        for bag in bags
        if (not outcomes or bag.outcome in outcomes)
        and (not verdicts or bag.verdict in verdicts)
        and (not states or bag.state in states)
        and task.lower() in bag.task.lower()
    ]


def _state(folder: Path, episode: dict[str, Any], information: dict[str, Any] | None) -> str:
    whole = information is not None and episode.get("state", "closed") == "closed"
    # Asked last, for it looks at all processes.
    if not whole and any(is_being_written(path) for path in folder.glob("*.mcap")):
        return RECORDING
    files = list(folder.glob("*.mcap"))
    if information is None and not episode and files and all(_has_end(path) for path in files):
        return FOREIGN  # of a writer that puts no metadata beside its file
    if information is None or not files:
        return KILLED
    if not episode:
        return FOREIGN
    return CLOSED if episode.get("state") == "closed" else KILLED


def _has_end(path: Path) -> bool:
    """Whether an MCAP file ends as its writer ends it."""
    with path.open("rb") as file:
        file.seek(-min(len(MAGIC), path.stat().st_size), os.SEEK_END)
        return file.read() == MAGIC


def _episode(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / EPISODE_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return {}
    return of_known_types(content)[0] if isinstance(content, dict) else {}
