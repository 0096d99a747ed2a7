"""Makes a bag whole that a killed recorder, a full disk or a power cut left behind.

The bag is read past everything that is damaged and written anew beside the old one. Only when the new one is complete
and on the disk it takes the old one's name, in one step; the old one stays as ``<name>.mcap.orig``. Interrupted at any
instant, a repair leaves the old bag or the new one, and may simply be run again.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dp_dataset.bag_reader import BagError, BagReader
from dp_dataset.mcap_records import MAGIC, McapDamage

from dp_recorder.atomic_file import write_text_atomically
from dp_recorder.bag_tools.bag_copy import (
    INFORMATION,
    METADATA_FILE,
    custom_data_of,
    information_differences,
    information_of,
    read_information,
)
from dp_recorder.bag_tools.bag_folders import is_being_written
from dp_recorder.bag_tools.bag_replacement import (
    finish_replacement,
    replace_bag,
    require_only_file,
    undo_interrupted,
)
from dp_recorder.bag_tools.evidence import BagEvidence
from dp_recorder.episode import EPISODE_FILE, UNLABELLED, of_known_types, write_episode_file
from dp_recorder.rosbag2_metadata import dump
from dp_recorder.verdict import BAD, SUSPECT, Verdict

INTACT, REPAIRED, DESCRIBED, REPAIRABLE = "intact", "repaired", "metadata rewritten", "needs repair"
#: Twice the time between two flushes of the recorder: what it had not handed to the disk when it was killed.
UNFLUSHED_S = 1.0
OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Repair:
    """What became of a bag.

    Attributes:
        folder: The bag's folder.
        state: ``intact`` (nothing was done), ``repaired``, ``metadata rewritten``, or ``needs repair`` (dry run).
        problems: What was wrong.
        lost: What could not be restored.
        message_count: Messages in the bag now.
        duration_s: From its first to its last message, s.
        verdict: Of the episode now; empty for a bag that is no episode.
        backup: The old file; None where none was kept.
    """

    folder: Path
    state: str
    problems: tuple[str, ...]
    lost: tuple[str, ...]
    message_count: int
    duration_s: float
    verdict: str = ""
    backup: Path | None = None


def repair_bag(
    folder: Path, *, backup: bool = True, dry_run: bool = False, on_progress: OnProgress | None = None
) -> Repair:
    """Repair a bag if it needs it.

    Args:
        folder: The bag's folder.
        backup: Whether the old file is kept.
        dry_run: Only say what is wrong.
        on_progress: Told how many bytes of the file were read, for up to three passes.

    Raises:
        BagError: If there is nothing to repair, the bag is being recorded at this moment, or is one of several files.
        OSError: If the disk refuses, for want of space for example; the bag is then as it was.
    """
    folder = folder.resolve()
    if not dry_run:
        undo_interrupted(folder)
    bag = BagReader(folder, on_progress)
    if is_being_written(bag.path):
        raise BagError(f"{bag.path} is being written by another process; end the recording first")
    return _Repairing(bag, backup, dry_run, on_progress).run()


class _Repairing:
    def __init__(self, bag: BagReader, backup: bool, dry_run: bool, on_progress: OnProgress | None) -> None:
        self._bag = bag
        self._backup = backup
        self._dry_run = dry_run
        self._on_progress = on_progress
        self._damage: list[McapDamage] = []
        self._lost: list[str] = []
        self._episode = _known_episode(bag)
        self._evidence = BagEvidence(self._episode or {})

    def run(self) -> Repair:
        self._read_through()
        self._refuse_other_files()
        problems, self._lost = self._problems(), self._losses()
        broken = not self._bag.indexed or bool(self._damage)
        state = (REPAIRED if broken else DESCRIBED) if problems else INTACT
        if self._dry_run and problems:
            state = REPAIRABLE
        backup = None
        verdict = str((self._episode or {}).get("verdict", ""))
        if problems and not self._dry_run:
            require_only_file(self._bag)
            description = self._description() if self._episode is not None else None
            if broken:
                backup = self._replace(description)
            else:
                _write_information(self._bag)
            if description is not None:
                write_episode_file(self._bag.folder, description)
                verdict = str(description["verdict"])
            finish_replacement(self._bag.folder, None if self._backup else backup)
        return Repair(
            folder=self._bag.folder,
            state=state,
            problems=tuple(problems),
            lost=tuple(self._lost),
            message_count=self._evidence.message_count,
            duration_s=(self._evidence.last_ns - (self._evidence.first_ns or 0)) / 1e9,
            verdict=verdict,
            backup=backup if self._backup else None,
        )

    def _read_through(self) -> None:
        for entry in self._bag.read_raw(on_damage=self._damage.append, on_progress=self._on_progress):
            self._evidence.add(entry)

    def _refuse_other_files(self) -> None:
        """A file that never was a bag is not replaced by an empty one that says a recorder was killed.

        Raises:
            BagError: If nothing in it could be read, nor tells that it was a bag, nor can be what a recorder left.
        """
        known = self._episode is not None or self._bag.topics or read_information(self._bag.folder) is not None
        if known or not any(damage.offset == 0 for damage in self._damage):
            return
        with self._bag.path.open("rb") as file:
            begin = file.read(len(MAGIC))
        if any(begin) and not MAGIC.startswith(begin):
            raise BagError(
                f"{self._bag.path} is no MCAP file, and nothing in it can be read: there is nothing to repair"
            )

    def _problems(self) -> list[str]:
        found = []
        if not self._bag.complete:
            found.append("the file has no end: its recorder was killed, or it was cut off")
        elif not self._bag.indexed:
            found.append("the index of the file is damaged")
        found += [f"at byte {damage.offset}: {damage}" for damage in self._damage]
        if self._bag.indexed:
            found += information_differences(read_information(self._bag.folder), self._bag)
        written = _episode_on_disk(self._bag.folder)
        if self._episode is not None:
            if written is None:
                found.append(f"{EPISODE_FILE} is missing or damaged")
            elif written.get("state") != "closed":
                found.append(f"{EPISODE_FILE} says that the episode is still {written.get('state')}")
        return found

    def _losses(self) -> list[str]:
        start_ns = self._evidence.first_ns or 0
        lost = [_describe_loss(damage, start_ns) for damage in self._damage if not damage.at_end]
        if not self._bag.complete:
            lost.append(self._lost_at_end())
        return lost

    def _lost_at_end(self) -> str:
        count = (read_information(self._bag.folder) or {}).get("message_count")
        if isinstance(count, int):
            return f"the file was cut off: {count - self._evidence.message_count} of {count} messages lost"
        episode = self._episode or {}
        if episode.get("state") == "closed":
            missing_s = max(0.0, (int(episode.get("ended_ns", 0)) - self._evidence.last_ns) / 1e9)
            return f"the file was cut off: {missing_s:.1f} s lost"
        claimed = [damage.end_ns for damage in self._damage if damage.at_end and damage.end_ns is not None]
        known_s = max(0.0, (max(claimed, default=0) - self._evidence.last_ns) / 1e9)
        return f"recorder was killed; at most {UNFLUSHED_S + known_s:.1f} s lost"

    def _description(self) -> dict[str, Any]:
        """``episode.json`` of the repaired episode."""
        episode = dict(self._episode or {})
        if episode.get("state") == "closed" and not self._damage and self._bag.indexed:
            return episode
        holes = [damage for damage in self._damage if not damage.at_end]
        lost = self._lost or ["recorder was killed after the bag was complete; nothing lost"]
        verdict = self._evidence.verdict(lost[0] if holes else None)
        # What the recorder itself complained of, messages that it dropped for example, no bag can tell.
        reasons = tuple(dict.fromkeys((*lost, *episode.get("reasons", ()), *verdict.reasons)))
        is_bad = BAD in (verdict.level, episode.get("verdict"))
        verdict = Verdict(BAD if is_bad else SUSPECT, reasons)
        ended_ns = max(self._evidence.last_ns, int(episode.get("started_ns", 0)))
        started_ns = int(episode.get("started_ns", self._evidence.first_ns or 0))
        episode.update(
            state="closed",
            outcome=episode.get("outcome", UNLABELLED),
            ended_ns=ended_ns,
            duration_s=(ended_ns - started_ns) / 1e9,
            verdict=verdict.level,
            reasons=list(verdict.reasons),
            streams=self._evidence.describe_streams() or episode.get("streams", {}),
            repair={
                "repaired_utc": datetime.now(UTC).isoformat(timespec="seconds"),
                "lost": lost,
                "original_bytes": self._bag.path.stat().st_size,
                "message_count": self._evidence.message_count,
            },
        )
        return episode

    def _replace(self, description: dict[str, Any] | None) -> Path:
        """Write the bag anew and put it in the old one's place; returns where the old file lies."""
        bag = self._bag
        records = {name: dict(pairs) for name, pairs in bag.metadata_records.items() if name != "rosbag2"}
        if description is not None:
            records["episode"] = {EPISODE_FILE: json.dumps(description)}
        custom = custom_data_of(bag)
        if description is not None:
            custom = {
                "episode_id": bag.folder.name,
                "contract_hash": str(description.get("contract_hash", "")),
            } | custom
        messages = bag.read_raw(on_damage=_overlook, on_progress=self._on_progress)
        return replace_bag(bag, messages, custom_data=custom, embedded=records)


