"""Takes serialized messages from the middleware, cheaply and without losing any.

Dispatching each message through an executor costs about 100 us of Python; taking it by hand costs 3 us. So the
subscriptions belong to a callback group that no executor serves, and one thread empties all of them every few
milliseconds. The middleware keeps what arrives in between, stamps its receipt and passes on the publisher's own
counter, by which losses show.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Protocol, cast

from dp_ros.qos import matching_qos
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import ClockType, ROSClock
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock

from dp_recorder.bag_writer import OfferedQos
from dp_recorder.message_queue import QueuedMessage
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.ros_types import message_class, offered_qos
from dp_recorder.serialized_message import SerializedMessageError, read_stamp_ns

_CLOCK_TOPIC = "/clock"
_QUIET_ROUNDS = 4
_QUIET_S = 1.0
_LOG_TIME = attrgetter("log_time_ns")
_CLOCK_QOS = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.BEST_EFFORT)


class MessageSink(Protocol):
    """Takes messages over, as ``EpisodeWriter`` does."""

    def put(self, messages: list[QueuedMessage]) -> int:
        """Take messages; returns how many were refused."""


class _UnservedGroup(CallbackGroup):
    """A callback group that no executor may serve: its subscriptions are emptied by hand."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        return None


class _Source:
    """One subscribed stream and what was last seen on it. Guarded by the receiver's lock."""

    def __init__(self, stream: RecordedStream) -> None:
        self.stream = stream
        self.message_class = message_class(stream.type_name)
        self.subscription: Any = None
        self.strength: tuple[Any, Any] | None = None
        self.offered: list[OfferedQos] = []
        self.sequence: int | None = None
        self.received_monotonic_s: float | None = None
        self.last_message: bytes | None = None


