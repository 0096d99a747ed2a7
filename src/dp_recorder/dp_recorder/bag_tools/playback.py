"""Plays a bag over DDS at its own pace, as `ros2 bag play` does, without decoding a message.

Messages are due at absolute times on the monotonic clock, so that errors do not add up. What is published is what was
recorded, byte for byte, with the QoS that was offered then.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dp_dataset.bag_reader import BagError, BagReader, RawMessage
from dp_ros.messages import ns_to_stamp
from dp_ros.monotonic_sleep import MonotonicSleeper
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rosgraph_msgs.msg import Clock

from dp_recorder.bag_tools.bag_copy import is_latched, offered_profiles
from dp_recorder.bag_tools.play_selection import PlayedTopic
from dp_recorder.bag_tools.raw_picture import raw_image_message
from dp_recorder.bag_tools.running_quantiles import RunningQuantiles
from dp_recorder.ros_types import message_class
from dp_ros import qos

PAUSE, NEXT, QUIT = "pause", "next", "quit"
#: A message published later than this after it was due is counted as late, s.
LATE_S = 0.01
_UNKNOWN_DEPTH = 100
#: Keys are looked at this often while nothing is due, ns.
_WATCH_NS = 20_000_000
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class PlaySettings:
    """How a bag is played.

    Attributes:
        rate: Times real time, 0.01 to 100.
        start_s: Begin, s after the first message.
        duration_s: How much of the bag, s; None for all.
        loop: Begin again at the end, until stopped.
        clock_hz: Rate of /clock, 0 for none.
        paused: Begin paused.
    """

    rate: float = 1.0
    start_s: float = 0.0
    duration_s: float | None = None
    loop: bool = False
    clock_hz: float = 0.0
    paused: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0.01 <= self.rate <= 100:
            raise BagError(f"rate {self.rate:g}, valid: 0.01 to 100")
        if self.start_s < 0 or (self.duration_s is not None and self.duration_s <= 0):
            raise BagError("start must not be negative, and duration must be above 0")
        if not 0 <= self.clock_hz <= 1000:
            raise BagError(f"clock {self.clock_hz:g} Hz, valid: 0 to 1000")


@dataclass
class PlayResult:
    """What was played.

    Attributes:
        published: Messages by name published under.
        late: Messages more than 10 ms after they were due.
        latest_s: The latest of them, s.
        late_p99_s: 99 % were published before this after they were due, s.
        failed: Messages that could not be published, with the reason of the first.
        loops: How often the end was reached.
    """

    published: dict[str, int] = field(default_factory=dict)
    late: int = 0
    latest_s: float = 0.0
    late_p99_s: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    loops: int = 0


class BagPlayer:
    """Publishes topics of a bag; used by one thread."""

    def __init__(self, node: Node, bag: BagReader, topics: Sequence[PlayedTopic], settings: PlaySettings) -> None:
        """Create the publishers.

        Args:
            node: That publishes.
            bag: To be played.
            topics: See ``select_topics``.
            settings: How.

        Raises:
            BagError: If a message type is not installed, or the start lies behind the end of the bag.
        """
        self._node = node
        self._bag = bag
        self._settings = settings
        self._topics = {topic.source.name: topic for topic in topics}
        self._start_ns = bag.start_ns + round(settings.start_s * _SECOND_NS)
        self._end_ns = bag.end_ns + 1
        if settings.duration_s is not None:
            self._end_ns = min(self._end_ns, self._start_ns + round(settings.duration_s * _SECOND_NS))
        if self._start_ns > bag.end_ns:
            raise BagError(f"start {settings.start_s:g} s lies behind the end of {bag.folder.name}")
        self._publishers = {name: _publisher(node, topic) for name, topic in self._topics.items()}
        self._clock = node.create_publisher(Clock, "/clock", qos.CLOCK) if settings.clock_hz else None
        self._clock_period_ns = round(_SECOND_NS / settings.clock_hz) if settings.clock_hz else 0
        self._sleeper = MonotonicSleeper()
        self._lateness = RunningQuantiles()
        self._paused = settings.paused
        self._origin_ns = 0
        self._next_clock_ns = 0
        self.result = PlayResult(published={topic.name: 0 for topic in topics})

    def unheard(self) -> list[str]:
        """Names that nobody listens to at this moment."""
        return [
            self._topics[name].name
            for name, publisher in self._publishers.items()
            if publisher.get_subscription_count() == 0
        ]

    def occupied(self, timeout_s: float) -> list[str]:
        """Names that another node publishes; looks for so long at most, since it takes a moment to hear of others."""
        own = self._node.get_name(), self._node.get_namespace()
        names = [publisher.topic_name for publisher in (*self._publishers.values(), self._clock) if publisher]
        until = time.monotonic() + timeout_s
        while True:
            found = [
                name
                for name in names
                for info in self._node.get_publishers_info_by_topic(name)
                if (info.node_name, info.node_namespace) != own
            ]
            if found or time.monotonic() > until:
                return list(dict.fromkeys(found))
            time.sleep(0.02)

    def wait_for_subscribers(self, timeout_s: float, stopped: Callable[[], bool] = lambda: False) -> list[str]:
        """Wait until every topic is listened to; returns those that still are not when time is up."""
        until = time.monotonic() + timeout_s
        while (missing := self.unheard()) and time.monotonic() < until and not stopped():
            time.sleep(0.02)
        return missing

    def play(
        self,
        keys: Callable[[], Sequence[str]] = lambda: (),
        on_time: Callable[[float, bool], None] = lambda position_s, paused: None,
    ) -> PlayResult:
        """Play to the end, or until ``quit``.

        Args:
            keys: Asked often for what a person wants: ``pause`` (and on again), ``next`` message, ``quit``.
            on_time: Told the place in the bag, s after its first message, and whether it is paused.

        Returns:
            The result, also in ``result`` while playing.
        """
        while True:
            alive = self._play_once(keys, on_time)
            self.result.loops += alive
            if not alive or not self._settings.loop:
                break
        self.result.late_p99_s = self._lateness.quantile(0.99)
        return self.result

    def _play_once(self, keys: Callable[[], Sequence[str]], on_time: Callable[[float, bool], None]) -> bool:
        """One pass; False when a person ended it."""
        messages = self._messages()
        first = next(messages, None)
        # Counted from here: finding and unpacking the first message took its time.
        self._origin_ns = time.monotonic_ns()
        self._next_clock_ns = self._start_ns
        for entry in itertools.chain([first] if first is not None else [], messages):
            stepped = False
            while True:
                wanted = list(keys())
                if QUIT in wanted:
                    return False
                for _ in range(wanted.count(PAUSE)):
                    self._toggle(entry.log_time_ns)
                due_ns = self._due_ns(entry.log_time_ns)
                on_time((entry.log_time_ns - self._bag.start_ns) / 1e9, self._paused)
                if self._paused:
                    stepped = NEXT in wanted
                    if stepped:
                        break
                    time.sleep(_WATCH_NS / 1e9)
                    continue
                if self._wait(due_ns):
                    break
            if not stepped:
                self._note_lateness(time.monotonic_ns() - due_ns)
            self._publish(entry)
        return True

    def _messages(self) -> Iterator[RawMessage]:
        """What late subscribers would have been told at the start, then the messages in between."""
        latched = [name for name, topic in self._topics.items() if is_latched(topic.source)]
        last: dict[str, RawMessage] = {}
        if latched and self._start_ns > self._bag.start_ns:
            for entry in self._bag.read_raw(latched, end_ns=self._start_ns):
                last[entry.topic] = entry._replace(data=memoryview(bytes(entry.data)))
        for entry in last.values():
            yield entry._replace(log_time_ns=self._start_ns)
        yield from self._bag.read_raw(
            self._topics, start_ns=self._start_ns, end_ns=self._end_ns, on_damage=lambda damage: None
        )

    def _due_ns(self, log_time_ns: int) -> int:
        return self._origin_ns + round((log_time_ns - self._start_ns) / self._settings.rate)

    def _toggle(self, log_time_ns: int) -> None:
        self._paused = not self._paused
        if not self._paused:
            # The next message is due now, however long the pause was.
            self._origin_ns = time.monotonic_ns() - round((log_time_ns - self._start_ns) / self._settings.rate)

    def _wait(self, due_ns: int) -> bool:
        """Sleep towards a time, publishing /clock; True once it has come, False to look at the keys again."""
        if self._clock is not None:
            clock_due_ns = self._due_ns(self._next_clock_ns)
            while clock_due_ns <= due_ns and clock_due_ns <= time.monotonic_ns():
                self._clock.publish(Clock(clock=ns_to_stamp(self._next_clock_ns)))
                self._next_clock_ns += self._clock_period_ns
                clock_due_ns = self._due_ns(self._next_clock_ns)
            if clock_due_ns < due_ns:
                self._sleeper.sleep_until(min(clock_due_ns, time.monotonic_ns() + _WATCH_NS))
                return False
        now_ns = time.monotonic_ns()
        if due_ns - now_ns > _WATCH_NS:
            self._sleeper.sleep_until(now_ns + _WATCH_NS)
            return False
        self._sleeper.sleep_until(due_ns)
        return True

    def _note_lateness(self, late_ns: int) -> None:
        late_s = max(0, late_ns) / 1e9
        self._lateness.add(late_s)
        self.result.late += late_s > LATE_S
        self.result.latest_s = self._lateness.maximum

    def _publish(self, entry: RawMessage) -> None:
        topic = self._topics[entry.topic]
        try:
            data = raw_image_message(entry) if topic.decoded else bytes(entry.data)
        except ValueError as error:
            self.result.failed.setdefault(topic.name, str(error))
            return
        self._publishers[entry.topic].publish(data)
        self.result.published[topic.name] += 1


def _publisher(node: Node, topic: PlayedTopic) -> Any:
    try:
        kind = message_class(topic.type_name)
    except ValueError as error:
        raise BagError(f"{topic.source.name} cannot be played: {error}; leave it out with --exclude") from error
    return node.create_publisher(kind, topic.name, recorded_qos(topic))


def recorded_qos(topic: PlayedTopic) -> QoSProfile:
    """QoS to play a topic with: what all recorded publishers offered, reliable and volatile if nothing is known."""
    profiles = offered_profiles(topic.source)
    reliable = all(profile.reliability != "best_effort" for profile in profiles)
    latched = bool(profiles) and all(profile.durability == "transient_local" for profile in profiles)
    depth = max((profile.depth for profile in profiles), default=0) or _UNKNOWN_DEPTH
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.TRANSIENT_LOCAL if latched else QoSDurabilityPolicy.VOLATILE,
    )
