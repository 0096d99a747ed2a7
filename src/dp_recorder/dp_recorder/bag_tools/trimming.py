"""Cuts an episode: a span of it becomes an episode of its own, or replaces it."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from dp_dataset.bag_reader import BagError, BagReader, RawMessage
from numpy.typing import NDArray

from dp_recorder.bag_tools.bag_copy import copy_bag, custom_data_of, is_latched
from dp_recorder.bag_tools.bag_folders import is_being_written
from dp_recorder.bag_tools.bag_replacement import (
    finish_replacement,
    replace_bag,
    require_only_file,
    undo_interrupted,
)
from dp_recorder.bag_tools.evidence import BagEvidence, contract_of
from dp_recorder.episode import EPISODE_FILE, create_episode_folder, of_known_types, write_episode_file
from dp_recorder.verdict import BAD, Verdict

#: Motion is what leaves this distance (m) and width (m) from the pose at rest, and so much of rest is kept around it.
MOTION_M, MOTION_WIDTH_M, REST_S = 0.003, 0.002, 0.3
_SAMPLE_NS = 20_000_000
OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Trim:
    """What a cut gave.

    Attributes:
        source: Folder of the bag that was cut.
        folder: Folder of the new one; the same if it was replaced.
        start_s: Begin of what was kept, s after the first message of the source.
        end_s: Its end, likewise.
        message_count: Messages kept.
        verdict: Of the new episode; empty for a bag that is none.
    """

    source: Path
    folder: Path
    start_s: float
    end_s: float
    message_count: int
    verdict: str


def trim_bag(
    folder: Path,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    auto: bool = False,
    out: Path | None = None,
    in_place: bool = False,
    on_progress: OnProgress | None = None,
) -> Trim:
    """Keep a span of a bag.

    Args:
        folder: The bag's folder.
        start_s: Begin, s after the first message; negative counts from the end; None for the beginning.
        end_s: End, likewise; None for the end.
        auto: From the first to the last motion of arm or gripper, with 0.3 s of rest; ``start_s`` and ``end_s``
            must then be None.
        out: Folder that receives the new episode; None for that of the old one.
        in_place: Replace the old one, which stays as ``.mcap.orig``.
        on_progress: Told how many bytes were read, for up to three passes.

    Raises:
        BagError: If the bag needs repair, is being recorded, or the span holds nothing.
    """
    folder = folder.resolve()
    if in_place:
        undo_interrupted(folder)
    bag = BagReader(folder)
    if is_being_written(bag.path):
        raise BagError(f"{bag.path} is being written by another process; end the recording first")
    if not bag.indexed:
        raise BagError(f"{bag.path} has no index; repair it first: dp bag repair {folder}")
    if in_place:
        require_only_file(bag)
    span = motion_span(bag, on_progress) if auto else _span(bag, start_s, end_s)
    return _Trimming(bag, span, on_progress).run(out, in_place)


def _span(bag: BagReader, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """First and last log time to keep, ns."""
    duration_s = (bag.end_ns - bag.start_ns) / 1e9
    ends = []
    for name, value, default in (("start", start_s, 0.0), ("end", end_s, duration_s)):
        chosen = default if value is None else value + duration_s if value < 0 else value
        if not 0 <= chosen <= duration_s + 1e-9:
            raise BagError(f"{bag.folder}: {name} {value:g} s lies outside of its {duration_s:.2f} s")
        ends.append(bag.end_ns if value is None and name == "end" else bag.start_ns + round(chosen * 1e9))
    if ends[0] >= ends[1]:
        raise BagError(f"{bag.folder}: start ({ends[0] - bag.start_ns} ns) must lie before end; nothing would be left")
    return ends[0], ends[1]


def motion_span(bag: BagReader, on_progress: OnProgress | None = None) -> tuple[int, int]:
    """From shortly before the first motion to shortly after the last, log times in ns.

    Raises:
        BagError: If the bag has no contract, no poses, or nothing moved.
    """
    times, states = _sampled_states(bag, on_progress)
    limits = np.array([MOTION_M, MOTION_M, MOTION_M, MOTION_WIDTH_M])
    left_start = np.flatnonzero((np.abs(states - states[0]) > limits).any(axis=1))
    before_end = np.flatnonzero((np.abs(states - states[-1]) > limits).any(axis=1))
    if not len(left_start):
        raise BagError(f"{bag.folder}: nothing moved by more than {MOTION_M:g} m, so there is nothing to cut to")
    rest_ns = round(REST_S * 1e9)
    first = max(bag.start_ns, int(times[left_start[0]]) - rest_ns)
    return first, min(bag.end_ns, int(times[before_end[-1]]) + rest_ns)


def _sampled_states(bag: BagReader, on_progress: OnProgress | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Log times ``(N,)`` ns, and position and gripper width ``(N, 4)`` m, every 20 ms."""
    contract = contract_of(bag.episode)
    if contract is None:
        raise BagError(f"{bag.folder} carries no contract that says which topics tell motion; give start and end")
    prefix = str(bag.episode.get("namespace") or "/").rstrip("/")
    pose_topic = f"{prefix}/{contract.streams['ee_pose'].topic}"
    width_topic = f"{prefix}/{contract.streams['gripper'].topic}"
    fingers = contract.streams["gripper"].joint_names
    times: list[int] = []
    states: list[tuple[float, ...]] = []
    width = 0.0
    waiting = bool(bag.message_counts.get(width_topic))
    for entry in bag.read_raw([pose_topic, width_topic], on_progress=on_progress):
        if times and entry.log_time_ns - times[-1] < _SAMPLE_NS:
            continue
        message = bag.decode(entry)
        if entry.topic == width_topic:
            width = float(sum(p for n, p in zip(message.name, message.position, strict=False) if n in fingers))
            waiting = False
        elif not waiting:
            position = message.pose.position
            times.append(entry.log_time_ns)
            states.append((position.x, position.y, position.z, width))
    if not times:
        raise BagError(f"{bag.folder} has no messages on {pose_topic}, which tell motion; give start and end")
    return np.array(times, np.int64), np.array(states)