class StreamReceiver:
    """Subscribes to streams and hands their messages, in batches, to a sink while one is attached.

    Thread contract: a thread of its own receives; all methods may be called from any thread.
    """

    def __init__(
        self, node: Node, streams: Sequence[RecordedStream], *, simulated: bool, period_s: float | None = None
    ) -> None:
        """Subscribe and start receiving.

        Args:
            node: Node that owns the subscriptions.
            streams: What to subscribe to; messages carry the index into this sequence.
            simulated: Receipt times are those of /clock; otherwise those of the middleware.
            period_s: Interval at which subscriptions are emptied, s; None for 10 ms, or 5 ms where receipt times
                come from it.
        """
        self._node = node
        self._simulated = simulated
        self._period_s = period_s if period_s is not None else (0.005 if simulated else 0.01)
        self._rounds = 1 if simulated else _QUIET_ROUNDS
        self._group = _UnservedGroup()
        self._lock = threading.Lock()
        self._sources = [_Source(stream) for stream in streams]
        self._sink: MessageSink | None = None
        self._on_refused: Callable[[int], None] = lambda count: None
        self._sim_ns = 0
        self._passes = 0
        self._failure: str | None = None
        self._closed = threading.Event()
        self._clock = self._take_over_clock() if simulated else None
        self.refresh()
        self._thread = threading.Thread(target=self._run, name="receive streams", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why nothing is received any more; None while all is well."""
        return self._failure

    def now_ns(self) -> int:
        """Present ROS time, ns."""
        return self._sim_ns if self._simulated else int(self._node.get_clock().now().nanoseconds)

    def refresh(self) -> None:
        """Look at the publishers there are now, and subscribe with the strongest QoS that all of them offer.

        A reliable subscription to a best-effort publisher receives nothing, without a word.
        """
        for source in self._sources:
            topic = source.stream.topic
            source.offered = self._offers(topic)
            if source.offered:
                wanted = matching_qos(self._node, topic, source.stream.depth)
            elif source.subscription is None:
                wanted = QoSProfile(depth=source.stream.depth, reliability=QoSReliabilityPolicy.RELIABLE)
            else:
                continue
            strength = (wanted.reliability, wanted.durability)
            if strength != source.strength:
                self._replace(source, wanted)
                source.strength = strength

    def missing(self, max_silence_s: float = 2.0) -> list[RecordedStream]:
        """Required streams that sent nothing within ``max_silence_s`` of wall time, or three of their periods."""
        now_s = time.monotonic()
        silent = []
        for source in self._sources:
            patience_s = max(max_silence_s, 3.0 / source.stream.rate_hz if source.stream.rate_hz else 0.0)
            last_s = source.received_monotonic_s
            if source.stream.required and (last_s is None or now_s - last_s > patience_s):
                silent.append(source.stream)
        return silent

    def ever_received(self, index: int) -> bool:
        """True once a message of the stream has come."""
        return self._sources[index].received_monotonic_s is not None

    def publisher_count(self, index: int) -> int:
        """Publishers of a stream at the last ``refresh``."""
        return len(self._sources[index].offered)

    def offered_qos(self, index: int) -> list[OfferedQos]:
        """Profiles that the publishers of a stream offered at the last ``refresh``, or offer now if none did then.

        The first message of a publisher may be here before the next ``refresh``, and its bag needs the profile.
        """
        source = self._sources[index]
        return source.offered or self._offers(source.stream.topic)

    def last_message(self, index: int) -> bytes | None:
        """The newest serialized message of a stream."""
        return self._sources[index].last_message

    def sequences(self) -> list[int | None]:
        """Counter of each stream's publisher at the newest message."""
        with self._lock:
            return [source.sequence for source in self._sources]

    def attach(
        self, build: Callable[[Sequence[int | None]], MessageSink], on_refused: Callable[[int], None]
    ) -> None:
        """Hand everything received from now on to a sink.

        Args:
            build: Makes the sink from the counters of ``sequences``; nothing is received in between.
            on_refused: Called on the receiving thread with the number of messages a sink refused.
        """
        with self._lock:
            self._sink = build([source.sequence for source in self._sources])
            self._on_refused = on_refused

    def detach(self) -> None:
        """Stop handing over messages; when this returns, the sink gets no more."""
        with self._lock:
            self._sink = None

    def settle(self, passes: int = _QUIET_ROUNDS + 1, timeout_s: float = 1.0) -> None:
        """Wait until messages that were under way have been received: a few rounds of the receiving thread."""
        target = self._passes + passes
        deadline_s = time.monotonic() + timeout_s
        while self._passes < target and self._failure is None and time.monotonic() < deadline_s:
            time.sleep(self._period_s)

    def close(self) -> None:
        """Stop receiving."""
        self._closed.set()
        self._thread.join(timeout=2.0)

    def _offers(self, topic: str) -> list[OfferedQos]:
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic))
        return [offered_qos(info.qos_profile) for info in publishers]

    def _take_over_clock(self) -> Any:
        """Take /clock by hand as well: at several times real time its callbacks would cost most of the CPU."""
        for subscription in self._node.subscriptions:
            if subscription.topic_name == _CLOCK_TOPIC:
                # Its event handlers too: they wake the executor for as long as a message waits to be taken.
                for entity in [subscription, *cast(list[Any], subscription.event_handlers)]:
                    entity.callback_group = self._group
                return subscription
        return self._subscribe(Clock, _CLOCK_TOPIC, _CLOCK_QOS)

    def _subscribe(self, kind: Any, topic: str, profile: QoSProfile) -> Any:
        return self._node.create_subscription(
            kind, topic, _never_called, profile, callback_group=self._group, raw=True
        )

    def _replace(self, source: _Source, profile: QoSProfile) -> None:
        replacement = self._subscribe(source.message_class, source.stream.topic, profile)
        with self._lock:
            previous, source.subscription = source.subscription, replacement
        if previous is not None:
            self._node.destroy_subscription(previous)

    def _run(self) -> None:
        next_s = time.monotonic()
        while not self._closed.is_set():
            try:
                with self._lock:
                    self._receive()
            except Exception as error:
                # Without this thread nothing is recorded: the node reports it and refuses to go on.
                self._failure = f"receiving stopped: {type(error).__name__}: {error}"
                return
            self._passes += 1
            next_s = max(next_s + self._period_s, time.monotonic())
            self._closed.wait(max(next_s - time.monotonic(), 0.001))

    def _receive(self) -> None:
        """One round over all subscriptions; the lock is held."""
        if self._clock is not None:
            self._advance_clock(_take_all(self._clock, Clock))
        now_s = time.monotonic()
        batch: list[QueuedMessage] = []
        # A look at an empty subscription costs as much as a message: streams that are quiet get one in a few rounds.
        whole_round = self._passes % self._rounds == 0
        for index, source in enumerate(self._sources):
            if not whole_round and now_s - (source.received_monotonic_s or 0.0) > _QUIET_S:
                continue
            taken = _take_all(source.subscription, source.message_class)
            if not taken:
                continue
            source.received_monotonic_s = now_s
            source.sequence = taken[-1][1]["publication_sequence_number"]
            source.last_message = taken[-1][0]
            if self._sink is not None:
                self._queue(index, taken, batch)
        if batch and self._sink is not None:
            # Streams are emptied one after the other; in the bag their messages stand as they came.
            batch.sort(key=_LOG_TIME)
            refused = self._sink.put(batch)
            if refused:
                self._on_refused(refused)

    def _advance_clock(self, taken: list[tuple[bytes, dict[str, Any]]]) -> None:
        if taken:
            self._sim_ns = read_stamp_ns(taken[-1][0])
            clock = cast(ROSClock, self._node.get_clock())
            clock.set_ros_time_override(Time(nanoseconds=self._sim_ns, clock_type=ClockType.ROS_TIME))

    def _queue(self, index: int, taken: list[tuple[bytes, dict[str, Any]]], batch: list[QueuedMessage]) -> None:
        for data, info in taken:
            try:
                stamp_ns = read_stamp_ns(data)
            except SerializedMessageError:
                stamp_ns = 0
            # Nothing is received before it was acquired; /clock may merely arrive after the message it belongs to.
            received_ns = max(self._sim_ns, stamp_ns) if self._simulated else info["received_timestamp"]
            sequence = info["publication_sequence_number"] or 0
            batch.append(QueuedMessage(index, data, received_ns, stamp_ns, sequence))


def _take_all(subscription: Any, kind: Any) -> list[tuple[bytes, dict[str, Any]]]:
    taken = []
    handle = subscription.handle
    with handle:
        while (entry := handle.take_message(kind, True)) is not None:
            taken.append(entry)
    return taken


def _never_called(message: bytes) -> None:
    raise AssertionError("a subscription that is emptied by hand was served by an executor")
