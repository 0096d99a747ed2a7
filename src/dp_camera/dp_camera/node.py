"""Camera node: the RealSense cameras of a cell's `camera_devices`, each on a thread of its own.

Publishes for each camera its image, `camera_info` and `metadata` beside it, on demand a JPEG and the aligned depth, and
`/diagnostics`. Stamps are the time of the light on the sensor (:mod:`dp_camera.frame_stamps`). A camera that is
unplugged publishes nothing, is an error in the diagnostics, and is started again when it is back.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from dp_core.camera_device import CameraDevice, camera_topics
from dp_core.configuration import ConfigurationError, require_choice
from dp_core.contract import CameraStream
from dp_ros.node_main import declare, declare_contract, run_node, start_worker
from rclpy.node import Node

from dp_camera.camera_health import CameraHealth
from dp_camera.camera_run import CameraRun
from dp_camera.frame_stamps import ClockReading, FrameStamper, default_transport_latency_s
from dp_camera.publications import CameraPublications, diagnostic_status
from dp_ros import qos


class CameraNode(Node):
    """ROS shell around :mod:`dp_camera.camera_run`; see the module.

    Args:
        cameras: a context of librealsense; None: USB, or software cameras when the parameter `software` asks for them.
    """

    def __init__(self, cameras: Any = None, **options: Any) -> None:
        super().__init__("camera", **options)
        self.failure = ""
        self._closed = threading.Event()
        self._contract = declare_contract(self)
        if self.get_parameter("use_sim_time").value:
            raise ConfigurationError(
                "use_sim_time: true is not valid; valid: false: real cameras know no simulated clock"
            )
        names = self._chosen()
        self._settle = declare(self, "settle_frames", 15, "Frames seen before the first is published.", low=2, high=300)
        self._lost_after_s = declare(
            self, "lost_after_s", 2.0, "Silence after which a camera is started anew, s.", low=0.2, high=30.0
        )
        software = declare(self, "software", False, "Test pictures of librealsense's software device instead of USB.")
        self._feeds: list[Any] = []
        connected = self._connect(cameras, [*names] if software else [])
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENT)
        self._runs = [self._build(name, connected) for name in names]
        self._threads = [start_worker(self, f"camera {run.name}", self._body(run)) for run in self._runs]
        self.create_timer(1.0, self._report)

    def close(self) -> None:
        """Stop the cameras."""
        self._closed.set()
        for thread in self._threads:
            thread.join(timeout=5.0)
        for feed in self._feeds:
            feed.close()

    def _chosen(self) -> list[str]:
        """The cameras of the parameter `cameras`, or all of the contract."""
        devices = self._contract.camera_devices
        if not devices:
            raise ConfigurationError(
                f"camera_devices: missing in cell {self._contract.name}; valid: an entry for each camera that this "
                "node opens, with its serial_number"
            )
        text = declare(self, "cameras", "", "Names of the cameras to open, separated by commas; empty: all.")
        names = [part.strip() for part in str(text).split(",") if part.strip()] or list(devices)
        for name in names:
            require_choice("cameras", name, devices)
        return names

    def _connect(self, context: Any, software: list[str]) -> Any:
        try:
            from dp_camera.realsense_devices import ConnectedCameras
        except ImportError as error:
            raise ConfigurationError(f"pyrealsense2: {error}; install it with: pip install pyrealsense2") from None
        if software:
            from dp_camera.software_camera import SoftwareContext
            from dp_camera.software_feed import SoftwareFeed

            context = SoftwareContext()
            for name in software:
                device, stream = self._contract.camera_devices[name], self._contract.cameras[name]
                self._feeds.append(SoftwareFeed(context, device.serial_number, *_size(device, stream), device.depth))
        return ConnectedCameras(context)

    def _build(self, name: str, cameras: Any) -> CameraRun:
        from dp_camera.realsense import RealSenseCamera

        device, stream = self._contract.camera_devices[name], self._contract.cameras[name]
        width, height, rate_hz = _size(device, stream)
        latency_s = device.transport_latency_s
        if latency_s is None:
            latency_s = default_transport_latency_s(width, height, rate_hz)
        outputs = CameraPublications(self, name, camera_topics(stream.topic), device)
        stall_s = max(stream.max_age_s, 3.0 / rate_hz)
        return CameraRun(
            name=name,
            source=RealSenseCamera(cameras, device, width, height, rate_hz),
            stamper=FrameStamper(latency_s, self._settle),
            health=CameraHealth(rate_hz, stall_s),
            on_start=outputs.started,
            on_frame=outputs.publish,
            read_clock=self._read_clock,
            report=self._log,
            wait_s=min(0.1, stall_s),
            lost_after_s=max(self._lost_after_s, 3.0 / rate_hz),
        )

    def _body(self, run: CameraRun) -> Any:
        return lambda: run.run(self._closed)

    def _read_clock(self) -> ClockReading:
        before_ns = time.monotonic_ns()
        ros_ns = int(self.get_clock().now().nanoseconds)
        return ClockReading(before_ns, ros_ns, time.monotonic_ns())

    def _log(self, text: str, error: bool) -> None:
        if error:
            self.get_logger().error(text)
        else:
            self.get_logger().info(text)

    def _report(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        now_ns = time.monotonic_ns()
        for run in self._runs:
            report = run.health.report(now_ns, run.stamper.fit, run.temperatures)
            serial_number = self._contract.camera_devices[run.name].serial_number
            message.status.append(diagnostic_status(run.name, serial_number, report))
        self._diagnostics.publish(message)


def _size(device: CameraDevice, stream: CameraStream) -> tuple[int, int, float]:
    """Width, height and rate of a camera's stream."""
    return device.width or stream.width, device.height or stream.height, device.rate_hz or stream.rate_hz


def main() -> None:
    """Entry point of the executable ``camera_node``."""
    sys.exit(run_node(CameraNode))


if __name__ == "__main__":
    main()
