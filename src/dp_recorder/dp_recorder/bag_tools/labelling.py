"""Outcome, note and task of closed episodes, one or many."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dp_recorder.episode import (
    OUTCOMES,
    UNLABELLED,
    EpisodeError,
    of_known_types,
    read_episode_file,
    set_outcome,
    write_episode_file,
)

COLUMNS = ("id", "outcome", "note", "task")


@dataclass(frozen=True)
class Label:
    """What to say of an episode; empty for what stays as it is. ``note`` is appended."""

    outcome: str = ""
    note: str = ""
    task: str = ""


def label_episode(folder: Path, label: Label) -> Path:
    """Label a closed episode; returns where it lies now: discarded ones move to the ``discarded`` folder and back.

    Args:
        folder: The episode's folder.
        label: What to say of it.

    Raises:
        EpisodeError: If the outcome is unknown, or the folder holds no closed episode.
    """
    folder = folder.resolve()
    description, _ = of_known_types(read_episode_file(folder))
    if description.get("state") != "closed":
        raise EpisodeError(f"{folder.name} is not closed: it is {description.get('state')}; see dp bag repair")
    if label.task:
        description["task"] = label.task
        write_episode_file(folder, description)
    return set_outcome(folder, label.outcome or str(description.get("outcome", UNLABELLED)), label.note)


def read_labels(path: Path) -> dict[str, Label]:
    """Read labels from a CSV file with a header line: column ``id``, and any of ``outcome``, ``note``, ``task``.

    Returns:
        Id of the episode to its label.

    Raises:
        EpisodeError: If a column or an outcome is unknown, or an id is given twice; names the line.
    """
    labels: dict[str, Label] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        unknown = set(rows.fieldnames or ()) - set(COLUMNS)
        if "id" not in (rows.fieldnames or ()) or unknown:
            found = ", ".join(rows.fieldnames or ()) or "none"
            raise EpisodeError(f"{path} has columns {found}; valid: {', '.join(COLUMNS)}, of which id is needed")
        for row in rows:
            _take(labels, row, f"{path}, line {rows.line_num}")
    return labels


def _take(labels: dict[str, Label], row: Mapping[str, str | None], where: str) -> None:
    values = {name: (row.get(name) or "").strip() for name in COLUMNS}
    if not values["id"] or values["id"] in labels:
        raise EpisodeError(f"{where}: id {values['id']!r} is empty or was given before")
    if values["outcome"] and values["outcome"] not in OUTCOMES:
        raise EpisodeError(f"{where}: outcome {values['outcome']!r} is none of {', '.join(OUTCOMES)}")
    labels[values["id"]] = Label(values["outcome"], values["note"], values["task"])