class _Trimming:
    def __init__(self, bag: BagReader, span: tuple[int, int], on_progress: OnProgress | None) -> None:
        self._bag = bag
        self._start_ns, self._end_ns = span
        self._on_progress = on_progress
        try:
            self._episode: dict[str, Any] | None = of_known_types(bag.episode)[0]
        except BagError:
            self._episode = None

    def run(self, out: Path | None, in_place: bool) -> Trim:
        bag = self._bag
        evidence, latched = BagEvidence(self._episode or {}), self._latched()
        for entry in latched:
            evidence.add(entry)
        for entry in self._within():
            evidence.add(entry)
        if evidence.message_count == len(latched):
            raise BagError(f"{bag.folder}: no messages in the span to keep")
        target = bag.folder if in_place else self._new_folder(out)
        description = self._describe(target.name, evidence) if self._episode is not None else None
        records = {name: dict(pairs) for name, pairs in bag.metadata_records.items() if name != "rosbag2"}
        custom = custom_data_of(bag)
        if description is not None:
            records["episode"] = {EPISODE_FILE: json.dumps(description)}
            custom["episode_id"] = target.name
        if in_place:
            replace_bag(bag, chain(latched, self._within()), custom_data=custom, embedded=records)
        else:
            self._write_new(target, chain(latched, self._within()), description, custom, records)
        if description is not None:
            write_episode_file(target, description)
        if in_place:
            finish_replacement(bag.folder, None)
        return Trim(
            source=bag.folder,
            folder=target,
            start_s=(self._start_ns - bag.start_ns) / 1e9,
            end_s=(self._end_ns - bag.start_ns) / 1e9,
            message_count=evidence.message_count,
            verdict=str((description or {}).get("verdict", "")),
        )

    def _write_new(
        self,
        target: Path,
        messages: Iterator[RawMessage],
        description: dict[str, Any] | None,
        custom: dict[str, str],
        records: dict[str, dict[str, str]],
    ) -> None:
        try:
            if description is not None:
                # Killed from here on, the folder tells that it is unfinished.
                write_episode_file(target, description | {"state": "trimming"})
            copy_bag(self._bag, messages, target, custom_data=custom, embedded=records)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise

    def _new_folder(self, out: Path | None) -> Path:
        directory = out if out is not None else self._bag.folder.parent
        return create_episode_folder(directory, str((self._episode or {}).get("task") or self._bag.folder.name))

    def _within(self) -> Iterator[RawMessage]:
        return self._bag.read_raw(start_ns=self._start_ns, end_ns=self._end_ns + 1, on_progress=self._on_progress)

    def _latched(self) -> list[RawMessage]:
        """What a late subscriber would have been told at the cut."""
        latched = [topic.name for topic in self._bag.topic_details.values() if is_latched(topic)]
        last: dict[str, RawMessage] = {}
        if latched:
            for entry in self._bag.read_raw(latched, end_ns=self._start_ns):
                last[entry.topic] = entry._replace(data=memoryview(bytes(entry.data)))
        return [entry._replace(log_time_ns=self._start_ns) for entry in last.values()]

    def _describe(self, name: str, evidence: BagEvidence) -> dict[str, Any]:
        episode = dict(self._episode or {})
        source_id = episode.get("id", self._bag.folder.name)
        verdict = evidence.verdict(None)
        if episode.get("verdict") == BAD:
            # What made the whole bad, a full queue for example, may lie in any part of it.
            kept = tuple(f"{source_id}: {reason}" for reason in episode.get("reasons", ()))
            verdict = Verdict(BAD, tuple(dict.fromkeys((*kept, *verdict.reasons))))
        episode.update(
            id=name,
            state="closed",
            started_ns=self._start_ns,
            ended_ns=self._end_ns,
            duration_s=(self._end_ns - self._start_ns) / 1e9,
            verdict=verdict.level,
            reasons=list(verdict.reasons),
            streams=evidence.describe_streams(),
            trim={
                "source_id": source_id,
                "source_sha256": self._bag.sha256(),
                "start_s": (self._start_ns - self._bag.start_ns) / 1e9,
                "end_s": (self._end_ns - self._bag.start_ns) / 1e9,
                "source_duration_s": (self._bag.end_ns - self._bag.start_ns) / 1e9,
                "trimmed_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
        return episode
