"""The control core on a virtual clock, and the control node with a peer that plays the cell over real DDS."""

import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import rclpy
import yaml
from dp_control.core import ControlCore, ControlInputs, DeadMan, Stamped
from dp_core.chunk_schedule import Chunk
from dp_core.contract import load_contract
from dp_ros.messages import fill_twist, ns_to_stamp, stamp_to_ns, stamped_pose
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from dp_msgs.msg import CommandState, TeleopState
from dp_msgs.srv import SetMode
from dp_ros import qos

CONTRACT = load_contract("sim_franka")
START = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])
# Longer than in the shipped cell: on a busy machine this process, which plays the robot, is late at times.
AGES = {"state_max_age_s": 0.6, "input_max_age_s": 0.3}


class Cell:
    """Publishes the measured pose at 100 Hz in real time; the arm follows its target perfectly."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node("peer", context=self.context)
        self.pose = START.copy()
        self.frame = CONTRACT.base_frame
        self.width = 0.08
        self.silent = False
        self.force = None
        self.targets, self.target_stamps, self.states, self.kept = [], [], [], {}
        self._poses = self.node.create_publisher(PoseStamped, "robot/ee_pose", qos.STATE)
        self._wrenches = self.node.create_publisher(WrenchStamped, "robot/wrench", qos.STATE)
        self._fingers = self.node.create_publisher(JointState, "gripper/state", qos.STATE)
        self.node.create_subscription(PoseStamped, "robot/target_pose", self._follow, qos.COMMAND_IN)
        self.node.create_subscription(CommandState, "control/command_state", self.states.append, qos.STATE)
        self._modes = self.node.create_client(SetMode, "control/set_mode")
        self._stops = self.node.create_client(Trigger, "control/stop")
        self._resumes = self.node.create_client(Trigger, "control/resume")
        self.node.create_timer(0.01, self._measure)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        while not self._closed.is_set():
            self._executor.spin_once(0.1)

    def now_ns(self):
        return self.node.get_clock().now().nanoseconds

    def _follow(self, message):
        p, q = message.pose.position, message.pose.orientation
        self.pose = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
        self.target_stamps.append(stamp_to_ns(message.header.stamp))
        self.targets.append(self.pose)

    def _measure(self):
        if self.silent:
            return
        now = self.now_ns()
        self._poses.publish(stamped_pose(self.pose, self.frame, now))
        if self.force is not None:
            wrench = WrenchStamped()
            wrench.header.stamp = ns_to_stamp(now)
            wrench.wrench.force.z = float(self.force)
            self._wrenches.publish(wrench)
        fingers = JointState(name=["fr3_finger_joint1", "fr3_finger_joint2"], position=[self.width / 2] * 2)
        fingers.header.stamp = ns_to_stamp(now)
        self._fingers.publish(fingers)

    def set_mode(self, mode):
        return self._call(self._modes, SetMode.Request(mode=mode))

    def stop(self):
        return self._call(self._stops, Trigger.Request())

    def resume(self):
        return self._call(self._resumes, Trigger.Request())

    def _call(self, client, request):
        assert client.wait_for_service(20.0)
        future = client.call_async(request)
        self.wait(future.done, f"an answer of {client.srv_name}")
        return future.result()

    def commands_since(self, t_ns):
        """How many commands have a later stamp, however late they arrived."""
        return sum(stamp > t_ns for stamp in list(self.target_stamps))

    def wait(self, ready, what, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while not ready():
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
            time.sleep(0.01)

    def close(self):
        """The thread ends before what it uses is taken away."""
        self._closed.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


class Bench:
    """Drives the core on a virtual clock; the arm follows its command perfectly one cycle later.

    Attributes:
        hand: (6,) twist that the operator's device sends in each cycle; None: the device is silent.
        held: state of the dead-man button; None: silent.
        frozen_ns: stamp of the measured pose when it is stuck.
        blocked: the arm does not follow.
        extra: further fields of ControlInputs.
    """

    def __init__(self, contract=CONTRACT, kinematics=None):
        self.contract, self.period_ns = contract, contract.control.period_ns
        self.core = ControlCore(contract, kinematics)
        self.t = 10**9
        self.pose, self.width = START.copy(), 0.08
        self.hand, self.held = np.zeros(6), None
        self.frozen_ns, self.blocked, self.extra = None, False, {}
        self.outputs = []

    def inputs(self, **events):
        measured_ns = self.t if self.frozen_ns is None else self.frozen_ns
        hand = None if self.hand is None else Stamped(self.t, np.array(self.hand, dtype=float))
        held = None if self.held is None else DeadMan(self.t, self.held)
        newest = {"measured_pose": Stamped(measured_ns, self.pose.copy()), "measured_width": self.width}
        return ControlInputs(**{**newest, "twist": hand, "dead_man": held, **self.extra, **events})

    def run(self, cycles, periods=1, **events):
        """Some cycles; events (mode, resume, chunks, widths) come with the first."""
        for i in range(cycles):
            self.t += periods * self.period_ns
            out = self.core.step(self.inputs(**(events if i == 0 else {})), self.t, periods)
            if out.pose is not None and not self.blocked:
                self.pose = out.pose.copy()
            self.outputs.append(out)
        return self.outputs[-1]

    def enter(self, mode):
        """Enter a mode with the SpaceMouse at rest."""
        hand, self.hand = self.hand, np.zeros(6)
        assert self.run(10, mode=mode).mode == mode
        self.hand = hand
        return self

    def drive(self, cycles, *twist, **events):
        """Push the SpaceMouse for some cycles."""
        self.hand = np.array(twist, dtype=float)
        return self.run(cycles, **events)

    def chunk(self, t0=None, speed=0.1, n=16, chunk_id=0, width=0.08):
        """A plan along y, seen at ``t0``, from where a fresh bench stands."""
        t0 = self.t if t0 is None else t0
        stamps = t0 + np.arange(n, dtype=np.int64) * self.contract.action.period_ns
        poses = np.tile(START, (n, 1))
        poses[:, 1] = speed * (stamps - t0) * 1e-9
        return Chunk(chunk_id, int(t0), stamps, poses, np.full(n, width), 8)

    def assert_within_limits(self):
        """Finite differences of the poses sent keep the contract's limits; a pause in sending begins anew."""
        limits, h = self.contract.limits, 1e-9 * self.period_ns
        run = []
        for out in [*self.outputs, None]:
            if out is not None and out.pose is not None:
                run.append(out.pose[:3])
                continue
            if len(run) > 3:
                path = np.array(run)
                for order, limit in (
                    (1, limits.linear_velocity_m_s),
                    (2, limits.linear_acceleration_m_s2),
                    (3, limits.linear_jerk_m_s3),
                ):
                    found = np.linalg.norm(np.diff(path, order, axis=0), axis=1).max() / h**order
                    assert found <= limit * 1.001 + 1e-6, f"derivative {order}: {found} > {limit}"
            run = []


