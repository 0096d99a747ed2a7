"""The cell that is calibrated: simulated ones are started here with known delays, real ones are attached to."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from dp_core.contract import Contract, load_contract
from dp_ros.messages import array_to_pose, ns_to_stamp, pose_to_array, stamp_to_ns
from numpy.typing import NDArray

from dp_bringup.calibration.estimate import CalibrationError
from dp_bringup.calibration.inbox import Inbox
from dp_bringup.errors import CommandError
from dp_bringup.graph import build_graph
from dp_bringup.processes import ProcessGroup
from dp_bringup.session import MODE_NAMES, CellSession
from dp_msgs.msg import ActionChunk, ChunkReport, CommandState
from dp_ros import qos

Array = NDArray[np.float64]

POLICY_ID = "calibration"
# Between the publication of a chunk and its first action, s of the cell's time.
LEAD_S = 3.0
# After the last action, for the arm to come to rest.
SETTLE_S = 0.5
NEWS_S = 0.1
# Modes that calibration never asks for: a person or control itself has chosen them, and a request would undo that.
_OTHERS_MODES = frozenset({CommandState.STOPPED, CommandState.FAULT, CommandState.TELEOP})


@dataclass(frozen=True)
class SimulatedLatencies:
    """Delays given to a simulated cell, s; see the parameters of `sim_node`."""

    camera_s: float = 0.0
    camera_jitter_s: float = 0.0
    command_s: float = 0.0
    gripper_s: float = 0.0
    clock_code_period_s: float = 0.0


class CalibrationSession(CellSession):
    """A session that can also send plans.

    Args:
        group: see `CellSession`.
        contract: of the cell.

    Attributes:
        inbox: for topics of which every message counts.
    """

    def __init__(self, group: ProcessGroup, contract: Contract) -> None:
        super().__init__(group, contract)
        self._contract = contract
        self._chunks = self._node.create_publisher(ActionChunk, "policy/chunk", qos.EVENT)
        self._sent = 0
        self._reports: list[ChunkReport] = []
        self.listen(ChunkReport, "control/chunk_report", self._reports.append, qos.EVENT)
        self.inbox = Inbox(self._node)

    def poll(self) -> None:
        """As `CellSession.poll`; empties the inbox."""
        self.inbox.empty()
        super().poll()

    def wait_for_control(self, timeout_s: float = 60.0) -> None:
        """Wait until control runs and listens to plans."""
        hint = "control/command_state: is the cell running (dp up teleop), and in this ROS_DOMAIN_ID?"
        self.wait_for(lambda: self.command is not None, timeout_s, hint)
        self.wait_for(self._set_mode.service_is_ready, timeout_s, "service control/set_mode")
        self.wait_for(lambda: self._chunks.get_subscription_count() > 0, timeout_s, "control, to listen to plans")

    def start_child(self, name: str, command: Sequence[str]) -> None:
        """Start a process that belongs to this session: all waiting ends with its error when it ends."""
        self._group.start(name, command)

    def is_published(self, topic: str) -> bool:
        """Whether somebody publishes a topic."""
        return self._node.count_publishers(topic) > 0

    @property
    def now_s(self) -> float:
        """Time of the newest command, s."""
        return 0.0 if self.command is None else 1e-9 * stamp_to_ns(self.command.header.stamp)

    @property
    def commanded(self) -> tuple[Array, float]:
        """Commanded pose7 and width (m)."""
        if self.command is None:
            raise CalibrationError("control has commanded nothing yet")
        return pose_to_array(self.command.commanded_pose), float(self.command.commanded_width)

    def execute(self, times_s: Array, poses: Array, widths: Array, on_time: Callable[[float], None]) -> float:
        """Let control execute a plan in mode POLICY, and wait for its end; returns when it began (ROS time, s).

        Args:
            times_s: (n,) of the actions after the first.
            poses: (n, 7).
            widths: (n,) m.
            on_time: called with the seconds done, while waiting.

        Raises:
            SessionError: control refused the mode, or stands still.
            CalibrationError: control dropped the plan, was stopped or taken over; says why.
        """
        self.poll()
        self._check_ours()
        with self._held_on_error():
            self.set_mode(CommandState.POLICY)
            self.wait_for(self._in_policy, 10.0, "control/command_state in mode POLICY")
            self._reports.clear()
            begin_s = self.now_s + LEAD_S
            self._publish(begin_s, times_s, poses, widths)
            last_s = begin_s + float(times_s[-1])

            def done() -> bool:
                self._check_plan(last_s)
                self._check_ours()
                on_time(max(0.0, min(self.now_s, last_s) - begin_s + LEAD_S))
                return self.now_s >= last_s + SETTLE_S

            self.wait_for(done, 60.0 + 20.0 * (last_s - self.now_s), "the end of the motion")
        return begin_s

    def hold(self) -> None:
        """Bring control back into mode HOLD after motions; raises as `execute` where others have changed the mode."""
        self.poll()
        self._check_ours()
        self.set_mode(CommandState.HOLD)

    @contextlib.contextmanager
    def _held_on_error(self) -> Iterator[None]:
        """Whatever ends the block, Ctrl-C too: control would stay in mode POLICY and go on with a plan to its end.

        Control that has stopped, or that a person has taken over, is left as it is.
        """
        try:
            yield
        except BaseException:
            deadline = time.monotonic() + NEWS_S  # the mode that ended the motion may be told a moment after the plan
            with contextlib.suppress(CommandError):
                self.wait_for(lambda: time.monotonic() > deadline, 1.0, "news of control")
            if self.command is None or self.command.mode not in _OTHERS_MODES:
                with contextlib.suppress(CommandError):
                    self.set_mode(CommandState.HOLD, 3.0)
            raise

    def _publish(self, begin_s: float, times_s: Array, poses: Array, widths: Array) -> None:
        self._sent += 1
        message = ActionChunk(chunk_id=self._sent, policy_id=POLICY_ID, committed=len(times_s))
        message.header.frame_id, message.ee_frame = self._contract.base_frame, self._contract.ee_frame
        message.header.stamp = ns_to_stamp(round(1e9 * self.now_s))
        message.stamps = [ns_to_stamp(round(1e9 * (begin_s + t))) for t in times_s.tolist()]
        message.poses = [array_to_pose(pose) for pose in poses]
        message.gripper_widths = widths.tolist()
        self._chunks.publish(message)

    def _check_ours(self) -> None:
        """Raise when a person or control itself has ended the calibration."""
        if self.command is not None and self.command.mode in _OTHERS_MODES:
            mode, text = MODE_NAMES[self.command.mode], self.command.text
            raise CalibrationError(
                f"control went to mode {mode} during the calibration" + (f": {text}" if text else "")
            )

    def _in_policy(self) -> bool:
        """Whether the mode that control has answered for has been heard, too."""
        self._check_ours()
        return self.command is not None and bool(self.command.mode == CommandState.POLICY)

    def _check_plan(self, last_s: float) -> None:
        """Raise when control has given the plan up before its last action; after that it leaves the mode by itself."""
        for report in self._reports:
            ours = (report.policy_id, report.chunk_id) == (POLICY_ID, self._sent)
            if ours and report.stop_reason and 1e-9 * stamp_to_ns(report.header.stamp) < last_s:
                raise CalibrationError(f"control dropped the motion: {report.stop_reason}")
        if self.now_s < last_s and self.command is not None and self.command.mode != CommandState.POLICY:
            reason = self.command.text or "no reason given"
            raise CalibrationError(f"control has left mode POLICY during the motion: {reason}")


def is_simulated(contract: Contract) -> bool:
    """Whether `dp up` would start the simulator for this cell."""
    return contract.name.startswith("sim_")


@contextlib.contextmanager
def opened_cell(
    cell: str | Path, folder: Path, latencies: SimulatedLatencies | None, control: bool, seed: int = 0
) -> Iterator[CalibrationSession]:
    """A session with a cell: its own simulated one, or the one that runs in this ROS domain.

    Args:
        cell: name or file of the contract.
        folder: receives logs and node parameters.
        latencies: of the simulated cell to start; None attaches to what runs.
        control: whether control is needed.
        seed: of the simulated scene.
    """
    contract = load_contract(cell)
    if latencies is None:
        os.environ.setdefault("ROS_DOMAIN_ID", "0")  # where ROS is when nobody says otherwise
    with ProcessGroup(folder, isolated=is_simulated(contract)) as group:
        if latencies is not None:
            group.start_graph(_nodes(str(cell), latencies, control, seed))
        with contextlib.closing(CalibrationSession(group, contract)) as session:
            if control:
                session.wait_for_control()
            yield session


def _nodes(cell: str, latencies: SimulatedLatencies, control: bool, seed: int) -> list[Any]:
    """Simulator, and control where it is needed. Lock step: a busy machine adds nothing to the delays."""
    graph = build_graph("teleop", cell=cell, seed=seed, lock_step=control, rate=2.0)
    parameters = {
        "camera_delay_s": str(latencies.camera_s),
        "camera_jitter_s": str(latencies.camera_jitter_s),
        "camera_stamps": "arrival",
        "command_delay_s": latencies.command_s,
        "gripper_delay_s": latencies.gripper_s,
        "clock_code_period_s": latencies.clock_code_period_s,
        "cameras": not control,
    }
    wanted = {"sim_node", "control_node"} if control else {"sim_node"}
    nodes = [node for node in graph if node.executable in wanted]
    return [
        replace(node, parameters={**node.parameters, **parameters}) if node.executable == "sim_node" else node
        for node in nodes
    ]
