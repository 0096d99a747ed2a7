import pytest
from dp_camera.camera_health import CameraHealth, Level
from dp_camera.clock_map import ClockFit

PERIOD_NS = 33_333_333
GOOD = ClockFit(settled=True, drift_ppm=12.5, uncertainty_ns=50_000, span_s=60.0, resets=0, steps=0)
YOUNG = ClockFit(settled=False, drift_ppm=0.0, uncertainty_ns=-1, span_s=0.0, resets=0, steps=0)


def watched(numbers, delay_ns=18_000_000, wobble_ns=0, domain="hardware_clock"):
    """A camera after frames with these numbers, a period apart; and the time of the last one."""
    health = CameraHealth(30.0, 0.1)
    health.started(0, ())
    now_ns = 0
    for i, number in enumerate(numbers):
        now_ns = (i + 1) * PERIOD_NS
        health.arrived(number, domain, now_ns)
        stamp_ns = now_ns + (wobble_ns if i % 2 else 0)
        health.published(stamp_ns, stamp_ns + delay_ns)
    return health, now_ns


def test_a_camera_that_does_what_it_should_is_ok():
    health, now_ns = watched(range(200))
    report = health.report(now_ns, GOOD, {"asic": 43.25})
    assert (report.level, report.message) == (Level.OK, "30.0 Hz")
    assert report.values["jitter_ms_p99"] == "0.000" and report.values["delay_ms_p50"] == "18.00"
    assert report.values["clock_drift_ppm"] == "12.50" and report.values["clock_uncertainty_ms"] == "0.050"
    assert report.values["temperature_asic_C"] == "43.2"
    assert (report.values["frames"], report.values["lost"], report.values["reconnects"]) == ("200", "0", "0")


def test_jitter_is_that_of_the_stamps():
    health, now_ns = watched(range(200), wobble_ns=4_000_000)
    assert health.report(now_ns, GOOD, {}).values["jitter_ms_p99"] == "4.000"


def test_losses_are_warned_of_once_and_counted_for_ever():
    health, now_ns = watched([1, 2, 6, 7])
    report = health.report(now_ns, GOOD, {})
    assert (report.level, report.message) == (Level.WARN, "3 frames lost")
    assert health.report(now_ns, GOOD, {}).level is Level.OK
    assert health.report(now_ns, GOOD, {}).values["lost"] == "3" and health.gaps.longest_gap == 3


def test_each_kind_of_trouble_has_its_words():
    health, now_ns = watched([1, 1], domain="system_time")
    health.bad_frame()
    health.withheld(settling=False)
    health.withheld(settling=True)
    report = health.report(now_ns, ClockFit(True, 0.0, 5_000_000, 2.0, 1, 1), {})
    assert report.level is Level.WARN
    for text in (
        "1 frames repeated",
        "1 bad frames",
        "1 frames not after their predecessor",
        "2 steps of the camera's",
    ):
        assert text in report.message
    assert "stamps good to 5.0 ms only" in report.message and "kernel without metadata" in report.message
    assert report.values["settling_frames"] == "1"
    assert "nothing is published yet" in health.report(now_ns, YOUNG, {}).message
    assert health.report(now_ns, YOUNG, {}).values["clock_uncertainty_ms"] == "none"


def test_a_slow_camera_is_warned_of():
    health = CameraHealth(60.0, 0.1)
    health.started(0, ("on USB 2.1: few sizes",))
    for i in range(200):
        health.arrived(i, "hardware_clock", i * PERIOD_NS)
        health.published(i * PERIOD_NS, i * PERIOD_NS)
    assert health.report(199 * PERIOD_NS, GOOD, {}).message == "30.0 Hz instead of 60; on USB 2.1: few sizes"


def test_silence_and_loss_are_errors():
    health, now_ns = watched(range(30))
    report = health.report(now_ns + 400_000_000, GOOD, {})
    assert (report.level, report.message) == (Level.ERROR, "no frame for 0.4 s")
    health.lost("camera 101 was unplugged")
    report = health.report(now_ns, GOOD, {})
    assert (report.level, report.message) == (Level.ERROR, "camera 101 was unplugged")
    health.started(now_ns + 1, ())
    assert health.report(now_ns + 1, GOOD, {}).values["reconnects"] == "1"
    assert CameraHealth(30.0, 0.1).report(0, YOUNG, {}).message == "not started"


def test_the_counter_of_a_camera_that_was_started_anew_is_no_gap():
    health, now_ns = watched(range(500, 530))
    health.started(now_ns, ())
    health.arrived(3, "hardware_clock", now_ns)
    assert health.gaps.lost == 0 and health.gaps.resets == 0
    assert health.silent_s(now_ns + 250_000_000) == pytest.approx(0.25)
