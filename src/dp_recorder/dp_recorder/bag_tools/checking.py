"""Checks a bag from what is in it alone, against the contract that it carries or another one."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dp_core.contract import Contract
from dp_dataset.bag_reader import BagError, BagReader, BagTopic, RawMessage
from dp_dataset.mcap_records import McapDamage

from dp_recorder.bag_tools.bag_copy import information_differences, read_information
from dp_recorder.bag_tools.camera_frames import CameraFrames
from dp_recorder.bag_tools.evidence import contract_hash, contract_of, is_simulated
from dp_recorder.bag_tools.finding import FAILURE, WARNING, BagFinding
from dp_recorder.bag_tools.image_health import IMAGE_TYPES, ImageHealth
from dp_recorder.bag_tools.motion_health import motion_checks
from dp_recorder.bag_tools.motion_record import MotionRecord
from dp_recorder.bag_tools.stream_timing import StreamTiming, TimingLimits
from dp_recorder.episode import EPISODE_FILE, of_known_types
from dp_recorder.recorded_streams import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE, RecordedStream, recorded_streams
from dp_recorder.serialized_message import SerializedMessageError, read_stamp_ns

_HEADER_FIRST = re.compile(r"^(?:\s*(?:#[^\n]*)?\n)*\s*(?:std_msgs/)?(?:msg/)?Header\s+\w+")
#: Difference between the duration that episode.json tells and that of the bag which is complained of, s.
_DURATION_S = 1.0


@dataclass
class BagReport:
    """Result of a check.

    Attributes:
        folder: The bag's folder.
        duration_s: From its first message to its last, s.
        message_count: Messages that could be read.
        rows: Figures of each stream, by topic; see ``StreamTiming.row``.
        findings: Failures first.
    """

    folder: Path
    duration_s: float = 0.0
    message_count: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    findings: list[BagFinding] = field(default_factory=list)

    def failed(self, strict: bool) -> bool:
        """Whether the bag failed; warnings count only if ``strict``."""
        return any(strict or finding.level == FAILURE for finding in self.findings)


def check_bag(
    folder: Path, contract: Contract | None = None, on_progress: Callable[[int], None] | None = None
) -> BagReport:
    """Check one bag.

    Args:
        folder: The bag's folder.
        contract: What it is held against; None for the contract that the bag carries.
        on_progress: Told how many bytes of the file were read.

    Raises:
        BagError: If there is no bag.
    """
    return _Check(BagReader(folder, on_progress), contract).run(on_progress)


class _Check:
    def __init__(self, bag: BagReader, contract: Contract | None) -> None:
        self._bag = bag
        self._findings: list[BagFinding] = []
        self._episode = self._read_episode()
        self._prefix = str(self._episode.get("namespace") or "/").rstrip("/")
        self._contract = contract or contract_of(self._episode)
        if self._contract is None:
            what = "carries a contract that cannot be read" if self._episode.get("contract") else "carries no contract"
            self._complain(
                WARNING, EPISODE_FILE, f"{what}: rates, gaps and poses are held against nothing (see --cell)"
            )
        details = bag.topic_details
        self._stamped = {name for name, topic in details.items() if _has_header(topic)}
        self._timings = {name: StreamTiming(name, limits) for name, limits in self._limits(details).items()}
        asked, simulated = self._asked_images(), is_simulated(self._episode)
        self._images = {
            t.name: ImageHealth(t.name, simulated, FAILURE if asked is None or t.name in asked else WARNING)
            for t in details.values()
            if t.type_name in IMAGE_TYPES
        }
        self._frames = CameraFrames({name: topic.type_name for name, topic in details.items()})
        self._motion = MotionRecord()
        self._checks = (
            motion_checks(self._contract, bag.topics, self._full_name, self._motion) if self._contract else {}
        )
        self._undecodable: set[str] = set()
        self._unset: Counter[str] = Counter()

    def run(self, on_progress: Callable[[int], None] | None) -> BagReport:
        bag, count = self._bag, 0
        for entry in bag.read_raw(on_damage=self._on_damage, on_progress=on_progress):
            self._add(entry)
            count += 1
        self._check_file(count)
        self._check_episode()
        self._check_contract(count)
        for timing in self._timings.values():
            self._findings += timing.findings(bag.start_ns, bag.end_ns)
        for image in self._images.values():
            self._findings += image.findings(bag.start_ns, self._motion)
        self._findings += self._frames.findings(bag.start_ns)
        for check in self._checks.values():
            self._findings += check.complaints.findings(bag.start_ns)
        rows = [timing.row() | self._image_figures(timing.topic) for timing in self._timings.values()]
        findings = sorted(self._findings, key=lambda finding: finding.level != FAILURE)
        return BagReport(bag.folder, (bag.end_ns - bag.start_ns) / 1e9, count, rows, findings)

    def _full_name(self, relative: str) -> str:
        return f"{self._prefix}/{relative.lstrip('/')}"

    def _name_of(self, stream: RecordedStream) -> str:
        """Full name of a stream in the bag: of a camera the raw or the compressed topic, whichever was recorded."""
        name, raw = self._full_name(stream.bag_topic), self._full_name(stream.topic)
        others = (raw, f"{raw}/compressed") if stream.required and stream.type_name == IMAGE_TYPE else ()
        topics = self._bag.topics
        return next((other for other in (name, *others) if other in topics), name)

    def _asked_images(self) -> set[str] | None:
        """Topics of the contract's cameras, raw and compressed; None without a contract, when any may be one."""
        if self._contract is None:
            return None
        raw = [self._full_name(camera.topic) for camera in self._contract.cameras.values()]
        return {*raw, *(f"{name}/compressed" for name in raw)}

    def _limits(self, details: Mapping[str, BagTopic]) -> dict[str, TimingLimits]:
        streams = recorded_streams(self._contract) if self._contract else ()
        described, clocked = self._episode.get("streams") or {}, not is_simulated(self._episode)
        found = {}
        for stream in streams:
            name = self._name_of(stream)
            # Of several publishers on one topic the counters mean nothing; the recorder has noticed that.
            counted = described.get(stream.topic, {}).get("published", 0) is not None
            if stream.required or name in details:
                found[name] = TimingLimits.of(stream, counted, clocked)
        return found | {name: TimingLimits(clocked=clocked) for name in details if name not in found}

    def _add(self, entry: RawMessage) -> None:
        stamp_ns = entry.publish_time_ns
        if entry.topic in self._stamped:
            try:
                stamp_ns = read_stamp_ns(entry.data)  # type: ignore[arg-type]  # a view reads as bytes do
            except SerializedMessageError as error:
                self._undecodable.add(f"{entry.topic}: {error}")
        # A stamp of zero is what a publisher sends that has none.
        timing_ns = stamp_ns or entry.publish_time_ns
        self._unset[entry.topic] += stamp_ns == 0
        self._timings[entry.topic].add(entry.log_time_ns, timing_ns, entry.sequence, len(entry.data))
        self._frames.add(entry.topic, entry.data, entry.sequence, entry.log_time_ns)
        image, check = self._images.get(entry.topic), self._checks.get(entry.topic)
        if image is not None:
            image.add(entry)
        if check is not None:
            try:
                check.add(entry.log_time_ns, self._bag.decode(entry))
            except (BagError, AttributeError, TypeError) as error:
                check.complaints.add("decode", entry.log_time_ns, f"a message cannot be decoded: {error}")

    def _image_figures(self, topic: str) -> dict[str, Any]:
        image = self._images.get(topic)
        if image is None:
            return {}
        return {"repeated_pictures": image.repeated, "frames_lost": self._frames.lost(topic)}

    def _on_damage(self, damage: McapDamage) -> None:
        at_s = None if damage.start_ns is None else (damage.start_ns - self._bag.start_ns) / 1e9
        lost = "" if damage.messages is None else f", {damage.messages} messages lost"
        what = f"{damage} at byte {damage.offset}{lost}; see dp bag repair"
        self._findings.append(BagFinding(FAILURE, self._bag.path.name, what, at_s))

    def _check_file(self, count: int) -> None:
        bag = self._bag
        if not bag.complete:
            what = "the file has no end: its recorder was killed, or is still recording; see dp bag repair"
            self._complain(FAILURE, bag.path.name, what)
            return
        if not bag.indexed:
            self._complain(FAILURE, bag.path.name, "the index of the file is damaged; see dp bag repair")
            return
        indexed = sum(bag.message_counts.values())
        if indexed != count:
            self._complain(FAILURE, bag.path.name, f"{count} messages can be read, its index says {indexed}")
        information = read_information(bag.folder)
        # A whole file of another writer needs no metadata beside it.
        level = WARNING if information is None and not self._episode else FAILURE
        for line in information_differences(information, bag):
            self._complain(level, bag.path.name, f"{line}; see dp bag repair")

    def _check_episode(self) -> None:
        episode, bag = self._episode, self._bag
        for line in sorted(self._undecodable):
            self._complain(FAILURE, bag.path.name, line)
        if not episode:
            return
        if episode.get("state") != "closed":
            what = f"state is {episode.get('state')!r}, expected 'closed'; see dp bag repair"
            self._complain(FAILURE, EPISODE_FILE, what)
            return
        if episode.get("verdict") in ("bad", "suspect"):
            reasons = "; ".join(episode.get("reasons", ())) or "no reason given"
            self._complain(WARNING, EPISODE_FILE, f"the recorder's verdict is {episode['verdict']}: {reasons}")
        self._check_counts(episode)
        span_s, told_s = (bag.end_ns - bag.start_ns) / 1e9, float(episode.get("duration_s") or 0.0)
        if span_s > told_s + _DURATION_S:
            what = f"duration_s is {told_s:.2f} s, the messages span {span_s:.2f} s"
            self._complain(WARNING, EPISODE_FILE, what)
        if episode.get("contract") and contract_hash(episode["contract"]) != episode.get("contract_hash"):
            self._complain(
                WARNING, EPISODE_FILE, f"contract_hash {episode.get('contract_hash')!r} is another contract's"
            )

    def _check_contract(self, count: int) -> None:
        """What no figure of a stream shows: nothing at all, messages of another type, and such without a time."""
        if not count:
            self._complain(FAILURE, self._bag.path.name, "the bag holds no messages")
        types = self._bag.topics
        for stream in recorded_streams(self._contract) if self._contract else ():
            name, level = self._name_of(stream), FAILURE if stream.required else WARNING
            wanted = COMPRESSED_IMAGE_TYPE if name != self._full_name(stream.topic) else stream.type_name
            if types.get(name, wanted) != wanted:
                self._complain(level, name, f"its type is {types[name]}, the contract asks for {wanted}")
            if unset := self._unset[name]:
                self._complain(level, name, f"{unset} stamps are not set (0): nobody knows when that was measured")

    def _check_counts(self, episode: Mapping[str, Any]) -> None:
        counts = self._bag.message_counts
        for topic, told in (episode.get("streams") or {}).items():
            compressed = str(told.get("type", "")).endswith("CompressedImage")
            name = self._full_name(f"{topic}/compressed" if compressed and not topic.endswith("compressed") else topic)
            expected = int(told.get("received", 0)) - int(told.get("dropped", 0))
            if counts.get(name, 0) != expected:
                what = f"{counts.get(name, 0)} messages, {EPISODE_FILE} says {expected} were written"
                self._complain(FAILURE, name, what)

    def _read_episode(self) -> dict[str, Any]:
        try:
            episode, wrong = of_known_types(self._bag.episode)
            for line in wrong:
                self._complain(FAILURE, EPISODE_FILE, line)
            return episode
        except BagError as error:
            if (self._bag.folder / EPISODE_FILE).exists():
                self._complain(FAILURE, EPISODE_FILE, str(error))
            return {}

    def _complain(self, level: str, where: str, what: str) -> None:
        self._findings.append(BagFinding(level, where, what))


def _has_header(topic: BagTopic) -> bool:
    return topic.definition_encoding == "ros2msg" and bool(_HEADER_FIRST.match(topic.definition))
