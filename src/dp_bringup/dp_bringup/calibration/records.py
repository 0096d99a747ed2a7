"""Records of what was commanded and what was measured: from a running cell, or from a recorded episode."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from dp_core.contract import Contract
from dp_dataset.bag_reader import BagReader
from dp_ros.messages import joint_sum, pose_to_array, stamp_to_ns
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from dp_bringup.calibration.estimate import CalibrationError
from dp_bringup.calibration.gripper_latency import WidthRecord
from dp_bringup.calibration.inbox import Inbox
from dp_bringup.calibration.robot_latency import PoseRecord
from dp_bringup.progress import bar
from dp_msgs.msg import CommandState

Array = NDArray[np.float64]

#: Streams of the contract that a record is made of, and their messages.
STREAMS = {"command": CommandState, "ee_pose": PoseStamped, "gripper": JointState}
# Episodes are laid this far apart in one record.
PART_NS = 10**14
# Modes in which a command is sent to the arm.
_SENDING = frozenset({CommandState.HOLD, CommandState.TELEOP, CommandState.POLICY})


class MotionRecord:
    """Gathers samples of command, measured pose and measured width, each with its time.

    Args:
        contract: names of topics and joints, and the latencies by which header stamps are corrected.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._samples: dict[str, list[tuple[int, Any]]] = {name: [] for name in STREAMS}
        self._heard: set[str] = set()
        self._part_ns: int | None = None
        self._shift_ns = 0

    def begin_part(self, start_ns: int) -> None:
        """Let the next message be at `start_ns`, and those after it follow: the clocks of episodes may overlap."""
        self._part_ns = start_ns

    @property
    def topics(self) -> list[str]:
        """Topics that are listened to."""
        return [self._contract.streams[name].topic for name in STREAMS]

    def missing(self) -> list[str]:
        """Topics of which nothing has come."""
        return [self._contract.streams[name].topic for name in STREAMS if name not in self._heard]

    def listen(self, inbox: Inbox) -> None:
        """Take what a running cell publishes."""
        for name, kind in STREAMS.items():
            topic = self._contract.streams[name].topic
            inbox.listen(kind, topic, partial(self.add, name))

    def add(self, name: str, message: Any) -> None:
        """Take one message of a stream."""
        self._heard.add(name)
        latency_ns = round(1e9 * self._contract.streams[name].latency_s)
        t_ns = stamp_to_ns(message.header.stamp) - latency_ns
        if self._part_ns is not None:
            self._shift_ns, self._part_ns = self._part_ns - t_ns, None
        t_ns += self._shift_ns
        if name == "command":
            if int(message.mode) not in _SENDING:
                return
            value: Any = (*pose_to_array(message.commanded_pose)[:3].tolist(), float(message.commanded_width))
        elif name == "ee_pose":
            value = pose_to_array(message.pose)[:3].tolist()
        else:
            value = joint_sum(message, self._contract.streams[name].joint_names)
        self._samples[name].append((t_ns, value))

    def poses(self) -> PoseRecord:
        """Commanded and measured positions. Raises `CalibrationError` where a stream is missing."""
        origin_ns = self._origin_ns("command", "ee_pose")
        command_s, command = self._rising("command", origin_ns)
        measured_s, measured = self._rising("ee_pose", origin_ns)
        return PoseRecord(command_s, command[:, :3], measured_s, measured, 1e-9 * origin_ns)

    def widths(self) -> WidthRecord:
        """Commanded and measured widths. Raises `CalibrationError` where a stream is missing."""
        origin_ns = self._origin_ns("command", "gripper")
        command_s, command = self._rising("command", origin_ns)
        measured_s, measured = self._rising("gripper", origin_ns)
        return WidthRecord(command_s, command[:, 3], measured_s, measured)

    def _origin_ns(self, *names: str) -> int:
        for name in names:
            if len(self._samples[name]) < 2:
                raise CalibrationError(
                    f"{len(self._samples[name])} messages of {self._contract.streams[name].topic}: nothing to measure"
                )
        return min(self._samples[name][0][0] for name in names)

    def _rising(self, name: str, origin_ns: int) -> tuple[Array, Array]:
        """Times in s after the origin, rising, and values; repeated stamps count once."""
        times = np.array([t_ns for t_ns, _ in self._samples[name]], np.int64)
        values = np.array([value for _, value in self._samples[name]], float)
        order = np.argsort(times, kind="stable")
        order = order[np.concatenate([[True], np.diff(times[order]) > 0])]
        return 1e-9 * (times[order] - origin_ns), values[order]


def record_of_bags(folders: Sequence[Path]) -> tuple[MotionRecord, Contract]:
    """The record of episodes, one after another, and the contract that the recorder put into the first.

    Args:
        folders: of the episodes; all of one cell.

    Raises:
        BagError: one cannot be read.
        CalibrationError: one does not hold the streams, or is of another cell.
    """
    contract = _contract_of(folders[0])
    record = MotionRecord(contract)
    with bar(len(folders), "read", "episode", shown=len(folders) > 1) as shown:
        for number, folder in enumerate(folders):
            if _contract_of(folder).name != contract.name:
                raise CalibrationError(
                    f"{folder} is of cell {_contract_of(folder).name}, {folders[0]} of {contract.name}"
                )
            record.begin_part(number * PART_NS)
            _read_into(record, folder, contract)
            shown.update()
    return record, contract


def _contract_of(folder: Path) -> Contract:
    plain = BagReader(folder).episode.get("contract")
    if not plain:
        raise CalibrationError(f"{folder} has no contract in it, which names its topics")
    return Contract.from_dict(plain, source=str(folder))


def _read_into(record: MotionRecord, folder: Path, contract: Contract) -> None:
    bag = BagReader(folder)
    topics = {}
    for name in STREAMS:
        full = bag.topic_name(contract.streams[name].topic)
        if full is None:
            raise CalibrationError(f"{folder} has no topic {contract.streams[name].topic}")
        topics[full] = name
    for entry in bag.read(topics):
        record.add(topics[entry.topic], entry.message)
