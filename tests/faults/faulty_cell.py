"""The rest of the cell in one process: robot, cameras, operator and policy, whose messages a test may spoil."""

import collections
import contextlib
import math
import threading
import time

import numpy as np
import rclpy
from dp_control.kinematics import QpKinematics
from dp_core.contract import load_contract
from dp_ros.messages import array_to_pose, fill_twist, ns_to_stamp, pose_to_array, stamp_to_ns, stamped_pose
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState, Joy

from dp_msgs.msg import ActionChunk, ChunkReport, CommandState, GripperCommand, TeleopState
from dp_ros import qos

START_JOINTS = np.array([0.0, -0.7853981634, 0.0, -2.3561944902, 0.0, 1.5707963268, 0.7853981634])
RATE_HZ = 100.0
NEAR_M = 0.06
FINGERS = ["fr3_finger_joint1", "fr3_finger_joint2"]


def as_it_is(message):
    return [message]


class FaultyCell:
    """Publishes at 100 Hz; the arm follows its target perfectly; every command and every state is kept.

    `spoil[stream]` turns a message that is about to be sent into the list of those that really are. `stalled` keeps
    all messages back until it is lifted, when they leave in a burst. A cell on a clock of its own sets it by `jump`.
    """

    def __init__(self, contract=None, sends=None, clock="real"):
        self.contract = contract or load_contract("sim_franka")
        self.sends, self.clock = sends, clock
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        follows = Parameter("use_sim_time", value=clock == "followed")
        self.node = Node("rest_of_the_cell", context=self.context, parameter_overrides=[follows])
        self.start = QpKinematics.from_contract(self.contract).forward(START_JOINTS)
        self.pose, self.joints = self.start.copy(), START_JOINTS.copy()
        self.follows = True
        self.width = 0.08
        self.wrench = np.zeros(6)
        self.twist = None
        self.axes = None
        self.held = True
        self.plan = None
        self.images = False
        # Clocks: real; own: the cell publishes /clock, which a test may set; followed: that of a simulator.
        self.simulated_ns = 1_000_000_000_000 if clock == "own" else None
        self._clock_lock = threading.Lock()
        self.offset_ns = 0
        # The longest time by which this process has been late with its messages: the machine's fault, not control's.
        self.late_s = 0.0
        self.spoil = {}
        self.targets, self.states, self.reports, self.grips = [], [], [], []
        self.devices = collections.deque(maxlen=100)
        self._backlog = []
        self._stalled = False
        self._chunk_id = 0
        self._cycle = 0
        self._make_publishers()
        self._subscribe()
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._spin, self._run)]
        for thread in self._threads:
            thread.start()

    def _make_publishers(self):
        make, streams = self.node.create_publisher, self.contract.streams
        self._out = {
            "pose": make(PoseStamped, streams["ee_pose"].topic, qos.STATE),
            "joints": make(JointState, streams["joint_states"].topic, qos.STATE),
            "gripper": make(JointState, streams["gripper"].topic, qos.STATE),
            "wrench": make(WrenchStamped, streams["wrench"].topic, qos.STATE),
            "twist": make(TwistStamped, "teleop/twist", qos.COMMAND_OUT),
            "engaged": make(TeleopState, "teleop/state", qos.COMMAND_OUT),
            "joy": make(Joy, "spacenav/joy", qos.STATE),
            "chunk": make(ActionChunk, "policy/chunk", qos.EVENT),
        }
        if self.simulated_ns is not None:
            self._out["clock"] = make(Clock, "/clock", qos.CLOCK)
        for name, camera in self.contract.cameras.items():
            self._out[name] = make(Image, camera.topic, qos.IMAGE)

    def _subscribe(self):
        listen = self.node.create_subscription
        listen(PoseStamped, "robot/target_pose", self._follow, qos.STATE)
        listen(CommandState, "control/command_state", self._hear, qos.STATE)
        listen(ChunkReport, "control/chunk_report", self.reports.append, qos.EVENT)
        listen(GripperCommand, "gripper/command", self.grips.append, qos.STATE)
        listen(TeleopState, "teleop/state", lambda message: self.devices.append(message), qos.STATE)

    def now_ns(self):
        """ROS time as the cell's own clock has it."""
        if self.simulated_ns is not None:
            return self.simulated_ns
        return self.node.get_clock().now().nanoseconds + self.offset_ns

    def _follow(self, message):
        pose = pose_to_array(message.pose)
        self.targets.append((stamp_to_ns(message.header.stamp), pose))
        if self.follows:
            self.pose = pose

    def _hear(self, message):
        self.states.append(message)
        if self.follows and len(message.commanded_joints):
            self.joints = np.array(message.commanded_joints)

    def _spin(self):
        with contextlib.suppress(ExternalShutdownException):
            while not self._closed.is_set():
                self._executor.spin_once(0.1)

    def _run(self):
        """Send everything on an absolute schedule."""
        due = time.monotonic()
        while not self._closed.is_set():
            self.late_s = max(self.late_s, time.monotonic() - due - 1.0 / RATE_HZ)
            due = max(due + 1.0 / RATE_HZ, time.monotonic() - 0.05)
            time.sleep(max(0.0, due - time.monotonic()))
            self._cycle += 1
            self._send_all()

    def _send_all(self):
        if self.simulated_ns is not None:
            self.jump(1.0 / RATE_HZ)
            self._send("clock", Clock(clock=ns_to_stamp(self.simulated_ns)))
        now = self.now_ns()
        stamp, frame = ns_to_stamp(now), self.contract.base_frame
        self._send("pose", stamped_pose(self.pose, frame, now))
        joints = JointState(name=list(self.contract.streams["joint_states"].joint_names), position=self.joints.tolist())
        fingers = JointState(name=FINGERS, position=[self.width / 2] * 2)
        wrench, engaged = WrenchStamped(), TeleopState(engaged=self.held)
        f, t = wrench.wrench.force, wrench.wrench.torque
        f.x, f.y, f.z, t.x, t.y, t.z = map(float, self.wrench)
        for name, message in (("joints", joints), ("gripper", fingers), ("wrench", wrench), ("engaged", engaged)):
            message.header.stamp = stamp
            self._send(name, message)
        # The test changes these at any moment.
        twist, axes, plan = self.twist, self.axes, self.plan
        if twist is not None:
            message = TwistStamped()
            message.header.stamp, message.header.frame_id = stamp, frame
            fill_twist(message.twist, twist(1e-9 * now))
            self._send("twist", message)
        if axes is not None:
            message = Joy(axes=list(map(float, axes(1e-9 * now))), buttons=[0, int(self.held)])
            message.header.stamp = stamp
            self._send("joy", message)
        if self._cycle % 10 == 0:
            self._send_slow(now, plan)

    def _send_slow(self, now, plan):
        """What comes at 10 Hz: images, and a chunk each 0.2 s."""
        for name, camera in self.contract.cameras.items() if self.images else ():
            size = camera.height * camera.width * 3
            image = Image(height=camera.height, width=camera.width, step=3 * camera.width, encoding="rgb8")
            image.data = bytes(size)
            image.header.stamp = ns_to_stamp(now)
            self._send(name, image)
        if plan is not None and self._cycle % 20 == 0:
            self._send("chunk", self.chunk(now, plan))

    def chunk(self, now, plan, actions=9):
        """The plan as a message: `plan(t)` gives the pose at time t, s."""
        period_ns = self.contract.action.period_ns
        message = ActionChunk(chunk_id=self._chunk_id, ee_frame=self.contract.ee_frame, committed=2, policy_id="test")
        self._chunk_id += 1
        message.header.frame_id = self.contract.base_frame
        message.header.stamp = ns_to_stamp(now)
        times = [now + i * period_ns for i in range(actions)]
        message.stamps = [ns_to_stamp(t) for t in times]
        message.poses = [array_to_pose(plan(t * 1e-9)) for t in times]
        message.gripper_widths = [0.08] * actions
        return message

    def _send(self, stream, message):
        if self._closed.is_set() or not self.context.ok() or (self.sends is not None and stream not in self.sends):
            return
        for spoilt in self.spoil.get(stream, as_it_is)(message):
            self._backlog.append((stream, spoilt))
        if not self._stalled:
            backlog, self._backlog = self._backlog, []
            for name, kept in backlog:
                self._out[name].publish(kept)

    def jump(self, seconds):
        """Set the cell's own clock; it goes on in another thread."""
        with self._clock_lock:
            self.simulated_ns += round(1e9 * seconds)

    def stall(self, seconds, noticed):
        """The network keeps everything back for so long, and until it is noticed; then it delivers it in a burst."""
        self._stalled = True
        try:
            time.sleep(seconds)
            self.wait(noticed, "the stall to be noticed")
        finally:
            self._stalled = False

    def listeners(self, stream):
        """How many subscriptions have found a stream."""
        return self._out[stream].get_subscription_count()

    def newcomer(self, stream):
        """Says whether somebody new has come to a stream since this call: the killed stay counted for a while."""
        topic = self._out[stream].topic_name

        def present():
            found = self.node.get_subscriptions_info_by_topic(topic) + self.node.get_publishers_info_by_topic(topic)
            return {tuple(info.endpoint_gid) for info in found}

        before = present()
        return lambda: bool(present() - before)

    def commands_since(self, t_ns):
        """How many commands have a later stamp: what comes late, on its way when somebody died, is not one."""
        return sum(stamp > t_ns for stamp, _ in list(self.targets))

    def wait_real(self, seconds):
        """Let time pass on the wall."""
        time.sleep(seconds)

    def wait(self, ready, what, timeout_s=20.0):
        """Wait for a condition."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}; {self.lately()}"
            time.sleep(0.005)

    def pause(self, seconds):
        """Let time pass on the cell's clock."""
        end = self.now_ns() + round(1e9 * seconds)
        self.wait(lambda: self.now_ns() >= end, "time to pass")

    def lately(self):
        """What control has told in the last 30 s, in words: mode and text wherever they have changed."""
        now, told = self.now_ns(), []
        for state in self.states[-6000:]:
            age = 1e-9 * (now - stamp_to_ns(state.header.stamp))
            if age < 30.0 and (not told or told[-1][1:] != (state.mode, state.text)):
                told.append((round(age, 2), state.mode, state.text))
        last = 1e-9 * (now - stamp_to_ns(self.states[-1].header.stamp)) if self.states else math.inf
        return f"last state {last:.2f} s ago; age, mode, text: {told[-12:]}"

    def heal(self):
        """Nothing is spoilt, nobody drives or plans, the arm follows its command."""
        self.spoil.clear()
        self._stalled, self.follows, self.held, self.width = False, True, True, 0.08
        self.wrench, self.twist, self.axes, self.plan = np.zeros(6), None, None, None

    def put_at_start(self):
        """Move the arm to its start if it is far from it; only while control is STOPPED.

        Control sees a jump of the measured pose, and starts no mode for a while.
        """
        if np.linalg.norm(self.pose[:3] - self.start[:3]) < NEAR_M:
            return
        self.pose, self.joints = self.start.copy(), START_JOINTS.copy()

    @property
    def mode(self):
        """Mode of the newest state."""
        return self.states[-1].mode

    def speed(self):
        """Commanded linear speed, m/s."""
        v = self.states[-1].commanded_twist.linear
        return float(np.linalg.norm([v.x, v.y, v.z]))

    def at_rest(self):
        """True when the newest state says that the command does not move."""
        twist = self.states[-1].commanded_twist
        v, w = twist.linear, twist.angular
        return not any((v.x, v.y, v.z, w.x, w.y, w.z))

    def close(self):
        """End."""
        self._closed.set()
        for thread in self._threads:
            thread.join(20.0)
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()
