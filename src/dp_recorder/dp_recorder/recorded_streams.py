"""Which topics an episode holds: those of the contract, and those that explain afterwards what happened."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dp_core.camera_device import camera_topics
from dp_core.contract import Contract

from dp_recorder.frame_counter import FRAME_METADATA_TYPE, REALSENSE_METADATA_TYPE

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE_TYPE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
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
        frames_of: Topic of the images whose frames this stream counts, in the camera's own numbers; empty: none.
    """

    topic: str
    type_name: str
    required: bool = False
    rate_hz: float | None = None
    max_age_s: float | None = None
    recording: str = "raw"
    jpeg_quality: int = 90
    depth: int = 1000
    frames_of: str = ""

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
    """Streams to record for a cell: cameras and robot streams of the contract, then the explaining ones.

    What realsense-ros says of its frames is apart (:func:`realsense_streams`): its messages may not be installed.
    """
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
    return (*cameras, *states, *_camera_streams(contract), *explaining)


def _camera_streams(contract: Contract) -> list[RecordedStream]:
    """What explains the images: camera_info; of our own camera node the metadata, and depth where there is any."""
    streams = []
    for name, camera in contract.cameras.items():
        topics = camera_topics(camera.topic)
        streams.append(RecordedStream(topics.camera_info, CAMERA_INFO_TYPE))
        device = contract.camera_devices.get(name)
        if device is None:
            continue
        streams.append(RecordedStream(topics.metadata, FRAME_METADATA_TYPE, frames_of=camera.topic))
        if device.depth:
            streams.append(RecordedStream(topics.depth, IMAGE_TYPE, depth=60))
    return streams


def realsense_streams(contract: Contract) -> tuple[RecordedStream, ...]:
    """Metadata that realsense-ros publishes of the cameras that our own node does not open."""
    return tuple(
        RecordedStream(camera_topics(camera.topic).metadata, REALSENSE_METADATA_TYPE, frames_of=camera.topic)
        for name, camera in contract.cameras.items()
        if name not in contract.camera_devices
    )


def split_installed(
    streams: Iterable[RecordedStream], is_installed: Callable[[str], bool]
) -> tuple[tuple[RecordedStream, ...], tuple[RecordedStream, ...]]:
    """Streams whose message type is there, and those that have to be left out.

    Args:
        streams: What could be recorded; none of them required.
        is_installed: Whether a message type such as ``sensor_msgs/msg/Image`` is there.
    """
    there = {stream: is_installed(stream.type_name) for stream in streams}
    return tuple(s for s in there if there[s]), tuple(s for s in there if not there[s])
