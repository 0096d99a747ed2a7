"""Which topics of a bag are played, under which names; those that move a robot are not, unless asked for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dp_dataset.bag_reader import BagError, BagTopic

from dp_recorder.recorded_streams import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE

#: Names of this stack, and of common drivers and controllers, that somebody may obey.
_COMMANDS = re.compile(
    r"(^|/)(robot/target_pose|gripper/command|policy/chunk|teleop/[^/]+|spacenav/[^/]+|joy|recorder/operator_command"
    r"|([^/]*_)?cmds?(_[^/]*)?(/.*)?"
    r"|[^/]*((target|desired|equilibrium)_(pose|frame|joint|wrench|twist)|joint_trajectory|commands?|goal|setpoint"
    r"|reference)(/.*)?)$"
)
#: What only reports what was commanded.
_REPORTS = re.compile(r"(^|/)control/(command_state|chunk_report)$")
_COMMAND_TYPES = frozenset(
    {
        "trajectory_msgs/msg/JointTrajectory",
        "trajectory_msgs/msg/MultiDOFJointTrajectory",
        "geometry_msgs/msg/Twist",
        "control_msgs/msg/JointJog",
        "ackermann_msgs/msg/AckermannDrive",
        "dp_msgs/msg/ActionChunk",
        "dp_msgs/msg/GripperCommand",
        "dp_msgs/msg/OperatorCommand",
    }
)
_HARMLESS = frozenset({"policy/dry_run_chunk"})
_CLOCK = "/clock"


@dataclass(frozen=True)
class PlayedTopic:
    """One topic to publish.

    Attributes:
        source: What the bag says of it.
        name: Full name to publish under.
        type_name: Message type to publish.
        decoded: Whether JPEG pictures are decoded on the way.
    """

    source: BagTopic
    name: str
    type_name: str
    decoded: bool = False


@dataclass(frozen=True)
class PlayFilter:
    """What is asked for.

    Attributes:
        topics: Full names in the bag, or regular expressions for them; empty for all.
        exclude: Likewise, to be left out.
        remap: Name in the bag to the name to publish under.
        namespace: Put before every name that is not remapped.
        with_commands: Also play what may move a robot.
        raw_images: Publish JPEG pictures as raw ones.
        clock: Whether /clock is published anew, so that one of the bag is left out.
    """

    topics: Sequence[str] = ()
    exclude: Sequence[str] = ()
    remap: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    with_commands: bool = False
    raw_images: bool = False
    clock: bool = False


def moves_a_robot(name: str, type_name: str) -> bool:
    """Whether somebody on a topic of this full name and type may obey."""
    if _REPORTS.search(name) or any(name.endswith(f"/{harmless}") for harmless in _HARMLESS):
        return False
    return type_name in _COMMAND_TYPES or bool(_COMMANDS.search(name))


def select_topics(topics: Mapping[str, BagTopic], wanted: PlayFilter) -> tuple[list[PlayedTopic], list[str]]:
    """Choose what is played.

    Args:
        topics: Of the bag, by full name.
        wanted: What is asked for.

    Returns:
        What is played, and the names of command topics that are left out.

    Raises:
        BagError: If a name matches nothing, a command is asked for by name without leave, or a topic would become one
            by its new name, two topics would get the same name, or nothing remains.
    """
    for pattern in (*wanted.topics, *wanted.exclude, *wanted.remap):
        if not any(_matches(name, [pattern]) for name in topics):
            raise BagError(f"no topic {pattern} in the bag; it has {', '.join(sorted(topics))}")
    chosen = [
        topic
        for name, topic in topics.items()
        if (not wanted.topics or _matches(name, wanted.topics)) and not _matches(name, wanted.exclude)
    ]
    chosen = [topic for topic in chosen if not (wanted.clock and topic.name == _CLOCK)]
    played = [_played(topic, wanted) for topic in chosen]
    refused = [] if wanted.with_commands else [topic for topic in played if _obeyed(topic)]
    for topic in refused:
        name = topic.source.name
        if name in wanted.topics or name in wanted.remap:
            as_name = "" if topic.name == name else f" as {topic.name}"
            raise BagError(f"{name}{as_name} may move a robot; add --with-commands if nothing that listens can do harm")
    played = [topic for topic in played if topic not in refused]
    left_out_names = [topic.source.name for topic in refused]
    if not played:
        left_out = f"; left out because they may move a robot: {', '.join(left_out_names)}" if refused else ""
        raise BagError(f"no topics left to play{left_out}")
    names = [topic.name for topic in played]
    for name in names:
        if names.count(name) > 1:
            raise BagError(f"two topics would be published as {name}; give one another name with --remap")
    return played, left_out_names


def _obeyed(topic: PlayedTopic) -> bool:
    """By what was recorded, or under its new name: a measured pose that is published as a target is one."""
    recorded = moves_a_robot(topic.source.name, topic.source.type_name)
    return recorded or moves_a_robot(topic.name, topic.type_name)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    for pattern in patterns:
        try:
            if name == pattern or re.fullmatch(pattern, name):
                return True
        except re.error as error:
            raise BagError(f"{pattern!r} is neither a topic nor a regular expression: {error}") from error
    return False


def _played(topic: BagTopic, wanted: PlayFilter) -> PlayedTopic:
    decoded = wanted.raw_images and topic.type_name == COMPRESSED_IMAGE_TYPE
    name = topic.name
    if name in wanted.remap:
        name = wanted.remap[name]
        name = name if name.startswith("/") else f"/{name}"
    else:
        name = name.removesuffix("/compressed") if decoded else name
        prefix = wanted.namespace.strip("/")
        name = f"/{prefix}{name}" if prefix else name
    return PlayedTopic(topic, name, IMAGE_TYPE if decoded else topic.type_name, decoded)
