"""Which topics an episode holds: those of the contract, and those that explain afterwards what happened."""

from dataclasses import dataclass

from dp_core.contract import Contract

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE_TYPE = "sensor_msgs/msg/CompressedImage"
SCENE_TOPIC = "sim/scene_state"


@dataclass(frozen=True)
class RecordedStream:
    """One topic to record.

    Attributes:
        topic: Name as the contract gives it, relative to the namespace of the cell.
        type_name: Message type of the publisher; it starts with a ``std_msgs/Header``.
        required: No episode starts without it, and losing it spoils the verdict.
        rate_hz: Rate of the contract; None for topics that come when they please.
        max_age_s: Longest gap that a policy may bridge, s; None where there is no such limit.
        recording: ``raw``, or ``jpeg`` for images compressed on the way into the bag.
        jpeg_quality: Quality of that compression, 1 to 100.
        depth: Messages that the middleware keeps until the recorder takes them.
    """

    topic: str
    type_name: str
    required: bool = False
    rate_hz: float | None = None
    max_age_s: float | None = None
    recording: str = "raw"
    jpeg_quality: int = 90
    depth: int = 1000

    @property
    def bag_topic(self) -> str:
        """Name of the topic in the bag, still relative."""
        return f"{self.topic}/compressed" if self.recording == "jpeg" else self.topic

    @property
    def bag_type_name(self) -> str:
        """Message type in the bag."""
        return COMPRESSED_IMAGE_TYPE if self.recording == "jpeg" else self.type_name


_EXPLAINING = (
    ("policy/chunk", "dp_msgs/msg/ActionChunk"),
    ("policy/dry_run_chunk", "dp_msgs/msg/ActionChunk"),
    ("control/chunk_report", "dp_msgs/msg/ChunkReport"),
    ("policy/ledger", "dp_msgs/msg/ChunkLedger"),
    ("teleop/twist", "geometry_msgs/msg/TwistStamped"),
    ("teleop/gripper", "dp_msgs/msg/GripperCommand"),
    ("gripper/command", "dp_msgs/msg/GripperCommand"),
    ("robot/target_pose", "geometry_msgs/msg/PoseStamped"),
    ("spacenav/joy", "sensor_msgs/msg/Joy"),
    (SCENE_TOPIC, "dp_msgs/msg/SceneState"),
)


def recorded_streams(contract: Contract) -> tuple[RecordedStream, ...]:
    """Streams to record for a cell: cameras and robot streams of the contract, then the explaining ones."""
    cameras = [
        RecordedStream(
            topic=camera.topic,
            type_name=IMAGE_TYPE,
            required=True,
            rate_hz=camera.rate_hz,
            max_age_s=camera.max_age_s,
            recording=camera.recording,
            jpeg_quality=camera.jpeg_quality,
            depth=60,
        )
        for camera in contract.cameras.values()
    ]
    states = [
        RecordedStream(
            topic=stream.topic,
            type_name=stream.type,
            required=True,
            rate_hz=stream.rate_hz,
            max_age_s=stream.max_age_s,
        )
        for stream in contract.streams.values()
    ]
    taken = {stream.topic for stream in [*cameras, *states]}
    explaining = [RecordedStream(topic, type_name) for topic, type_name in _EXPLAINING if topic not in taken]
    return (*cameras, *states, *explaining)
