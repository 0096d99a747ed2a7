"""The driver on librealsense's own software device: its queues, metadata, options, alignment and list of devices."""

import numpy as np
import pyrealsense2 as rs
import pytest
from dp_camera.camera_source import BadFrameError, CameraLostError, CameraSettingError
from dp_camera.realsense import RealSenseCamera
from dp_camera.realsense_devices import ConnectedCameras
from dp_camera.realsense_frames import WRAP_NS
from dp_camera.software_camera import SoftwareCamera, SoftwareContext
from dp_core.camera_device import CameraDevice

from dp_camera import realsense

WAIT_S = 20.0


@pytest.fixture
def context():
    return SoftwareContext()


def picture(value, camera):
    image = np.full((camera.height, camera.width, 3), value, dtype=np.uint8)
    image[3, 5] = (1, 2, 3)
    return image


def source_of(context, camera, width=64, height=48, rate_hz=30.0, **settings):
    spec = CameraDevice(camera.serial_number, **settings)
    return RealSenseCamera(ConnectedCameras(context), spec, width, height, rate_hz)


def plugged_in(context, serial_number="101", **options):
    camera = SoftwareCamera(serial_number, **options)
    context.plug_in(camera)
    return camera


def test_frames_come_with_their_counter_clock_and_exposure(context):
    camera = plugged_in(context)
    source = source_of(context, camera)
    description = source.start()
    assert (description.product, description.connection) == ("Software D435", "3.2")
    camera.send(picture(7, camera), number=41, camera_ns=5_000_123_000)
    frame = source.wait(WAIT_S)
    assert np.array_equal(frame.pixels, picture(7, camera))
    assert (frame.frame_number, frame.camera_ns, frame.clock_domain) == (41, 5_000_123_000, "hardware_clock")
    assert frame.wrap_ns == WRAP_NS == 4_294_967_296_000
    assert (frame.exposure_us, frame.gain, frame.depth) == (8000.0, 32.0, None)
    assert source.temperatures_celsius() == {"asic": 41.5}
    assert source.wait(0.01) is None
    source.stop()
    source.stop()
    assert source.temperatures_celsius() == {}


def test_pixels_are_a_view_of_the_drivers_buffer_that_stays_while_the_frame_does(context):
    camera = plugged_in(context)
    source = source_of(context, camera)
    source.start()
    camera.send(picture(1, camera), 1, 1_000_000)
    first = source.wait(WAIT_S)
    assert not first.pixels.flags.owndata
    for number in range(2, 6):
        camera.send(picture(number, camera), number, number * 1_000_000)
    later = [source.wait(WAIT_S) for _ in range(4)]
    assert np.array_equal(first.pixels, picture(1, camera))
    assert [f.frame_number for f in later] == [2, 3, 4, 5]
    source.stop()


def test_without_metadata_the_computers_stamp_and_librealsenses_counter_are_used(context):
    camera = plugged_in(context)
    source = source_of(context, camera)
    source.start()
    camera.send(picture(1, camera), 3, 1_700_000_000_000_000_000, hardware_clock=False)
    frame = source.wait(WAIT_S)
    assert (frame.clock_domain, frame.wrap_ns, frame.frame_number) == ("system_time", None, 3)
    assert abs(frame.camera_ns - 1_700_000_000_000_000_000) < 1_000
    assert frame.exposure_us == frame.gain == -1.0
    source.stop()


def test_two_cameras_are_told_apart_by_serial_number(context):
    cameras = [plugged_in(context, serial) for serial in ("101", "102")]
    sources = [source_of(context, camera) for camera in cameras]
    for source in sources:
        source.start()
    for value, camera in enumerate(cameras):
        camera.send(picture(50 + value, camera), 1, 1_000_000)
    assert [source.wait(WAIT_S).pixels[0, 0, 0] for source in sources] == [50, 51]
    for source in sources:
        source.stop()


def test_a_camera_that_is_not_there_is_refused_with_those_that_are(context):
    plugged_in(context, "101")
    plugged_in(context, "102")
    missing = SoftwareCamera("555")
    with pytest.raises(CameraLostError) as error:
        source_of(context, missing).start()
    text = str(error.value)
    assert "no RealSense with serial number 555" in text
    assert "101 (Software D435, USB 3.2)" in text and "102" in text
    with pytest.raises(CameraLostError, match="connected: none"):
        source_of(SoftwareContext(), missing).start()


