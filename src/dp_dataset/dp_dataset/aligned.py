"""One bag to arrays on the policy's time grid.

Observations go through ``dp_core.alignment.ObservationAligner``, the code that the policy node runs on live data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dp_core.actions import ACTION_DIM, encode_action
from dp_core.alignment import Observation, ObservationAligner, StreamBuffer, interpolate_poses
from dp_core.contract import Contract
from dp_core.images import decode_jpeg, image_from_bytes, resize_image
from numpy.typing import NDArray

from dp_dataset.bag_reader import BagError, BagReader

# Modes of dp_msgs/msg/CommandState in which control sends nothing, so that there is no action to learn from.
_SILENT_MODES = (3, 4)
# Streams of the contract, besides the cameras, that make up observation and action.
_STREAMS = ("ee_pose", "gripper", "command")


@dataclass(frozen=True)
class AlignedEpisode:
    """An episode on the grid of the action rate, N instants.

    Attributes:
        images: Camera name to ``(N, H, W, 3) uint8`` RGB, at the contract's observation size.
        proprioception: ``(N, 10) float32``, measured pose and gripper width (see ``dp_core.actions``).
        action: ``(N, 10) float32``, the command that shows in the world at the instant.
        stamp_ns: ``(N,) int64`` acquisition time, ROS clock.
        valid: ``(N,) bool``; the other rows hold the last valid values and must not be learnt from.
        problems: Why instants are invalid, each reason once.
    """

    images: dict[str, NDArray[np.uint8]]
    proprioception: NDArray[np.float32]
    action: NDArray[np.float32]
    stamp_ns: NDArray[np.int64]
    valid: NDArray[np.bool_]
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of instants."""
        return len(self.stamp_ns)

    @property
    def valid_share(self) -> float:
        """Share of valid instants in [0, 1]; 0 for none."""
        return float(self.valid.mean()) if len(self.valid) else 0.0


class CommandTrack:
    """What control commanded, by the time at which it shows in the world."""

    def __init__(self, contract: Contract) -> None:
        """Start empty, with the latencies of a contract."""
        stream_latency_ns = round(1e9 * contract.streams["command"].latency_s)
        self._pose_shift_ns = round(1e9 * contract.action.latency_s) - stream_latency_ns
        self._width_shift_ns = round(1e9 * contract.gripper.latency_s) - stream_latency_ns
        self._max_age_ns = round(1e9 * contract.streams["command"].max_age_s)
        self._topic = contract.streams["command"].topic
        self._poses: StreamBuffer[Any] = StreamBuffer()
        self._widths: StreamBuffer[Any] = StreamBuffer()
        self._active: StreamBuffer[Any] = StreamBuffer()

    def push(self, header_ns: int, pose: NDArray[np.float64], width_m: float, active: bool) -> None:
        """Store one command.

        Args:
            header_ns: Time of the command, ns.
            pose: ``(7,) float64`` pose7 in the base frame.
            width_m: Commanded gripper width, m.
            active: False while control sends nothing.
        """
        self._poses.push(header_ns + self._pose_shift_ns, pose)
        self._widths.push(header_ns + self._width_shift_ns, width_m)
        self._active.push(header_ns + self._pose_shift_ns, active)

    def sample(self, t_ns: int) -> tuple[NDArray[np.float64] | None, str | None]:
        """The action at ``t_ns``: ``(10,) float64``, or None and the reason.

        The pose is interpolated; the gripper keeps its last command, for a step half-way is no command.
        """
        found = interpolate_poses(self._poses, t_ns)
        width = self._widths.bracket(t_ns)
        active = self._active.bracket(t_ns)
        if found is None or width is None or active is None:
            return None, f"{self._topic}: no command"
        if found[1] > self._max_age_ns:
            return None, f"{self._topic}: nearest command is farther than max_age_s away"
        if not active[1]:
            return None, f"{self._topic}: control sends nothing"
        return encode_action(found[0], width[1]), None


def align_bag(bag: BagReader, contract: Contract) -> AlignedEpisode:
    """Align a recorded episode on the grid of the contract's action rate.

    Instants without valid data before the first and after the last valid one are cut off; those in between stay,
    marked in ``valid``.

    Raises:
        BagError: If a stream that the policy needs is not in the bag; names the bag, the stream and its topic.
    """
    aligner = ObservationAligner(contract)
    commands = CommandTrack(contract)
    handlers = _handlers(bag, contract, aligner, commands)
    for entry in bag.read(handlers):
        handlers[entry.topic](entry.message)
    return align_streams(aligner, commands)


