"""An episode on disk: one folder with the bag and ``episode.json``, which says what it is and what it is worth."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dp_recorder.atomic_file import sync_folder, write_text_atomically

EPISODE_FILE = "episode.json"
DISCARDED_FOLDER = "discarded"
UNLABELLED, SUCCESS, FAILURE, DISCARD = OUTCOMES = ("unlabelled", "success", "failure", "discard")
#: Why an episode that nobody labelled is doubtful.
NO_OUTCOME = "nobody said whether it succeeded: it has no label"
_SEED = re.compile(r"\bseed\s*[=:]\s*(\d+)")
_NUMBERED = re.compile(r"^episode_(\d+)_")
#: What the tools that read a description rely on, and its type.
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "state", "task", "operator", "outcome", "note", "verdict", "clock", "namespace"), str),
    **dict.fromkeys(("started_ns", "ended_ns"), int),
    **dict.fromkeys(("contract", "streams"), dict),
    "contract_hash": str,
    "duration_s": (int, float),
    "reasons": list,
}


class EpisodeError(ValueError):
    """An episode cannot be started, found or labelled."""


@dataclass(frozen=True)
class EpisodeRequest:
    """What is known about an episode when it starts.

    Attributes:
        directory: Folder that receives the episode's folder.
        task: What the robot is asked to do; letters, digits, ``_`` and ``-`` survive in the folder's name.
        operator: Who drives.
        note: Free text; ``seed=7`` in it is also kept as a number.
        contract: The cell's contract as plain data.
        contract_hash: Its hash.
        software_version: Version of the recording software.
        namespace: Namespace in which the topics were found, ``/`` for none.
        simulated: Receipt times are those of /clock, and say nothing about the clocks of the publishers.
        plan: Name of the plan, item of it, number of items and prompt; None outside a plan.
    """

    directory: Path
    task: str
    operator: str = ""
    note: str = ""
    contract: Mapping[str, Any] = field(default_factory=dict)
    contract_hash: str = ""
    software_version: str = ""
    namespace: str = "/"
    simulated: bool = False
    plan: Mapping[str, Any] | None = None

    @property
    def seed(self) -> int | None:
        """The seed named in the note, if any."""
        found = _SEED.search(self.note)
        return int(found.group(1)) if found else None

    def describe(self, episode_id: str, started_ns: int) -> dict[str, Any]:
        """Content of ``episode.json`` while the episode is open."""
        return {
            "id": episode_id,
            "state": "recording",
            "task": self.task,
            "operator": self.operator,
            "outcome": UNLABELLED,
            "note": self.note,
            "seed": self.seed,
            "plan": dict(self.plan) if self.plan is not None else None,
            "clock": "simulation" if self.simulated else "system",
            "started_ns": started_ns,
            "started_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "namespace": self.namespace,
            "software_version": self.software_version,
            "contract_hash": self.contract_hash,
            "contract": dict(self.contract),
        }


def create_episode_folder(directory: Path, task: str) -> Path:
    """Make the folder of the next episode: ``episode_<number>_<task>``, numbered within the directory.

    Discarded episodes keep their number, so an id is never given twice.
    """
    new = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for folder in new:
        sync_folder(folder.parent)  # else a power cut could take the folder with every episode in it
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", task).strip("-") or "untitled"
    present = [*directory.iterdir(), *(directory / DISCARDED_FOLDER).glob("*")]
    numbers = [int(match.group(1)) for path in present if (match := _NUMBERED.match(path.name))]
    number = max(numbers, default=0) + 1
    while True:
        folder = directory / f"episode_{number:04d}_{name}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def write_episode_file(folder: Path, description: Mapping[str, Any]) -> None:
    """Replace ``episode.json`` atomically."""
    write_text_atomically(folder / EPISODE_FILE, episode_text(description))


def episode_text(description: Mapping[str, Any]) -> str:
    """``episode.json`` as text."""
    return json.dumps(description, indent=2) + "\n"


def read_episode_file(folder: Path) -> dict[str, Any]:
    """Read ``episode.json``.

    Raises:
        EpisodeError: If it is missing, not JSON, or says nothing of an episode; names the file.
    """
    path = folder / EPISODE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EpisodeError(f"{folder} is not an episode: it has no {EPISODE_FILE}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise EpisodeError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise EpisodeError(f"{path} holds no description of an episode; see dp bag repair")
    return content


def of_known_types(description: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A description without the values that are of another type than the recorder writes.

    Args:
        description: Content of ``episode.json``, which people and other tools may have written.

    Returns:
        What may be relied on, and a line for each value that was left out.
    """
    kept, wrong = dict(description), []
    for key, kind in _TYPES.items():
        value = kept.get(key)
        if key in kept and (not isinstance(value, kind) or isinstance(value, bool)):
            del kept[key]
            wrong += [] if value is None else [f"{key} is {value!r:.80}, which says nothing"]
    for topic, told in dict(kept.get("streams", {})).items():
        counts = [told.get(key, 0) for key in ("received", "dropped")] if isinstance(told, Mapping) else [None]
        if not all(isinstance(count, int) for count in counts):
            kept["streams"] = {name: value for name, value in kept["streams"].items() if name != topic}
            wrong.append(f"streams.{topic} is {told!r:.80}, which says nothing")
    return kept, wrong


def set_outcome(folder: Path, outcome: str, note: str = "") -> Path:
    """Give a closed episode another outcome; a discarded one moves to the ``discarded`` folder and back.

    Args:
        folder: The episode's folder.
        outcome: One of ``OUTCOMES``.
        note: Text appended to the note; empty for none.

    Returns:
        Where the episode lies now.

    Raises:
        EpisodeError: If the outcome is unknown or the folder holds no closed episode.
    """
    if outcome not in OUTCOMES:
        raise EpisodeError(f"outcome {outcome!r} is none of {', '.join(OUTCOMES)}")
    description = read_episode_file(folder)
    if description.get("state") != "closed":
        raise EpisodeError(f"{folder.name} is not closed yet")
    description["outcome"] = outcome
    description = of_known_types(description)[0]
    if outcome != UNLABELLED and NO_OUTCOME in description.get("reasons", ()):
        # The verdict complained that nobody had said how it went; now somebody has.
        description["reasons"] = [reason for reason in description["reasons"] if reason != NO_OUTCOME]
        if not description["reasons"]:
            description["verdict"] = "good"
    if note:
        description["note"] = f"{description['note']}; {note}" if description.get("note") else note
    write_episode_file(folder, description)
    return place_episode(folder, outcome)


def find_episode(directory: Path, episode_id: str) -> Path:
    """Folder of an episode, discarded or not.

    Raises:
        EpisodeError: If there is none of that id.
    """
    for folder in (directory / episode_id, directory / DISCARDED_FOLDER / episode_id):
        if episode_id and Path(episode_id).name == episode_id and (folder / EPISODE_FILE).is_file():
            return folder
    raise EpisodeError(f"no episode {episode_id!r} in {directory}")


def place_episode(folder: Path, outcome: str) -> Path:
    """Move an episode to where those of its outcome lie, if it is elsewhere; returns where it lies now."""
    is_discarded = folder.parent.name == DISCARDED_FOLDER
    if (outcome == DISCARD) == is_discarded:
        return folder
    parent = folder.parent.parent if is_discarded else folder.parent / DISCARDED_FOLDER
    parent.mkdir(exist_ok=True)
    placed = folder.rename(parent / folder.name)
    sync_folder(parent)
    sync_folder(folder.parent)
    return placed
