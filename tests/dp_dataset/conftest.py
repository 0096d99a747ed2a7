"""Synthetic episodes with known motion, written by the real recorder code and serialized as ROS does it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dp_core.contract import Contract, load_contract
from dp_recorder.episode import EpisodeRequest
from dp_recorder.episode_writer import EpisodeWriter
from dp_recorder.message_queue import QueuedMessage
from dp_recorder.recorded_streams import recorded_streams
from dp_recorder.type_definitions import load_type_definition
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

START_NS = 1_000_000_000_000


class Cell:
    """Serializes the messages of the simulated Franka cell for a straight, constant-speed motion."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.streams = recorded_streams(contract)
        self.store = get_typestore(Stores.EMPTY)
        types = {}
        for stream in self.streams:
            types.update(get_types_from_msg(load_type_definition(stream.type_name).text, stream.type_name))
        self.store.register(types)

    def position(self, t_s: float) -> np.ndarray:
        return np.array([0.4 + 0.02 * t_s, -0.1 + 0.01 * t_s, 0.3])

    def width(self, t_s: float) -> float:
        return 0.08 - 0.005 * t_s

    def image(self, index: int, shift: int = 0) -> np.ndarray:
        rows, columns = np.mgrid[0:96, 0:96]
        levels = [rows + index, columns + shift, np.full_like(rows, index)]
        return np.stack(levels, axis=-1).astype(np.uint8)

    def make(self, type_name: str, /, **fields):
        return self.store.types[type_name](**fields)

    def header(self, t_ns: int, frame: str = "fr3_link0"):
        seconds, nanoseconds = divmod(t_ns, 1_000_000_000)
        stamp = self.make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def pose(self, position: np.ndarray):
        x, y, z = (float(v) for v in position)
        point = self.make("geometry_msgs/msg/Point", x=x, y=y, z=z)
        quaternion = self.make("geometry_msgs/msg/Quaternion", x=1.0, y=0.0, z=0.0, w=0.0)
        return self.make("geometry_msgs/msg/Pose", position=point, orientation=quaternion)

    def joints(self, t_ns: int, names, positions):
        empty = np.zeros(len(names))
        return self.make(
            "sensor_msgs/msg/JointState",
            header=self.header(t_ns),
            name=list(names),
            position=np.asarray(positions, float),
            velocity=empty,
            effort=empty,
        )

    def state_messages(self, t_ns: int, t_s: float):
        """(topic, message) of one 100 Hz tick."""
        streams = self.contract.streams
        half = self.width(t_s) / 2
        yield streams["joint_states"].topic, self.joints(t_ns, streams["joint_states"].joint_names, [0.1] * 7)
        yield streams["gripper"].topic, self.joints(t_ns, streams["gripper"].joint_names, [half, half])
        pose = self.make(
            "geometry_msgs/msg/PoseStamped", header=self.header(t_ns), pose=self.pose(self.position(t_s))
        )
        yield streams["ee_pose"].topic, pose
        vector = self.make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=1.0)
        wrench = self.make("geometry_msgs/msg/Wrench", force=vector, torque=vector)
        yield (
            streams["wrench"].topic,
            self.make("geometry_msgs/msg/WrenchStamped", header=self.header(t_ns), wrench=wrench),
        )
        yield streams["command"].topic, self.command(t_ns, t_s)

    def command(self, t_ns: int, t_s: float, mode: int = 1):
        still = self.make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
        return self.make(
            "dp_msgs/msg/CommandState",
            header=self.header(t_ns),
            mode=mode,
            commanded_pose=self.pose(self.position(t_s) + np.array([0.0, 0.0, 0.01])),
            commanded_width=self.width(t_s),
            active_limits=[],
            input_alive=True,
            text="",
            commanded_twist=self.make("geometry_msgs/msg/Twist", linear=still, angular=still),
            commanded_joints=np.zeros(0),
            intervention=False,
        )

    def image_message(self, t_ns: int, index: int, shift: int = 0):
        image = self.image(index, shift)
        return self.make(
            "sensor_msgs/msg/Image",
            header=self.header(t_ns, "camera"),
            height=96,
            width=96,
            encoding="rgb8",
            is_bigendian=0,
            step=288,
            data=image.reshape(-1),
        )

    def messages(self, seconds: float, motion_offset_s: float = 0.0):
        """(t_ns, topic, message) of an episode; cameras on multiples of 0.1 s."""
        cameras = list(self.contract.cameras.values())
        for tick in range(round(seconds * 100)):
            t_ns = START_NS + tick * 10_000_000
            for topic, message in self.state_messages(t_ns, tick / 100 + motion_offset_s):
                yield t_ns, topic, message
            if tick % 10 == 0:
                for shift, camera in enumerate(cameras):
                    yield t_ns, camera.topic, self.image_message(t_ns, tick // 10, shift)


@pytest.fixture(scope="session")
def contract() -> Contract:
    return load_contract("sim_franka")


@pytest.fixture(scope="session")
def cell(contract: Contract) -> Cell:
    return Cell(contract)


Recorder = Callable[..., SimpleNamespace]


@pytest.fixture
def record(cell: Cell) -> Recorder:
    """Records a synthetic episode; ``without`` leaves topics out, ``change`` maps (t, topic, message)."""

    def run(directory: Path, *, cell=cell, seconds=2.0, outcome="success", without=(), change=None, **motion):
        index = {stream.topic: i for i, stream in enumerate(cell.streams)}
        request = EpisodeRequest(
            directory, "place", "tester", "seed=3", cell.contract.to_dict(), cell.contract.hash, "0.1.0"
        )
        writer = EpisodeWriter(request, cell.streams, START_NS)
        counts: dict[str, int] = {}
        for t_ns, topic, message in cell.messages(seconds, **motion):
            entry = change(t_ns, topic, message) if change else (t_ns, topic, message)
            if topic in without or entry is None:
                continue
            t_ns, topic, message = entry
            type_name = cell.streams[index[topic]].type_name
            data = bytes(cell.store.serialize_cdr(message, type_name))
            counts[topic] = counts.get(topic, 0) + 1
            writer.put([QueuedMessage(index[topic], data, t_ns + 2_000_000, t_ns, counts[topic])])
        closed = writer.close(outcome, START_NS + round(seconds * 1e9))
        return SimpleNamespace(folder=closed.folder, counts=counts, closed=closed)

    return run