def test_unplugging_is_noticed_and_the_camera_comes_back(context):
    camera = plugged_in(context)
    source = source_of(context, camera)
    source.start()
    camera.send(picture(1, camera), 1, 1_000_000)
    assert source.wait(WAIT_S) is not None
    context.unplug(camera)
    camera.send(picture(2, camera), 2, 2_000_000)
    with pytest.raises(CameraLostError, match="101 was unplugged"):
        source.wait(0.05)
    with pytest.raises(CameraLostError):
        source.start()
    again = plugged_in(context)
    source.start()
    again.send(picture(9, again), 1, 500_000)
    assert source.wait(WAIT_S).pixels[0, 0, 0] == 9
    source.stop()


class BusyContext(SoftwareContext):
    """A bus on which another camera comes or goes: the list of devices cannot be had."""

    def __init__(self):
        super().__init__()
        self.busy = True

    def query_devices(self):
        if self.busy:
            raise RuntimeError("failed to open usb interface: 0, error: RS2_USB_STATUS_NO_DEVICE")
        return super().query_devices()


def test_a_list_of_devices_that_cannot_be_had_ends_nothing():
    context = BusyContext()
    camera = plugged_in(context)
    source = source_of(context, camera)
    with pytest.raises(CameraLostError, match="librealsense cannot list its cameras: failed to open"):
        source.start()
    context.busy = False
    source.start()
    other = plugged_in(context, "102")
    context.busy = True
    assert source.wait(0.01) is None, "nobody knows whether it was this one"
    camera.send(picture(1, camera), 1, 1_000_000)
    assert source.wait(WAIT_S).frame_number == 1
    context.busy = False
    context.unplug(other)
    assert source.wait(0.01) is None
    context.unplug(camera)
    with pytest.raises(CameraLostError, match="101 was unplugged"):
        source.wait(0.01)


def test_a_camera_that_goes_at_the_end_of_its_start_is_lost(context, monkeypatch):
    def gone(profile):
        raise RuntimeError("No such device")

    camera = plugged_in(context)
    source = source_of(context, camera)
    monkeypatch.setattr(realsense, "read_model", gone)
    with pytest.raises(CameraLostError, match="does not start: No such device"):
        source.start()
    monkeypatch.undo()
    source.start()
    source.stop()


def test_a_camera_that_starts_but_never_sends_is_reset(context):
    camera = plugged_in(context)
    source = source_of(context, camera)
    for _ in range(3):
        source.start()
        assert source.wait(0.001) is None
    with pytest.raises(
        CameraLostError, match=r"101 \(Software D435, USB 3.2\) sent nothing after 3 starts and was reset"
    ):
        source.start()
    for number in range(1, 6):
        source.start()
        camera.send(picture(1, camera), number, 1_000_000)
        assert source.wait(WAIT_S).frame_number == number
    source.stop()


def test_settings_reach_the_sensor_in_its_own_units(context):
    camera = plugged_in(context)
    source = source_of(context, camera, exposure_us=8020, gain=33, white_balance_K=4604)
    source.start()
    read = camera.color.get_option
    assert read(rs.option.enable_auto_exposure) == 0 and read(rs.option.enable_auto_white_balance) == 0
    assert read(rs.option.exposure) == 80, "the colour sensor counts in units of 100 us"
    assert read(rs.option.gain) == 33
    assert read(rs.option.white_balance) == 4600, "its steps are 10 K"
    assert read(rs.option.global_time_enabled) == 0, "the fit wants the camera's own clock"
    assert read(rs.option.auto_exposure_priority) == 0, "the rate stays when it is dark"
    source.stop()
    source_of(context, camera).start()
    assert read(rs.option.enable_auto_exposure) == 1 and read(rs.option.enable_auto_white_balance) == 1


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        ({"exposure_us": 50}, {}, "exposure_us: 50 is out of range of sensor 'RGB Camera'; valid: 100 to 1000000 us"),
        ({"exposure_us": 8000, "gain": 200}, {}, "gain: 200 is out of range of sensor 'RGB Camera'; valid: 0 to 128"),
        ({"white_balance_K": 9000}, {}, "white_balance_K: 9000 is out of range .* valid: 2800 to 6500 K"),
        ({"sync_mode": "slave"}, {}, "sync_mode: slave: the device has no hardware synchronisation; valid: off"),
        ({"depth": True}, {}, "depth: no stream z16 of 64x48 at 30 Hz; valid: none on this device"),
        ({}, {"width": 640}, "no stream rgb8 of 640x48 at 30 Hz; valid: 64x48 at 30 Hz"),
        ({"encoding": "bgr8"}, {}, "no stream bgr8 of 64x48"),
        ({"rate_hz": 60}, {}, "no stream rgb8 of 64x48 at 60 Hz; valid: 64x48 at 30 Hz"),
    ],
)
def test_what_the_camera_cannot_do_is_refused_with_what_it_can(context, settings, size, message):
    camera = plugged_in(context)
    with pytest.raises(CameraSettingError, match=message):
        source_of(context, camera, **size, **settings).start()


