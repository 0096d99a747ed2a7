"""A checkpoint to run, and a cell on a virtual clock around a policy node in its own process."""

import subprocess
import sys
import time

import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from dp_core.contract import load_contract
from dp_policy.checkpoint import save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.policy import build_policy
from dp_ros.messages import ns_to_stamp, stamp_to_ns, stamped_pose
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState

from dp_msgs.msg import ActionChunk, ChunkLedger, ChunkReport, CommandState
from dp_ros import qos

CAMERAS = ("front", "wrist")


@pytest.fixture
def checkpoint(tmp_path):
    """Returns a function that writes an untrained policy of the cell's shapes, with a changed contract.

    Its actions lie near the middle of the table.
    """

    def write(change=lambda contract: None, name="checkpoint", history=1):
        sections = {
            "name": name,
            "observation": {"cameras": list(CAMERAS), "image_height": 64, "image_width": 64, "history": history},
            "encoder": {"kind": "compact", "width": 8, "keypoints": 4, "features": 8, "blocks": 1},
            "denoiser": {"sizes": [16, 32], "step_features": 16},
            "diffusion": {"inference_steps": 2},
        }
        contract = load_contract("sim_franka").to_dict()
        change(contract)
        policy = build_policy(PolicyConfig.from_dict(sections))
        # Random outputs are clipped to +-1, where now and then the six numbers of a rotation name none.
        action = policy.normaliser.action
        action.offset.copy_(torch.tensor([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.06]))
        action.scale.fill_(0.02)
        save_checkpoint(tmp_path / name, policy, contract)
        return tmp_path / name

    return write


@pytest.fixture
def start_policy():
    """Starts the node with a checkpoint and further parameters; ends what still runs."""
    processes = []

    def start(folder, *parameters):
        command = [sys.executable, "-m", "dp_policy_node.node", "--ros-args"]
        # The plain runtime: the choice of another takes seconds of measuring, and is tested where it is made.
        for parameter in (f"checkpoint:={folder}", "runtime:=reference", *parameters):
            command += ["-p", parameter]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


class VirtualCell:
    """Everything around a policy node, on /clock: nothing here depends on how busy the machine is.

    Attributes:
        chunks, dry_chunks, ledgers: what the node has published.
        statuses: newest diagnostic status by name.
    """

    def __init__(self, process):
        self.process = process
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = node = Node("peer", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(node)
        self.chunks, self.dry_chunks, self.ledgers, self.statuses = [], [], [], {}
        node.create_subscription(ActionChunk, "policy/chunk", self.chunks.append, qos.EVENT)
        node.create_subscription(ActionChunk, "policy/dry_run_chunk", self.dry_chunks.append, qos.EVENT)
        node.create_subscription(ChunkLedger, "policy/ledger", self.ledgers.append, qos.EVENT)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.EVENT)
        self.clock = node.create_publisher(Clock, "/clock", qos.CLOCK)
        self.states = node.create_publisher(CommandState, "control/command_state", qos.STATE)
        self.reports = node.create_publisher(ChunkReport, "control/chunk_report", qos.EVENT)
        self.cameras = {n: node.create_publisher(Image, f"camera/{n}/color/image_raw", qos.IMAGE) for n in CAMERAS}
        self.poses = node.create_publisher(PoseStamped, "robot/ee_pose", qos.STATE)
        self.fingers = node.create_publisher(JointState, "gripper/state", qos.STATE)
        self.now_ns = 10**9
        self.mode = None
        self.sampling = False

    def _on_diagnostics(self, message):
        for status in message.status:
            self.statuses[status.name] = status

    def value(self, status, key):
        """Newest value; empty before the first diagnostics have come."""
        if status not in self.statuses:
            return ""
        return {pair.key: pair.value for pair in self.statuses[status].values}[key]

    def _send(self):
        """All that a cell says at the present time; said again and again, since the first time may be too early."""
        stamp = ns_to_stamp(self.now_ns)
        self.clock.publish(Clock(clock=stamp))
        if self.mode is not None:
            state = CommandState(mode=self.mode)
            state.header.stamp = stamp
            self.states.publish(state)
        if not self.sampling:
            return
        for publisher in self.cameras.values():
            image = Image(height=96, width=96, step=288, encoding="rgb8", data=bytes(96 * 288))
            image.header.stamp = stamp
            publisher.publish(image)
        self.poses.publish(stamped_pose([0.5, 0, 0.3, 1, 0, 0, 0], "fr3_link0", self.now_ns))
        joints = JointState(name=["fr3_finger_joint1", "fr3_finger_joint2"], position=[0.04, 0.04])
        joints.header.stamp = stamp
        self.fingers.publish(joints)

    def until(self, ready, what, timeout_s=120):
        """Let real time pass, none of the cell's, until ready."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            self._send()
            self.executor.spin_once(0.05)

    def find_each_other(self):
        """Until the node listens to all that a cell shows: what is sent before is lost."""
        shown = (*self.cameras.values(), self.poses, self.fingers)
        self.until(lambda: all(publisher.get_subscription_count() > 0 for publisher in shown), "the node's ears")

    def let_pass(self, seconds):
        """Let some real time pass: what should not happen has the chance to."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._send()
            self.executor.spin_once(0.05)

    def observe(self, after_ms=100):
        """Go on by so much and show the scene then; returns the time, ns."""
        self.now_ns += after_ms * 10**6
        self.sampling = True
        self._send()
        return self.now_ns

    def diagnose(self, ready, what):
        """Wait for diagnostics that are so; they come once a second of the cell's time, in which nothing is seen."""
        self.sampling = False
        deadline = time.monotonic() + 120
        while not ready():
            assert time.monotonic() < deadline, f"waited in vain for {what}: {self.statuses}"
            self.now_ns += 10**9
            self.let_pass(0.2)

    def call(self, kind, name, request):
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, name)
        future = client.call_async(request)
        self.until(future.done, name)
        return future.result()

    def change(self, transition):
        """Ask for a lifecycle transition; returns whether it succeeded and the state then."""
        number = getattr(Transition, f"TRANSITION_{transition.upper()}")
        answer = self.call(ChangeState, "policy/change_state", ChangeState.Request(transition=Transition(id=number)))
        state = self.call(GetState, "policy/get_state", GetState.Request()).current_state.label
        return answer.success, state

    def set(self, name, value):
        """Set a parameter; returns why it was refused, or an empty text."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        result = self.call(SetParameters, "policy/set_parameters", request).results[0]
        assert result.successful != bool(result.reason)
        return result.reason

    def get(self, name):
        answer = self.call(GetParameters, "policy/get_parameters", GetParameters.Request(names=[name]))
        return answer.values[0].string_value

    def report(self, chunk, **fields):
        """What control says of a chunk."""
        message = ChunkReport(chunk_id=chunk.chunk_id, policy_id=chunk.policy_id, actions=len(chunk.stamps), **fields)
        message.received = ns_to_stamp(stamp_to_ns(chunk.published) + 5_000_000)
        self.reports.publish(message)

    def close(self):
        """Take the topics away at once: the nodes of a test that comes later must not hear them."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def virtual_cell():
    """Makes a :class:`VirtualCell` around a process."""
    cells = []

    def make(process):
        cells.append(VirtualCell(process))
        return cells[-1]

    yield make
    for cell in cells:
        cell.close()
