"""The recorder one writes first: `python -m dp_bringup.recorder_bench.naive_recorder CONTRACT MODE FILE`.

Subscribes in the ordinary way, so that rclpy turns each message into an object; its callback serializes the object
again (for JPEG: compresses the image) and writes it with the mcap package, one message after the other. Commands come
on standard input: `mark` answers with what was received, `stop` finishes the file.
"""

from __future__ import annotations

import json
import sys
import threading
from array import array
from pathlib import Path
from typing import Any

import rclpy
from dp_core.contract import load_contract
from dp_core.images import encode_jpeg, image_from_bytes
from dp_recorder.ros_types import message_class
from dp_recorder.type_definitions import load_type_definition
from mcap.writer import CompressionType, Writer
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message

from dp_bringup.recorder_bench.known_messages import JPEG_QUALITY

_DEPTH = 100
_IMAGE, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


class NaiveRecorder:
    """Subscribes to everything and writes what comes."""

    def __init__(self, node: Any, topics: dict[str, str], mode: str, path: Path) -> None:
        self._node = node
        self._jpeg = mode == "jpeg"
        self._file = path.open("wb")
        compression = CompressionType.ZSTD if mode == "zstd" else CompressionType.NONE
        self._writer = Writer(self._file, compression=compression)
        self._writer.start(profile="ros2", library="naive")
        self._received = 0
        self._finished = False
        for name, type_name in topics.items():
            compressed = self._jpeg and type_name == _IMAGE
            definition = load_type_definition(_COMPRESSED if compressed else type_name)
            schema = self._writer.register_schema(definition.name, definition.encoding, definition.text.encode())
            channel = self._writer.register_channel(f"/{name}{'/compressed' if compressed else ''}", "cdr", schema)
            kind = message_class(type_name)
            node.create_subscription(kind, name, self._callback(channel, compressed), QoSProfile(depth=_DEPTH))

    def _callback(self, channel: int, compressed: bool) -> Any:
        def on_message(message: Any) -> None:
            if self._finished:
                return
            self._received += 1
            stamp = message.header.stamp
            data = serialize_message(_compress(message) if compressed else message)
            log_time = self._node.get_clock().now().nanoseconds
            self._writer.add_message(channel, log_time, data, stamp.sec * 10**9 + stamp.nanosec)

        return on_message

    def received(self) -> dict[str, int]:
        """Messages so far."""
        return {"received": self._received}

    def finish(self) -> None:
        """Close the file; on the executor's thread."""
        self._finished = True
        self._writer.finish()
        self._file.close()


def _compress(image: Any) -> Any:
    from sensor_msgs.msg import CompressedImage

    pixels = image_from_bytes(memoryview(image.data), image.width, image.height, image.encoding, image.step)
    data = array("B", encode_jpeg(pixels, JPEG_QUALITY))
    return CompressedImage(header=image.header, format="rgb8; jpeg compressed bgr8", data=data)


def main() -> None:
    """Record until told to stop."""
    path, mode, out = sys.argv[1:]
    contract = load_contract(Path(path))
    topics = {camera.topic: _IMAGE for camera in contract.cameras.values()}
    topics |= {stream.topic: stream.type for stream in contract.streams.values()}
    rclpy.init()
    node = rclpy.create_node("naive_recorder")
    recorder = NaiveRecorder(node, topics, mode, Path(out))
    stopping = threading.Event()

    def listen() -> None:
        print(json.dumps({}), flush=True)
        for line in sys.stdin:
            if line.strip() == "stop":
                break
            print(json.dumps(recorder.received()), flush=True)
        stopping.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        while not stopping.is_set():
            rclpy.spin_once(node, timeout_sec=0.1)
    except (ExternalShutdownException, KeyboardInterrupt):
        pass
    recorder.finish()
    print(json.dumps(recorder.received()), flush=True)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
