"""`python -m dp_camera.bench`: what a frame costs, from the camera's buffer to the middleware.

The same frame is published in turns as the node does it, in one copy into serialized bytes, and with rclpy's own
message class (filled the fast way, from an `array.array`; rclpy serializes it). Nobody subscribes: what readers cost is
the same for both.
"""

from __future__ import annotations

import argparse
import array
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from dp_ros.messages import ns_to_stamp
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from dp_camera.serialized_image import SerializedImage
from dp_ros import qos

STAMP_NS = 1_700_000_000_000_000_000


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description="Milliseconds per frame from the camera's buffer to the middleware, in one copy and through rclpy.",
        epilog="example: python -m dp_camera.bench --width 1280 --height 720",
    )
    parser.add_argument("--width", type=int, default=640, help="pixels (default: 640)")
    parser.add_argument("--height", type=int, default=480, help="pixels (default: 480)")
    parser.add_argument("--frames", type=int, default=300, help="frames of each way (default: 300)")
    args = parser.parse_args()
    pixels = np.random.default_rng(0).integers(0, 255, (args.height, args.width, 3), dtype=np.uint8)
    rclpy.init()
    node = Node("camera_bench")
    try:
        publisher = node.create_publisher(Image, "camera_bench/image", qos.IMAGE)
        ways = _ways(pixels, publisher)
        times = measure(ways, args.frames)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    print(f"{args.width}x{args.height} rgb8, {pixels.nbytes / 1e6:.2f} MB, {args.frames} frames each, in turns")
    print(f"{'':34s}{'CPU ms p50':>12s}{'CPU ms mean':>13s}")
    for name, figures in times.items():
        print(f"{name:34s}{1e3 * statistics.median(figures):12.3f}{1e3 * statistics.fmean(figures):13.3f}")


def measure(ways: dict[str, Callable[[], None]], frames: int) -> dict[str, list[float]]:
    """Processor time of each call, s, the ways in turns so that a busy machine is the same to all."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(frames + 10):
        for name, way in ways.items():
            begun = time.thread_time()
            way()
            if round_ >= 10:  # the first ones warm up
                times[name].append(time.thread_time() - begun)
    return times


def _ways(pixels: NDArray[np.uint8], publisher: Any) -> dict[str, Callable[[], None]]:
    height, width, _ = pixels.shape
    made = SerializedImage("optical", width, height, "rgb8", 3)

    def message() -> Image:
        image = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        image.header.frame_id, image.header.stamp = "optical", ns_to_stamp(STAMP_NS)
        image.data = array.array("B", pixels.tobytes())
        return image

    return {
        "one copy: serialize": lambda: _drop(made.serialize(pixels, STAMP_NS)),
        "one copy: serialize and publish": lambda: publisher.publish(made.serialize(pixels, STAMP_NS)),
        "rclpy Image: serialize": lambda: _drop(serialize_message(message())),
        "rclpy Image: fill and publish": lambda: publisher.publish(message()),
    }


def _drop(made: bytes) -> None:
    """Keeps nothing."""


if __name__ == "__main__":
    main()
