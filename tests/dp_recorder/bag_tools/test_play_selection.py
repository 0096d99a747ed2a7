import pytest
from dp_dataset.bag_reader import BagError, BagTopic
from dp_recorder.bag_tools.play_selection import PlayFilter, moves_a_robot, select_topics


def topic(name: str, type_name: str = "geometry_msgs/msg/PoseStamped") -> BagTopic:
    return BagTopic(name, type_name, "", "ros2msg", "", "", 1)


@pytest.mark.parametrize(
    ("name", "type_name"),
    [
        ("/robot/target_pose", "geometry_msgs/msg/PoseStamped"),
        ("/left/robot/target_pose", "geometry_msgs/msg/PoseStamped"),
        ("/gripper/command", "dp_msgs/msg/GripperCommand"),
        ("/policy/chunk", "dp_msgs/msg/ActionChunk"),
        ("/teleop/twist", "geometry_msgs/msg/TwistStamped"),
        ("/teleop/state", "dp_msgs/msg/TeleopState"),
        ("/spacenav/joy", "sensor_msgs/msg/Joy"),
        ("/recorder/operator_command", "dp_msgs/msg/OperatorCommand"),
        ("/cmd_vel", "geometry_msgs/msg/Twist"),
        ("/forward_position_controller/commands", "std_msgs/msg/Float64MultiArray"),
        ("/joint_trajectory_controller/joint_trajectory", "trajectory_msgs/msg/JointTrajectory"),
        ("/anything", "trajectory_msgs/msg/JointTrajectory"),
        ("/target_frame", "geometry_msgs/msg/PoseStamped"),
        ("/servo_node/pose_target_cmds", "geometry_msgs/msg/PoseStamped"),
        ("/servo_node/delta_twist_cmds", "geometry_msgs/msg/TwistStamped"),
        ("/base/cmd_vel_unstamped", "geometry_msgs/msg/TwistStamped"),
        ("/cartesian_impedance/equilibrium_pose", "geometry_msgs/msg/PoseStamped"),
        ("/drive", "geometry_msgs/msg/Twist"),
    ],
)
def test_what_may_move_a_robot_is_known(name, type_name):
    assert moves_a_robot(name, type_name)


@pytest.mark.parametrize(
    "name",
    ["/robot/ee_pose", "/camera/front/color/image_raw", "/control/command_state", "/control/chunk_report", "/tf"],
)
def test_what_only_reports_is_played(name):
    assert not moves_a_robot(name, "geometry_msgs/msg/PoseStamped")


def test_a_plan_that_nobody_obeys_is_played():
    assert not moves_a_robot("/policy/dry_run_chunk", "dp_msgs/msg/ActionChunk")


TOPICS = {name: topic(name) for name in ("/robot/ee_pose", "/robot/target_pose", "/camera/a", "/camera/b", "/clock")}
JPEG = topic("/camera/c/compressed", "sensor_msgs/msg/CompressedImage")


def names(wanted, topics=None):
    played, refused = select_topics(topics or TOPICS, wanted)
    return [entry.name for entry in played], refused


def test_commands_are_left_out_unless_asked_for():
    everything = ["/robot/ee_pose", "/camera/a", "/camera/b", "/clock"]
    assert names(PlayFilter()) == (everything, ["/robot/target_pose"])
    played, refused = names(PlayFilter(with_commands=True))
    assert "/robot/target_pose" in played and refused == []
    with pytest.raises(BagError, match="/robot/target_pose may move a robot; add --with-commands"):
        names(PlayFilter(topics=["/robot/target_pose"]))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"remap": {"/robot/ee_pose": "/target_pose"}}, "/robot/ee_pose as /target_pose may move a robot"),
        ({"remap": {"/robot/ee_pose": "left/robot/target_pose"}}, "as /left/robot/target_pose may move"),
        ({"topics": ["/twist"], "namespace": "teleop"}, "/twist as /teleop/twist may move a robot"),
        ({"remap": {"/policy/dry_run_chunk": "/policy/chunk"}}, "/policy/dry_run_chunk as /policy/chunk may move"),
    ],
)
def test_a_new_name_makes_no_command_of_what_was_none(wanted, message):
    topics = TOPICS | {name: topic(name) for name in ("/twist", "/policy/dry_run_chunk")}
    with pytest.raises(BagError, match=message):
        names(PlayFilter(**wanted), topics)
    assert names(PlayFilter(**wanted, with_commands=True), topics)[1] == []


def test_names_and_patterns_choose_and_rename():
    assert names(PlayFilter(topics=["/camera/.*"]))[0] == ["/camera/a", "/camera/b"]
    assert names(PlayFilter(topics=["/camera/.*"], exclude=["/camera/a"]))[0] == ["/camera/b"]
    chosen = PlayFilter(topics=["/camera/.*"], remap={"/camera/a": "elsewhere"}, namespace="replay")
    assert names(chosen)[0] == ["/elsewhere", "/replay/camera/b"]
    assert "/clock" not in names(PlayFilter(clock=True))[0]


def test_pictures_are_decoded_under_their_own_name():
    topics = {JPEG.name: JPEG}
    (played,), _ = select_topics(topics, PlayFilter(raw_images=True))
    assert (played.name, played.type_name, played.decoded) == ("/camera/c", "sensor_msgs/msg/Image", True)
    (played,), _ = select_topics(topics, PlayFilter())
    assert (played.name, played.decoded) == ("/camera/c/compressed", False)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (PlayFilter(topics=["/nothing"]), "no topic /nothing in the bag; it has /camera/a"),
        (PlayFilter(exclude=["/("]), "neither a topic nor a regular expression"),
        (PlayFilter(exclude=["/.*"]), "no topics left to play"),
        (PlayFilter(remap={"/camera/a": "/camera/b"}), "two topics would be published as /camera/b"),
    ],
)
def test_what_cannot_be_is_refused(wanted, message):
    with pytest.raises(BagError, match=message):
        names(wanted)