def _known_episode(bag: BagReader) -> dict[str, Any] | None:
    """What is known of the episode, the most finished first; None for a bag that is none."""
    written = _episode_on_disk(bag.folder)
    try:
        embedded = json.loads(bag.metadata_records["episode"][EPISODE_FILE])
    except (KeyError, json.JSONDecodeError):
        embedded = None
    found = [episode for episode in (written, embedded) if isinstance(episode, dict)]
    closed = [episode for episode in found if episode.get("state") == "closed"]
    # A tool that was interrupted after it had replaced the bag has left what it meant to write in the new one.
    if len(closed) == 2 and any(written.get(key) != embedded.get(key) for key in ("repair", "trim")):  # type: ignore[union-attr]
        closed.reverse()
    return next((of_known_types(episode)[0] for episode in [*closed, *found]), None)


def _episode_on_disk(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / EPISODE_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return content if isinstance(content, dict) else None


def _write_information(bag: BagReader) -> None:
    text = dump({INFORMATION: information_of(bag)})
    write_text_atomically(bag.folder / METADATA_FILE, text)


def _describe_loss(damage: McapDamage, start_ns: int) -> str:
    count = "messages" if damage.messages is None else f"{damage.messages} messages"
    if damage.start_ns is None or damage.end_ns is None:
        return f"{damage}: {count} lost in {damage.size} bytes"
    begin, end = (damage.start_ns - start_ns) / 1e9, (damage.end_ns - start_ns) / 1e9
    return f"{damage}: {count} lost between {begin:.2f} s and {end:.2f} s"


def _overlook(damage: McapDamage) -> None:
    """Known since the bag was read through."""