class Hand:
    """A SpaceMouse that is sampled at 100 Hz from a thread of its own."""

    def __init__(self, cell, frame="fr3_link0"):
        self._cell, self._closed = cell, threading.Event()
        self.values, self.frame, self.held = np.zeros(6), frame, None
        self.sent = []
        self._twists = cell.node.create_publisher(TwistStamped, "teleop/twist", qos.COMMAND_OUT)
        self._states = cell.node.create_publisher(TeleopState, "teleop/state", qos.COMMAND_OUT)
        cell.wait(lambda: self._twists.get_subscription_count() > 0, "control's subscription")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._closed.wait(0.01):
            self.sample()

    def sample(self):
        stamp = ns_to_stamp(self._cell.now_ns())
        if self.held is not None:
            state = TeleopState(engaged=self.held)
            state.header.stamp = stamp
            self._states.publish(state)
        message = TwistStamped()
        message.header.frame_id, message.header.stamp = self.frame, stamp
        fill_twist(message.twist, self.values)
        self._twists.publish(message)
        return stamp

    def push(self, *values, seconds):
        self.values = np.array(values, dtype=float)
        time.sleep(seconds)

    def drive(self, *values, ready):
        """Push the cap until `ready`; a pause of this process ends the mode, and then it is asked for again."""
        cell = self._cell
        for _ in range(5):
            self.values = np.zeros(6)
            cell.wait(lambda: cell.set_mode(CommandState.TELEOP).success, "mode TELEOP")
            time.sleep(0.2)
            self.values = np.array(values, dtype=float)
            cell.wait(lambda: ready() or cell.states[-1].mode != CommandState.TELEOP, "motion or the end of the mode")
            if ready():
                return
            if cell.states[-1].mode == CommandState.FAULT:
                cell.resume()
        raise AssertionError(f"five times in vain: {cell.states[-1].text}")

    def close(self):
        """The cable is pulled."""
        self._closed.set()
        self._thread.join()


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def make_bench():
    """Builds a bench on a contract with some sections replaced: ``make_bench(safety={...}, kinematics=...)``."""

    def make(kinematics=None, **sections):
        changes = {name: replace(getattr(CONTRACT, name), **values) for name, values in sections.items()}
        return Bench(replace(CONTRACT, **changes), kinematics)

    return make


@pytest.fixture
def cell():
    cell = Cell()
    yield cell
    cell.close()


@pytest.fixture
def on_cell(tmp_path):
    """Gives the arguments of a control node on the simulated cell's contract with some sections changed."""

    def arguments(**sections):
        data = CONTRACT.to_dict()
        for name, values in {"control": AGES, **sections}.items():
            data[name] |= values
        path = tmp_path / "cell.yaml"
        path.write_text(yaml.safe_dump(data))
        return ["--ros-args", "-p", f"cell:={path}"]

    return arguments


@pytest.fixture
def start_control(cell, on_cell):
    """Starts the control node on the simulated cell's contract with some sections changed."""
    processes = []

    def start(**sections):
        command = [sys.executable, "-m", "dp_control.node", *on_cell(**sections)]
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        cell.wait(lambda: cell.states, "the first command state", 60.0)
        return processes[-1]

    yield start
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            _, log = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode == 0, log


@pytest.fixture
def control(start_control):
    return start_control()


@pytest.fixture
def make_hand(cell):
    """Makes a SpaceMouse; control must run."""
    hands = []

    def make():
        hands.append(Hand(cell))
        return hands[-1]

    yield make
    for hand in hands:
        hand.close()


@pytest.fixture
def hand(control, make_hand):
    return make_hand()
