"""A disk that is full: the episode is closed as far as it fits and said to be bad, others stay, recording goes on."""

import errno
import hashlib
import json
import os
import resource
import subprocess
import time
from pathlib import Path

import pytest
from dp_recorder.atomic_file import RoomForText, write_text_atomically
from dp_recorder.episode import EpisodeRequest
from dp_recorder.episode_writer import EpisodeWriter
from dp_recorder.message_queue import QueuedMessage
from dp_recorder.recorded_streams import RecordedStream
from mcap.reader import SeekingReader
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image

MIB = 2**20
CAMERA = RecordedStream("camera/front", "sensor_msgs/msg/Image", True, 10.0, 0.3)
PIXELS = 256 * 256 * 3
IMAGE = serialize_message(Image(height=256, width=256, encoding="rgb8", step=768, data=os.urandom(PIXELS)))


def mount(kind: str, options: list[str], source: str, folder: Path) -> None:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", kind, *options, source, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"{kind} cannot be mounted here: {done.stderr.strip()}")


def tmpfs(folder: Path) -> None:
    mount("tmpfs", ["-o", "size=16m"], "tmpfs", folder)


def ext4(folder: Path) -> None:
    """A file system of the kind most disks have; it takes direct writes."""
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(20 * MIB)
    made = subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", str(image)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mkfs.ext4 is not here")
    mount("ext4", ["-o", "loop"], str(image), folder)


@pytest.fixture(params=[tmpfs, ext4], ids=["tmpfs", "ext4"])
def small_disk(request, tmp_path):
    if os.geteuid():
        pytest.skip("only root may mount")
    folder = tmp_path / "disk"
    try:
        request.param(folder)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def start(directory: Path) -> EpisodeWriter:
    return EpisodeWriter(EpisodeRequest(directory, "fill"), [CAMERA], 0, flush_period_s=0.1)


def put(writer: EpisodeWriter, first: int, count: int) -> int:
    """Put images; returns how many were put in all."""
    for index in range(first, first + count):
        stamp_ns = index * 100_000_000
        writer.put([QueuedMessage(0, IMAGE, stamp_ns, stamp_ns, index + 1)])
        if index % 8 == 7:
            time.sleep(0.01)
    return first + count


def fill_until_it_fails(writer: EpisodeWriter, most: int = 400) -> int:
    index, deadline = 0, time.monotonic() + 20.0
    while writer.failure is None and time.monotonic() < deadline:
        index = put(writer, index, 8 if index < most else 0)
        time.sleep(0.01)
    return index


def check_bag(folder: Path) -> int:
    """The bag can be read, every checksum is right, counts agree with ``episode.json``; returns the messages."""
    with (folder / f"{folder.name}_0.mcap").open("rb") as file:
        reader = SeekingReader(file, validate_crcs=True)
        stamps = [message.publish_time for _, _, message in reader.iter_messages(log_time_order=False)]
    assert stamps == [index * 100_000_000 for index in range(len(stamps))], "the beginning, without a gap"
    with Reader(folder) as bag:
        assert bag.message_count == len(stamps)
    description = json.loads((folder / "episode.json").read_text())
    stream = description["streams"]["camera/front"]
    assert description["state"] == "closed" and stream["received"] - stream["dropped"] == len(stamps)
    return len(stamps)


def fill(disk: Path) -> int:
    """Take all the room there is; returns the open file that has it."""
    filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space left"):
        while True:
            os.write(filler, bytes(MIB))
    for size in (65536, 4096, 1):
        try:
            while os.write(filler, bytes(size)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return filler


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.iterdir()))).hexdigest()


def test_a_disk_that_fills_up(small_disk):
    first = start(small_disk)
    put(first, 0, 8)
    older = first.close("success", 0).folder
    before = digest(older)
    writer = start(small_disk)
    received = fill_until_it_fails(writer)
    assert writer.failure is not None and "No space left" in writer.failure
    closed = writer.close("success", 0)
    assert closed.verdict.level == "bad" and "No space left" in closed.verdict.reasons[0]
    recorded = check_bag(closed.folder)
    assert 8 * MIB / PIXELS < recorded < received, "most of what the disk holds"
    assert digest(older) == before
    (closed.folder / f"{closed.folder.name}_0.mcap").unlink()
    third = start(small_disk)
    put(third, 0, 4)
    assert third.close("success", 0).verdict.level != "bad"


def test_a_disk_that_is_full_when_the_episode_ends(small_disk):
    writer = start(small_disk)
    put(writer, 0, 24)
    deadline = time.monotonic() + 30.0
    bag = writer.folder / f"{writer.folder.name}_0.mcap"
    while bag.stat().st_size < 24 * PIXELS and time.monotonic() < deadline:
        time.sleep(0.01)
    put(writer, 24, 4)
    filler = fill(small_disk)
    closed = writer.close("success", 0)
    os.close(filler)
    assert closed.verdict.level == "bad" and "No space left" in closed.verdict.reasons[0]
    assert check_bag(closed.folder) >= 1


def test_a_small_file_is_replaced_on_a_disk_without_room(small_disk):
    path = small_disk / "episode.json"
    write_text_atomically(path, "begun")
    room = RoomForText(path, 20_000)
    filler = fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        write_text_atomically(small_disk / "other", "x" * 4097)
    room.replace("ended" * 3000)
    os.close(filler)
    assert path.read_text() == "ended" * 3000
    assert sorted(file.name for file in small_disk.iterdir() if file.is_file()) == ["episode.json", "filler"]


def test_a_file_that_may_not_grow(tmp_path):
    """The same by a limit on the size of files, which everybody may set."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = start(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * MIB + 1000, limits[1]))
    try:
        received = fill_until_it_fails(writer)
        closed = writer.close("success", 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in closed.verdict.reasons[0]
    assert 0 < check_bag(closed.folder) < received


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_sync_that_fails(tmp_path, monkeypatch, after):
    """Data that the page cache took and the disk refuses, at one of the first flushes."""
    calls = iter(range(1000))
    sync = os.fdatasync

    def failing(file):
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    monkeypatch.setattr("os.fdatasync", failing)
    if after == 0:
        with pytest.raises(OSError, match="No space left"):
            start(tmp_path)
        assert list(tmp_path.iterdir()) == [], "no empty episode is left"
        return
    writer = start(tmp_path)
    fill_until_it_fails(writer, 100)
    closed = writer.close("success", 0)
    assert closed.verdict.level == "bad" and "No space left" in closed.verdict.reasons[0]
    if (closed.folder / "metadata.yaml").exists():
        check_bag(closed.folder)
