"""The way of an episode's messages from the queue into the bag, on threads of its own.

One thread takes messages from the queue, keeps their order and builds chunks; images are compressed by others beside
it (OpenCV computes without the interpreter's lock), and the disk has one of its own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from dp_core.images import Image, encode_jpeg, image_from_bytes

from dp_recorder.bag_writer import BagSummary, BagWriter, OfferedQos
from dp_recorder.message_queue import MessageQueue, QueuedMessage
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.serialized_message import SerializedImage, SerializedMessageError, read_image, write_compressed_image
from dp_recorder.type_definitions import load_type_definition

OfferedQosSource = Callable[[int], Sequence[OfferedQos]]
_BATCH_BYTES = 8 * 2**20
#: The thread is not woken for less than this; it looks by itself after ``_NAP_S``.
_WORTHWHILE_BYTES = 2**20
_NAP_S = 0.05
_COMPRESSING_THREADS = 2
_COMPRESSED_AHEAD = 8
_RATE_SPAN_S = 2.0


class BagPipeline:
    """Writes what a queue delivers to a bag, until the queue is closed and empty; then finishes the bag.

    Thread contract: properties may be read from any thread; ``join`` once the queue is closed.
    """

    def __init__(
        self,
        bag: BagWriter,
        queue: MessageQueue,
        streams: Sequence[RecordedStream],
        *,
        namespace: str,
        offered_qos: OfferedQosSource,
        flush_period_s: float,
        on_unwritable: Callable[[int, str], None] = lambda stream, reason: None,
    ) -> None:
        """Start writing.

        Args:
            bag: The bag; owned by the pipeline from here on.
            queue: Delivers messages.
            streams: What may come, in the order of the index that messages carry.
            namespace: Put before the names of the streams.
            offered_qos: Gives the QoS offered on a stream; asked from the writing thread.
            flush_period_s: Interval at which everything written is sent to the disk, s.
            on_unwritable: Told, on the writing thread, of each message that is left out because it is no image that
                can be compressed: its stream, and why.
        """
        self._bag = bag
        self._queue = queue
        self._streams = tuple(streams)
        self._namespace = namespace.rstrip("/")
        self._offered_qos = offered_qos
        self._flush_period_s = flush_period_s
        self._on_unwritable = on_unwritable
        self._definitions = [load_type_definition(stream.bag_type_name) for stream in self._streams]
        self._channels: dict[int, int] = {}
        self._failure: str | None = None
        self._ahead: deque[tuple[QueuedMessage, Future[bytes] | None]] = deque()
        self._compressing = 0
        self._pool: ThreadPoolExecutor | None = None
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._thread = threading.Thread(target=self._run, name=f"write {bag.folder.name}", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why writing stopped; None while it works."""
        return self._failure

    @property
    def bytes_per_s(self) -> float:
        """Bytes handed to the system per second over the last two seconds."""
        samples = tuple(self._samples)
        (first_s, first), (last_s, last) = samples[0], samples[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0

    @property
    def flush_delay_s(self) -> float:
        """How long data waits for the disk, s: by the last flush, or the present one if it takes longer."""
        return self._bag.disk_delay_s

    def join(self) -> tuple[int, Counter[int]]:
        """Wait for the bag to be finished; the queue must have been closed.

        Returns:
            Bytes of the bag, and messages in it by stream.
        """
        self._thread.join()
        counts = self._bag.topic_counts()
        by_stream = Counter({index: counts[self._name(index)] for index in self._channels})
        return self._bag.path.stat().st_size if self._bag.path.exists() else 0, by_stream

    def _run(self) -> None:
        """Until closed or the disk refuses. The bag is finished here because no signal interrupts this thread."""
        try:
            self._write_all()
            self._bag.close()
        except Exception as error:
            # Whatever happens here must reach the operator; the queue then counts all that follows as dropped.
            self._failure = f"writing stopped: {error}"
            self._queue.close()
            if self._rescue(error) is None:
                self._failure += "; the bag could not be finished, `dp bag repair` does it once there is room"
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def _rescue(self, error: Exception) -> BagSummary | None:
        """Finish the bag with what can be kept; None if that failed, too."""
        if not isinstance(error, OSError):
            with contextlib.suppress(OSError):
                return self._bag.close()
        return self._bag.salvage()

    def _write_all(self) -> None:
        flushed_s = time.monotonic()
        while not self._queue.finished:
            for message in self._queue.take(_NAP_S, _BATCH_BYTES, _WORTHWHILE_BYTES):
                self._accept(message)
            self._write_ready(_COMPRESSED_AHEAD)
            now_s = time.monotonic()
            if now_s - flushed_s >= self._flush_period_s - _NAP_S:
                self._write_ready(0)
                self._bag.flush_soon()
                flushed_s = now_s
                self._sample(now_s)
        self._write_ready(0)

    def _sample(self, now_s: float) -> None:
        self._samples.append((now_s, self._bag.disk_bytes))
        while len(self._samples) > 2 and now_s - self._samples[0][0] > _RATE_SPAN_S:
            self._samples.popleft()

    def _accept(self, message: QueuedMessage) -> None:
        """Write a message, or line it up behind images that are being compressed."""
        stream = self._streams[message.stream]
        if stream.recording == "jpeg":
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_COMPRESSING_THREADS, thread_name_prefix="compress")
            self._ahead.append((message, self._pool.submit(compress_image, message.data, stream.jpeg_quality)))
            self._compressing += 1
            self._write_ready(_COMPRESSED_AHEAD)
        elif self._ahead:
            self._ahead.append((message, None))
        else:
            self._write(message, message.data)

    def _write_ready(self, most_waiting: int) -> None:
        """Write what is compressed, in order, and wait until no more images than this are unfinished."""
        while self._ahead:
            message, compressed = self._ahead[0]
            if compressed is None:
                self._write(message, message.data)
            else:
                if not compressed.done() and self._compressing <= most_waiting:
                    return
                self._write_compressed(message, compressed)
                self._compressing -= 1
            self._ahead.popleft()

    def _write_compressed(self, message: QueuedMessage, compressed: Future[bytes]) -> None:
        """One bad image costs itself, not the rest of the episode."""
        try:
            data = compressed.result()
        except Exception as error:  # of any kind: it is the message's
            self._on_unwritable(message.stream, f"it cannot be compressed: {error}")
        else:
            self._write(message, data)

    def _write(self, message: QueuedMessage, data: bytes) -> None:
        channel = self._channels.get(message.stream)
        if channel is None:
            definition = self._definitions[message.stream]
            qos = self._offered_qos(message.stream)
            channel = self._bag.add_topic(self._name(message.stream), definition, qos)
            self._channels[message.stream] = channel
        self._bag.write(channel, data, message.log_time_ns, message.publish_time_ns, message.sequence)

    def _name(self, stream: int) -> str:
        return f"{self._namespace}/{self._streams[stream].bag_topic}"


def compress_image(message: bytes, quality: int) -> bytes:
    """Turn a serialized ``sensor_msgs/Image`` into a ``sensor_msgs/CompressedImage``, header kept.

    Raises:
        SerializedMessageError: If it is not an 8-bit colour image.
    """
    image, pixels = _picture(message)
    image_format = f"{image.encoding}; jpeg compressed bgr8"
    return write_compressed_image(image.stamp_ns, image.frame_id, image_format, encode_jpeg(pixels, quality))


def compression_problem(message: bytes) -> str:
    """Why ``compress_image`` would refuse a message; empty if it would not."""
    try:
        _picture(message)
    except SerializedMessageError as error:
        return f"it cannot be recorded as JPEG: {error}"
    return ""


def _picture(message: bytes) -> tuple[SerializedImage, Image]:
    image = read_image(message)
    try:
        return image, image_from_bytes(image.data, image.width, image.height, image.encoding, image.step)
    except ValueError as error:
        raise SerializedMessageError(f"{image.frame_id}: {error}") from error