def align_streams(aligner: ObservationAligner, commands: CommandTrack) -> AlignedEpisode:
    """Sample filled buffers on their grid; see ``align_bag``."""
    grid = aligner.grid()
    problems: dict[str, None] = {}
    observations: list[Observation] = []
    actions: list[NDArray[np.float64] | None] = []
    for t_ns in grid:
        observation = aligner.sample(t_ns)
        action, reason = commands.sample(t_ns)
        problems.update(dict.fromkeys((*observation.problems, *([reason] if reason else []))))
        observations.append(observation)
        actions.append(action)
    valid = np.array([o.valid and a is not None for o, a in zip(observations, actions, strict=True)], dtype=bool)
    kept = np.flatnonzero(valid)
    span = slice(int(kept[0]), int(kept[-1]) + 1) if len(kept) else slice(0, 0)
    return _stack(aligner, observations[span], actions[span], valid[span], tuple(problems))


def _stack(
    aligner: ObservationAligner,
    observations: list[Observation],
    actions: list[NDArray[np.float64] | None],
    valid: NDArray[np.bool_],
    problems: tuple[str, ...],
) -> AlignedEpisode:
    """Arrays of the kept instants; the first is valid, and an invalid one repeats its predecessor."""
    spec = aligner.contract.observation
    count = len(observations)
    images = {c: np.zeros((count, spec.image_height, spec.image_width, 3), np.uint8) for c in aligner.cameras}
    proprioception = np.zeros((count, ACTION_DIM), np.float32)
    action = np.zeros((count, ACTION_DIM), np.float32)
    source = 0
    for row, usable in enumerate(valid):
        source = row if usable else source
        for camera, array in images.items():
            array[row] = observations[source].images[camera][-1]
        proprioception[row] = observations[source].proprioception[-1]
        action[row] = np.asarray(actions[source], np.float32)
    stamps = np.array([o.t_ns for o in observations], dtype=np.int64)
    return AlignedEpisode(images, proprioception, action, stamps, valid, problems)


def required_topics(bag: BagReader, contract: Contract) -> dict[str, str]:
    """Streams that the policy needs, ``camera <name>`` or ``stream <name>``, to their full topic in the bag.

    Raises:
        BagError: If one has no message in the bag; names the bag, the stream and its topic.
    """
    wanted: dict[str, str] = {}
    for name in contract.observation.cameras:
        camera = contract.cameras[name]
        wanted[f"camera {name}"] = camera.topic + ("/compressed" if camera.recording == "jpeg" else "")
    wanted.update({f"stream {name}": contract.streams[name].topic for name in _STREAMS})
    namespace = str(bag.episode.get("namespace", "/"))
    counts = bag.message_counts
    found: dict[str, str] = {}
    for stream, topic in wanted.items():
        full_name = bag.topic_name(topic, namespace)
        if full_name is None or not counts.get(full_name):
            present = ", ".join(sorted(t for t, n in counts.items() if n)) or "nothing"
            raise BagError(f"{bag.folder}: {stream} is missing, no message on topic {topic}; the bag holds {present}")
        found[stream] = full_name
    return found


def _handlers(
    bag: BagReader, contract: Contract, aligner: ObservationAligner, commands: CommandTrack
) -> dict[str, Callable[[Any], None]]:
    """What to do with a message of each topic that is needed, by full topic name."""
    topics = required_topics(bag, contract)
    gripper_topic = topics["stream gripper"]
    finger_joints = contract.streams["gripper"].joint_names

    def on_pose(message: Any) -> None:
        aligner.push_pose(_stamp_ns(message), _pose7(message.pose))

    def on_gripper(message: Any) -> None:
        aligner.push_width(_stamp_ns(message), _joint_sum(message, finger_joints, bag, gripper_topic))

    def on_command(message: Any) -> None:
        active = message.mode not in _SILENT_MODES
        commands.push(_stamp_ns(message), _pose7(message.commanded_pose), message.commanded_width, active)

    handlers: dict[str, Callable[[Any], None]] = {
        topics["stream ee_pose"]: on_pose,
        gripper_topic: on_gripper,
        topics["stream command"]: on_command,
    }
    for name in contract.observation.cameras:
        handlers[topics[f"camera {name}"]] = _image_handler(aligner, contract, name)
    return handlers


def _image_handler(aligner: ObservationAligner, contract: Contract, camera: str) -> Callable[[Any], None]:
    width, height = contract.observation.image_width, contract.observation.image_height

    def on_image(message: Any) -> None:
        if hasattr(message, "format"):
            image = decode_jpeg(message.data)
        else:
            image = image_from_bytes(message.data, message.width, message.height, message.encoding, message.step)
        # Resized at once, so that an episode's memory does not grow with the camera's resolution.
        aligner.push_image(camera, _stamp_ns(message), resize_image(image, width, height))

    return on_image


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _pose7(pose: Any) -> NDArray[np.float64]:
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w], dtype=np.float64)


def _joint_sum(message: Any, names: tuple[str, ...], bag: BagReader, topic: str) -> float:
    present = list(message.name)
    missing = [name for name in names if name not in present]
    if missing:
        raise BagError(f"{bag.folder}: {topic} has no joint {missing[0]}; it has {', '.join(present) or 'none'}")
    return float(sum(message.position[present.index(name)] for name in names))
