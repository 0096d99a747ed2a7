"""The camera node over real DDS, with two software cameras whose clocks and frames the test makes."""

import itertools
import signal
import subprocess
import sys
import time
from collections import defaultdict

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from dp_core.camera_device import camera_topics
from dp_core.contract import load_contract
from dp_ros.messages import stamp_to_ns
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dp_msgs.msg import FrameMetadata
from dp_ros import qos

NAMESPACE = "/camera_test"
CELL = {"front": "101", "wrist": "102"}
PATIENCE_S = 60.0


def write_cell(path, **devices):
    cell = load_contract("sim_franka").to_dict()
    for camera in cell["cameras"].values():
        camera.update(width=64, height=48, rate_hz=30.0)
    path.write_text(yaml.safe_dump({**cell, "camera_devices": devices}))
    return str(path)


class Desk:
    """Two cameras, the node, and what it publishes."""

    def __init__(self, folder):
        from dp_camera.node import CameraNode
        from dp_camera.software_camera import SoftwareContext

        self.software = SoftwareContext()
        self.cameras, self.numbers, self.clock_ns, self.sent = {}, {}, {}, defaultdict(dict)
        for name in CELL:
            self.plug_in(name)
        front = {"serial_number": "101", "transport_latency_s": 0.0, "jpeg": "also"}
        wrist = {"serial_number": "102", "transport_latency_s": 0.25}
        cell = write_cell(folder / "cell.yaml", front=front, wrist=wrist)
        overrides = [Parameter("cell", value=cell), Parameter("lost_after_s", value=30.0)]
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        there = {"context": self.context, "namespace": NAMESPACE}
        self.node = CameraNode(self.software, parameter_overrides=overrides, **there)
        self.observer = rclpy.create_node("observer", **there)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.observer)
        self.got = defaultdict(list)
        self.status = {}
        for name in CELL:
            topics = camera_topics(load_contract("sim_franka").cameras[name].topic)
            kinds = {
                "image": Image,
                "camera_info": CameraInfo,
                "metadata": FrameMetadata,
                "compressed": CompressedImage,
            }
            for part, kind in kinds.items():
                store = self.got[name, part].append
                self.observer.create_subscription(kind, getattr(topics, part), store, qos.IMAGE)
        self.observer.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.EVENT)

    def _on_diagnostics(self, message):
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.status[status.name] = (ord(status.level), status.message, values)

    def plug_in(self, name, clock_ns=3_000_000_000_000):
        from dp_camera.software_camera import SoftwareCamera

        self.cameras[name] = SoftwareCamera(CELL[name])
        self.software.plug_in(self.cameras[name])
        self.numbers[name] = 0
        self.clock_ns[name] = clock_ns - time.monotonic_ns()

    def send(self, skip=0, names=tuple(CELL)):
        """One frame of each camera, its number in the pixels; remembers when, on the ROS clock."""
        for name in names:
            self.numbers[name] += 1 + skip
            number = self.numbers[name]
            picture = np.full((48, 64, 3), number % 256, dtype=np.uint8)
            # First: a pause between the two must not look like a frame that was stamped before it was taken.
            self.sent[name][number] = self.node.get_clock().now().nanoseconds
            now_ns = time.monotonic_ns()
            self.cameras[name].send(picture, number, (now_ns + self.clock_ns[name]) // 1_000 * 1_000)

    def until(self, done, names=tuple(CELL)):
        """Send frames at 100 Hz or so until something is the case."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, f"{self.status}; got { {k: len(v) for k, v in self.got.items()} }"
            self.send(names=names)
            turn = time.monotonic() + 0.01
            while time.monotonic() < turn:
                self.executor.spin_once(max(0.0, turn - time.monotonic()))

    def count(self, name, part="image"):
        return len(self.got[name, part])

    def close(self):
        self.node.close()
        self.executor.shutdown()
        self.node.destroy_node()
        self.observer.destroy_node()
        self.context.try_shutdown()


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    from dp_camera import realsense

    with pytest.MonkeyPatch.context() as patch:
        # On a busy machine a camera's thread may not get its turn for more than eight frames of ours.
        patch.setattr(realsense, "_QUEUE_FRAMES", 500)
        made = Desk(tmp_path_factory.mktemp("cell"))
        try:
            parts = ("image", "metadata", "camera_info")
            made.until(lambda: all(made.count(n, part) > 30 for n in CELL for part in parts))
            yield made
        finally:
            made.close()


def test_images_carry_the_time_at_which_they_were_taken(desk):
    for name, latency_ns in (("front", 0), ("wrist", 250_000_000)):
        numbers = {stamp_to_ns(m.header.stamp): m for m in desk.got[name, "metadata"]}
        stamps = [stamp_to_ns(image.header.stamp) for image in desk.got[name, "image"]]
        assert all(a < b for a, b in itertools.pairwise(stamps))
        for image, stamp in zip(desk.got[name, "image"], stamps, strict=True):
            if stamp not in numbers:
                continue  # of the last one the metadata may still be on the way
            metadata = numbers[stamp]
            assert (image.width, image.height, image.step, image.encoding) == (64, 48, 192, "rgb8")
            assert image.header.frame_id == f"{name}_color_optical_frame"
            assert set(image.data) == {metadata.frame_number % 256}
            # Never before it was taken, but for what the young fit does not know of the drift; never after receipt.
            assert desk.sent[name][metadata.frame_number] - stamp - latency_ns < 2_000_000
            assert stamp + latency_ns <= metadata.received_ns + 2_000_000
            assert metadata.clock_domain == "hardware_clock" and metadata.stamp_uncertainty_ns > 0
            assert (metadata.exposure_us, metadata.gain) == (8000.0, 32.0)


def test_distances_of_stamps_are_those_of_the_cameras_clock(desk):
    metadata = desk.got["front", "metadata"][-20:]
    stamps = np.array([stamp_to_ns(m.header.stamp) for m in metadata])
    camera = np.array([m.sensor_time_ns for m in metadata])
    typical = np.median(np.abs(np.diff(stamps) - np.diff(camera)))
    assert typical < 20_000, "receipt jitters by milliseconds, the stamps do not"


def test_the_first_frames_only_settle_the_fit(desk):
    first = min(m.frame_number for m in desk.got["front", "metadata"])
    assert first >= 15


def test_camera_info_has_the_stamps_of_the_images(desk):
    infos = desk.got["front", "camera_info"]
    assert (infos[0].width, infos[0].height, infos[0].distortion_model) == (64, 48, "plumb_bob")
    assert list(infos[0].k) == pytest.approx([60.8, 0, 32, 0, 60.8, 24, 0, 0, 1])

    def common():
        stamps = ({stamp_to_ns(m.header.stamp) for m in desk.got["front", part]} for part in ("image", "camera_info"))
        return set.intersection(*stamps)

    desk.until(lambda: len(common()) > 25)


def test_jpeg_comes_where_it_was_asked_for(desk):
    desk.until(lambda: desk.count("front", "compressed") > 2)
    jpeg = desk.got["front", "compressed"][0]
    assert jpeg.format == "rgb8; jpeg compressed bgr8" and bytes(jpeg.data[:2]) == b"\xff\xd8"
    assert desk.count("wrist", "compressed") == 0


def test_numbers_left_out_show_as_lost_frames(desk):
    before = int(desk.status["camera: front"][2]["lost"]) if desk.status else 0
    desk.send(skip=3, names=("front",))
    desk.until(lambda: int(desk.status.get("camera: front", (0, "", {"lost": 0}))[2]["lost"]) >= before + 3)
    desk.until(lambda: desk.status["camera: wrist"][0] == 0)
    values = desk.status["camera: wrist"][2]
    assert (values["lost"], values["reconnects"], values["bad_frames"]) == ("0", "0", "0")
    assert (values["temperature_asic_C"], values["clock_domain"]) == ("41.5", "hardware_clock")
    assert float(values["rate_hz"]) > 0 and abs(float(values["clock_drift_ppm"])) < 300


def test_an_unplugged_camera_is_an_error_and_silent_and_comes_back(desk):
    desk.until(lambda: "camera: front" in desk.status)
    reconnects = int(desk.status["camera: front"][2]["reconnects"])
    desk.software.unplug(desk.cameras["front"])
    # Before it says so it is silent for a moment, then was unplugged: errors as well.
    desk.until(lambda: "connected: 102" in desk.status["camera: front"][1], names=("wrist",))
    assert desk.status["camera: front"][0] == 2 and "101" in desk.status["camera: front"][1]
    for _ in range(2):  # what was under way comes with the first ones
        silent, others = desk.count("front"), desk.count("wrist")
        desk.until(lambda others=others: desk.count("wrist") > others + 20, names=("wrist",))
    assert desk.count("front") == silent, "nothing is published of a camera that is not there"

    desk.plug_in("front", clock_ns=5_000_000)  # its clock begins anew
    desk.until(lambda: desk.count("front") > silent + 5)
    desk.until(lambda: desk.status["camera: front"][0] < 2)
    assert int(desk.status["camera: front"][2]["reconnects"]) == reconnects + 1
    stamps = [stamp_to_ns(image.header.stamp) for image in desk.got["front", "image"]]
    assert all(a < b for a, b in itertools.pairwise(stamps))


def start_node(cell, *parameters):
    command = [sys.executable, "-m", "dp_camera.node", "--ros-args", "-p", f"cell:={cell}"]
    for parameter in parameters:
        command += ["-p", parameter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_node_refuses_a_cell_without_devices_and_one_that_asks_for_the_impossible(tmp_path):
    plain = start_node("sim_franka")
    cell = write_cell(tmp_path / "cell.yaml", front={"serial_number": "101", "exposure_us": 50})
    impossible = start_node(cell, "software:=true")
    simulated = start_node(cell, "use_sim_time:=true")
    assert "error: camera_devices: missing in cell sim_franka" in plain.communicate(timeout=PATIENCE_S)[0]
    assert plain.returncode == 2
    assert "exposure_us: 50 is out of range of sensor 'RGB Camera'" in impossible.communicate(timeout=PATIENCE_S)[0]
    assert impossible.returncode == 3
    assert "error: use_sim_time: true is not valid" in simulated.communicate(timeout=PATIENCE_S)[0]
    assert simulated.returncode == 2


def test_the_node_runs_with_test_pictures_and_ends_on_ctrl_c(tmp_path):
    cell = write_cell(tmp_path / "cell.yaml", front={"serial_number": "101"}, wrist={"serial_number": "102"})
    node = start_node(cell, "software:=true", "cameras:=wrist")
    for line in node.stdout:
        if "wrist: 102 (Software D435, firmware 5.16.0.1, USB 3.2) started" in line:
            break
    node.send_signal(signal.SIGINT)
    rest = node.communicate(timeout=PATIENCE_S)[0]
    assert node.returncode == 0 and "Traceback" not in rest and "front" not in rest
