"""The policy node refuses what does not fit, and gives up on a camera that is silent, over real DDS."""

import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from dp_ros.messages import ns_to_stamp, stamp_to_ns, stamped_pose
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from dp_msgs.msg import ActionChunk, CommandState
from dp_ros import qos

CAMERAS = ("front", "wrist")


def test_a_checkpoint_of_another_cell_is_refused_with_the_difference(checkpoint, start_policy):
    process = start_policy(checkpoint(lambda contract: contract["action"].update(rate_hz=20.0)))
    _, log = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "action.rate_hz: 20.0 != 10.0" in log and "Traceback" not in log


def test_a_checkpoint_without_a_cell_is_refused(checkpoint, start_policy):
    process = start_policy(checkpoint(lambda contract: contract.clear()))
    _, log = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "carries no cell contract" in log and "Traceback" not in log


def test_no_checkpoint_is_one_clear_line(tmp_path, start_policy):
    process = start_policy(tmp_path / "nowhere")
    _, log = process.communicate(timeout=120)
    assert process.returncode == 2 and "nowhere" in log and "Traceback" not in log


def test_a_silent_camera_ends_the_node_and_is_named(checkpoint, start_policy):
    process = start_policy(checkpoint(), "stream_timeout_s:=1.0")
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("peer", context=context)
    states = node.create_publisher(CommandState, "control/command_state", qos.STATE)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        states.publish(CommandState(mode=CommandState.POLICY))
        time.sleep(0.02)
    node.destroy_node()
    context.try_shutdown()
    _, log = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "nothing arrived on camera/front/color/image_raw, camera/wrist/color/image_raw, robot/ee_pose" in log


def test_samples_from_before_the_activation_are_not_used_and_a_camera_that_dies_is_named(checkpoint, start_policy):
    process = start_policy(checkpoint())
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("peer", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    chunks, reports = [], []
    node.create_subscription(ActionChunk, "policy/chunk", chunks.append, qos.EVENT)
    node.create_subscription(DiagnosticArray, "/diagnostics", reports.append, qos.EVENT)
    cameras = {name: node.create_publisher(Image, f"camera/{name}/color/image_raw", qos.IMAGE) for name in CAMERAS}
    poses = node.create_publisher(PoseStamped, "robot/ee_pose", qos.STATE)
    fingers = node.create_publisher(JointState, "gripper/state", qos.STATE)
    states = node.create_publisher(CommandState, "control/command_state", qos.STATE)
    activated_ns = None

    def cycle(names, age_ns):
        """One tick: a mode message stamped now, everything else stamped `age_ns` earlier."""
        nonlocal activated_ns
        now = node.get_clock().now().nanoseconds
        activated_ns = activated_ns or now
        state = CommandState(mode=CommandState.POLICY)
        state.header.stamp = ns_to_stamp(now)
        states.publish(state)
        stamp = ns_to_stamp(now - age_ns)
        for name in names:
            image = Image(height=96, width=96, step=288, encoding="rgb8", data=bytes(96 * 288))
            image.header.stamp = stamp
            cameras[name].publish(image)
        poses.publish(stamped_pose([0.5, 0, 0.3, 1, 0, 0, 0], "fr3_link0", now - age_ns))
        joints = JointState(name=["fr3_finger_joint1", "fr3_finger_joint2"], position=[0.04, 0.04])
        joints.header.stamp = stamp
        fingers.publish(joints)
        executor.spin_once(0)
        time.sleep(0.02)

    def until(ready, names, age_ns, timeout_s):
        deadline = time.monotonic() + timeout_s
        while not ready() and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[1]
            cycle(names, age_ns)
        return ready()

    try:
        assert until(lambda: node.count_publishers("policy/chunk") > 0, (), 0, 120)
        assert not until(lambda: chunks, CAMERAS, 10**10, 2), "old samples must not make a plan"
        assert until(lambda: chunks, CAMERAS, 0, 60)
        assert stamp_to_ns(chunks[0].header.stamp) >= activated_ns
        named = "nothing new on camera/front/color/image_raw for"
        assert until(lambda: any(named in r.status[0].message for r in reports), ("wrist",), 0, 60)
    finally:
        process.terminate()
        process.communicate(timeout=60)
        node.destroy_node()
        context.try_shutdown()
