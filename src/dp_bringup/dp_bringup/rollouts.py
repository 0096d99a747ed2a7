"""What a report shows of recorded episodes: the path of the tool, the scene, and the pictures of a camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dp_core.contract import Contract
from dp_core.images import image_from_bytes
from dp_dataset.bag_reader import BagReader
from dp_ros.messages import pose_to_array
from numpy.typing import NDArray

SCENE_TOPIC = "sim/scene_state"


@dataclass(frozen=True)
class Rollout:
    """One recorded episode.

    Attributes:
        path: (N, 3) float64, m, base frame: positions of the tool.
        objects: name to (3,) float64 position at the start, m, base frame.
    """

    path: NDArray[np.float64]
    objects: dict[str, NDArray[np.float64]]


def read_rollout(folder: Path, contract: Contract) -> Rollout:
    """Read tool path and scene of an episode; empty where the bag lacks the topic."""
    bag = BagReader(folder)
    pose_topic = bag.topic_name(contract.streams["ee_pose"].topic)
    positions, objects = [], {}
    if pose_topic is not None:
        positions = [pose_to_array(item.message.pose)[:3] for item in bag.read([pose_topic])]
    scene_topic = bag.topic_name(SCENE_TOPIC)
    if scene_topic is not None:
        for item in bag.read([scene_topic]):
            poses = map(pose_to_array, item.message.object_poses)
            objects = {name: pose[:3] for name, pose in zip(item.message.object_names, poses, strict=True)}
            break
    return Rollout(np.array(positions).reshape(-1, 3), objects)


def read_frames(folder: Path, topic: str) -> Iterator[NDArray[np.uint8]]:
    """Pictures of a camera in order, each (H, W, 3) uint8 RGB; nothing where the bag lacks the topic."""
    bag = BagReader(folder)
    name = bag.topic_name(topic)
    if name is None:
        return
    for item in bag.read([name]):
        image = item.message
        yield image_from_bytes(image.data, image.width, image.height, image.encoding, image.step)
