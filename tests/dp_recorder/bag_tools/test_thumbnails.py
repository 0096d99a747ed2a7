import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from dp_dataset.bag_reader import BagError, RawMessage
from dp_recorder.bag_tools.picture_decoding import decode_picture
from dp_recorder.bag_tools.picture_layout import LABEL_HEIGHT, ThumbSettings
from dp_recorder.bag_tools.thumbnails import make_thumbnails
from dp_recorder.serialized_message import write_compressed_image
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

START_NS = 1_000_000_000_000


def test_sheet_and_film_show_each_camera_at_its_time(record, tmp_path):
    def grey(t_ns, name, message):
        """Brightness tells the time: 10 levels for each 0.1 s."""
        if name.startswith("camera/"):
            level = round((t_ns - START_NS) / 1e8) * 10
            object.__setattr__(message, "data", np.full(96 * 288, level, np.uint8))
        return t_ns, name, message

    folder = record(tmp_path, seconds=2.0, change=grey).folder
    made = make_thumbnails(folder, tmp_path / "out" / "thumb", ThumbSettings(times=4, height=64, rate_hz=10))
    assert [name.split("/")[2] for name in made.cameras] == ["front", "wrist"] and made.problems == ()
    sheet = cv2.imread(str(made.sheet))
    assert sheet.shape == (2 * (64 + LABEL_HEIGHT + 2), 4 * 64, 3)
    # Wanted at (k + 0.5) * 1.99 s / 4; the next pictures were taken at 0.3, 0.8, 1.3 and 1.8 s.
    for column, level in enumerate((30, 80, 130, 180)):
        for row in range(2):
            tile = sheet[row * 82 + LABEL_HEIGHT + 8 : row * 82 + LABEL_HEIGHT + 60, column * 64 + 4 : column * 64 + 60]
            assert np.abs(tile.astype(int) - level).max() <= 1
    reader = imageio_ffmpeg.read_frames(str(made.film))
    about = next(reader)
    frames = [np.frombuffer(frame, np.uint8).reshape(80, 128, 3) for frame in reader]
    assert about["fps"] == 10 and about["size"] == (128, 80)
    assert len(frames) in (20, 21)
    # The frame of 1.0 s shows the picture of 0.9 s, received before, or that of 1.0 s; lossy compression adds a little.
    for index in (5, 10, 15):
        assert abs(float(frames[index][30:, 10:50].mean()) - 10 * index) < 15


def test_a_bag_without_pictures_says_what_it_has(poses):
    with pytest.raises(BagError, match="holds no pictures; it has /latched, /pose"):
        make_thumbnails(poses[0], poses[0] / "thumb")


def raw(encoding, pixels, step):
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding=encoding, step=step, data=pixels.tobytes())
    return RawMessage("/c", "sensor_msgs/msg/Image", 0, 0, 0, memoryview(serialize_message(message)))


@pytest.mark.parametrize(
    ("encoding", "value", "expected"),
    [
        ("rgb8", (10, 20, 30), (10, 20, 30)),
        ("bgr8", (10, 20, 30), (30, 20, 10)),
        ("rgba8", (10, 20, 30, 40), (10, 20, 30)),
        ("bgra8", (10, 20, 30, 40), (30, 20, 10)),
        ("mono8", (10,), (10, 10, 10)),
    ],
)
def test_encodings(encoding, value, expected):
    pixels = np.tile(np.array(value, np.uint8), (8, 12, 1))
    picture = decode_picture(raw(encoding, pixels, 12 * len(value)), 4)
    assert picture.shape == (4, 6, 3)
    assert (picture == expected).all()


def test_depth_is_shown_up_to_two_metres():
    picture = decode_picture(raw("16UC1", np.full((8, 12), 1000, np.uint16), 24), 8)
    assert (picture == 127).all()


def test_compressed_pictures_are_decoded():
    _, data = cv2.imencode(".png", np.full((8, 12, 3), (1, 2, 3), np.uint8))
    message = write_compressed_image(5, "optical", "rgb8; png", data.tobytes())
    entry = RawMessage("/c", "sensor_msgs/msg/CompressedImage", 0, 0, 0, memoryview(message))
    assert (decode_picture(entry, 8) == (3, 2, 1)).all()
    cut = entry._replace(data=entry.data[:-3])
    with pytest.raises(ValueError, match="ends inside its picture"):
        decode_picture(cut, 8)


def test_unknown_encodings_are_named():
    with pytest.raises(ValueError, match="encoding 'yuv422'; valid: mono8"):
        decode_picture(raw("yuv422", np.zeros((8, 12), np.uint8), 12), 8)
