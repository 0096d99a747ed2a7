import os
import threading
import time

import pytest
from dp_recorder.disk_file import ALIGNMENT, DiskFile

MIB = 2**20


@pytest.fixture(params=[True, False], ids=["direct", "buffered"])
def disk(request, tmp_path):
    file = DiskFile(tmp_path / "file", direct=request.param)
    yield file
    file.abandon()


def test_pieces_of_all_sizes_come_out_in_order(disk, tmp_path):
    pieces = [os.urandom(size) for size in (1, 4096, 0, 5 * MIB + 3, 17, MIB)]
    for piece in pieces:
        disk.append(piece)
    whole = b"".join(pieces)
    assert disk.position == len(whole)
    disk.finish()
    assert (tmp_path / "file").read_bytes() == whole
    assert disk.written == len(whole)


def test_what_was_submitted_is_in_the_file(disk, tmp_path):
    for count in range(1, 5):
        disk.append(bytes([count]) * ALIGNMENT)
        disk.submit(sync=count % 2 == 0)
        disk.wait()
        assert (tmp_path / "file").stat().st_size == count * ALIGNMENT


def test_an_existing_file_is_not_touched(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        DiskFile(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_half_a_block_cannot_be_submitted(tmp_path):
    disk = DiskFile(tmp_path / "file")
    if disk.alignment == 1:
        pytest.skip("no direct writes here")
    disk.append(b"x")
    with pytest.raises(ValueError, match="not a multiple of 4096"):
        disk.submit(sync=False)
    disk.abandon()


@pytest.fixture
def standstill(monkeypatch):
    """Makes a system call wait until the test lets it go on, at the latest when the test ends."""
    go_on = threading.Event()

    def hold(name):
        real = getattr(os, name)

        def held(*arguments):
            go_on.wait()
            return real(*arguments)

        monkeypatch.setattr(f"os.{name}", held)

    yield hold, go_on
    go_on.set()


def test_a_slow_disk_delays_nobody_until_the_blocks_are_used_up(disk, standstill):
    """32 MiB are taken; the delay shows meanwhile."""
    hold, go_on = standstill
    hold("write")
    disk.append(bytes(ALIGNMENT))
    disk.submit(sync=True)
    for _ in range(30):
        disk.append(bytes(MIB))
    assert disk.sync_delay_s > 0
    assert disk.written == 0
    more = threading.Thread(target=lambda: [disk.append(bytes(MIB)) for _ in range(4)])
    more.start()
    more.join(0.05)
    assert more.is_alive(), "there is an end to it"
    go_on.set()
    more.join(30)
    assert not more.is_alive()
    disk.finish()
    assert disk.written == ALIGNMENT + 34 * MIB


def test_a_slow_sync_keeps_nothing_from_the_file(disk, standstill, tmp_path):
    """What is in the file survives a killed process, synced or not."""
    hold, go_on = standstill
    hold("fdatasync")
    for count in range(1, 4):
        disk.append(bytes(ALIGNMENT))
        disk.submit(sync=True)
        deadline = time.monotonic() + 20.0
        while (tmp_path / "file").stat().st_size < count * ALIGNMENT:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    assert disk.sync_delay_s > 0
    go_on.set()
    disk.wait()


def test_a_failure_is_told_and_rewinding_goes_on_from_there(disk, tmp_path, monkeypatch):
    disk.append(b"a" * 2 * MIB)
    disk.submit(sync=True)
    disk.wait()

    def failing(handle, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", failing)
        with pytest.raises(OSError, match="No space left"):
            while True:
                disk.append(b"b" * MIB)
        with pytest.raises(OSError, match="No space left"):
            disk.wait()
    disk.rewind(MIB + 5)
    disk.append(b"c" * 10)
    disk.finish()
    assert (tmp_path / "file").read_bytes() == b"a" * (MIB + 5) + b"c" * 10