def paired_frames(source, camera, depth):
    """Send six pictures with the same depth; those frames that came with both."""
    frames = []
    for number in range(1, 7):
        camera.send(picture(number, camera), number, number * 33_333_000, depth)
        frames.append(source.wait(1.0))
    paired = [frame for frame in frames if frame is not None and frame.depth is not None]
    assert len(paired) >= 3
    return paired


def test_depth_comes_aligned_and_the_synchronisation_is_set(context):
    camera = plugged_in(context, depth=True)
    source = source_of(context, camera, depth=True, sync_mode="master")
    assert source.start().depth_unit_m == pytest.approx(0.001)
    assert camera.depth.get_option(rs.option.inter_cam_sync_mode) == 1
    depth = np.full((48, 64), 800, dtype=np.uint16)
    paired = paired_frames(source, camera, depth)
    for frame in paired:
        assert np.array_equal(frame.pixels, picture(frame.frame_number, camera))
        # Two sensors in one place with the same intrinsics: alignment moves nothing.
        assert set(np.unique(frame.depth)) <= {0, 800} and np.mean(frame.depth == 800) > 0.8
    source.stop()


def test_depth_moves_to_where_the_colour_sensor_sees_it(context):
    camera = plugged_in(context, depth=True)
    beside = rs.extrinsics()
    beside.rotation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    focal_px, distance_m, shift_px = 0.95 * 64, 0.8, 8
    beside.translation = [shift_px * distance_m / focal_px, 0.0, 0.0]
    camera._profiles[1].register_extrinsics_to(camera._profiles[0], beside)
    source = source_of(context, camera, depth=True)
    source.start()
    depth = np.zeros((48, 64), dtype=np.uint16)
    depth[:, 20:30] = 1000 * distance_m
    paired = paired_frames(source, camera, depth)
    columns = np.flatnonzero((paired[-1].depth == 1000 * distance_m).any(axis=0))
    assert abs(columns[0] - (20 + shift_px)) <= 1 and abs(columns[-1] - (29 + shift_px)) <= 1
    source.stop()


def test_a_frame_of_another_size_is_refused(context):
    camera = plugged_in(context)
    source = source_of(context, camera)
    source.start()
    source._choice = source._choice.__class__(32, 48, 30.0, "rgb8")
    camera.send(picture(1, camera), 1, 1_000_000)
    with pytest.raises(BadFrameError, match=r"colour frame of \(48, 64, 3\) uint8, wanted \(48, 32, 3\)"):
        source.wait(WAIT_S)
    source.stop()


def test_a_recorded_stream_plays_through_the_same_driver(tmp_path):
    camera = SoftwareCamera("777")
    path = str(tmp_path / "stream.db3")
    recorder = rs.recorder(path, camera.device)
    sensor = recorder.query_sensors()[0]
    queue = rs.frame_queue(20, True)
    sensor.open(sensor.get_stream_profiles()[0])
    sensor.start(queue)
    for number in range(5):  # fewer than the queue holds: a recording plays as fast as it can
        camera.send(picture(10 + number, camera), 300 + number, 1_000_000_000 + number * 10_000_000)
    sensor.stop()
    sensor.close()
    del sensor, recorder

    player = rs.context().load_device(path)
    player.set_real_time(False)
    there = [player]
    source = RealSenseCamera(ConnectedCameras(PlayedBack(there)), CameraDevice("777"), 64, 48, 30.0)
    source.start()
    frames = []
    while len(frames) < 5 and (frame := source.wait(WAIT_S)) is not None:
        frames.append((frame.frame_number, frame.camera_ns, int(frame.pixels[0, 0, 0]), frame.exposure_us))
    assert source.wait(0.5) is None, "the recording is at its end"
    assert [f[0] for f in frames] == [300 + n for n in range(5)]
    assert [f[1] for f in frames] == [1_000_000_000 + n * 10_000_000 for n in range(5)]
    assert [f[2] for f in frames] == [10 + n for n in range(5)]
    assert {f[3] for f in frames} == {8000.0}
    source.stop()
    there.clear()
    with pytest.raises(CameraLostError, match="connected: none"):
        source.start()


class PlayedBack:
    """A context of one player: librealsense's own makes another player, which leaves out what comes late."""

    def __init__(self, devices):
        self._devices = devices

    def query_devices(self):
        return self._devices

    def set_devices_changed_callback(self, callback):
        """Nothing comes or goes by itself."""
