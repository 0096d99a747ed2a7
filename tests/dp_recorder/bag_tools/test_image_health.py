import cv2
import numpy as np
import pytest
from dp_dataset.bag_reader import RawMessage
from dp_recorder.bag_tools.image_health import ImageHealth
from dp_recorder.bag_tools.motion_record import MotionRecord
from dp_recorder.serialized_message import write_compressed_image


def jpeg(level: int, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 3, (48, 64, 3), np.uint8)
    return cv2.imencode(".jpg", np.minimum(level + noise, 255).astype(np.uint8))[1].tobytes()


def judge(files: list[bytes], motion_m_s: float | None = 0.0) -> tuple[list[str], ImageHealth]:
    """Findings on JPEG files that came at 30 Hz while the arm moved at a speed (None: nobody knows)."""
    health, motion = ImageHealth("/c"), MotionRecord()
    for index, data in enumerate(files):
        t_ns = round(index * 1e9 / 30)
        message = write_compressed_image(t_ns, "optical", "jpeg", data)
        health.add(RawMessage("/c", "sensor_msgs/msg/CompressedImage", t_ns, t_ns, 0, memoryview(message)))
        if motion_m_s is not None:
            motion.add(t_ns, np.array([motion_m_s * t_ns / 1e9, 0.0, 0.0]))
    return [str(finding) for finding in health.findings(0, motion)], health


GOOD = [jpeg(100, seed) for seed in range(60)]


def test_cameras_may_pad_their_pictures():
    assert judge([data + bytes(500) for data in GOOD])[0] == []


def test_changing_pictures_are_good():
    findings, health = judge(GOOD)
    assert findings == [] and (health.pictures, health.repeated) == (60, 0)


@pytest.mark.parametrize(("level", "name"), [(0, "black"), (252, "over-exposed")])
def test_dead_pictures_are_found_between_good_ones(level, name):
    dead = [jpeg(level, seed) for seed in range(20)]
    findings, _ = judge(GOOD[:30] + dead + GOOD[30:])
    # Dead from 1.0 to 1.63 s; one picture every 0.1 s is looked at.
    (finding,) = findings
    assert finding.startswith("failure: /c at 1.0") and f"{name} for 0." in finding
    assert judge(GOOD[:30] + dead[:3] + GOOD[30:])[0] == []  # a tenth of a second is no dead camera


def test_the_same_picture_is_frozen_if_something_moved():
    still = [*GOOD[:15], *[GOOD[15]] * 30, *GOOD[16:30]]
    assert judge(still)[0] == []
    # Motion is looked at every 50 ms at most: of 1.0 s at 0.1 m/s, 0.93 s are seen.
    told = "failure: /c at 0.50 s: frozen: the same picture for 1.00 s while the arm moved by 0.093 m"
    assert judge(still, 0.1)[0] == [told]
    assert judge(still, None)[0] == ["warning: /c at 0.50 s: the same picture for 1.00 s"]
    assert judge(still)[1].repeated == 29


def test_a_picture_before_a_pause_is_not_frozen():
    health, motion = ImageHealth("/c"), MotionRecord()
    for index, data in enumerate(GOOD[:5]):
        t_ns = index * 10**9
        message = write_compressed_image(t_ns, "optical", "jpeg", data)
        health.add(RawMessage("/c", "sensor_msgs/msg/CompressedImage", t_ns, t_ns, 0, memoryview(message)))
        motion.add(t_ns, np.array([t_ns / 1e9, 0.0, 0.0]))
    assert health.findings(0, motion) == []


@pytest.mark.parametrize("place", [30, 31, 32, 33])
def test_a_picture_without_an_end_is_found_whether_decoded_or_not(place):
    files = list(GOOD)
    files[place] = b"" if place == 30 else files[place][: len(files[place]) // 2]
    findings, _ = judge(files)
    assert findings == [f"failure: /c at {place / 30:.2f} s: pictures cannot be decoded"]
