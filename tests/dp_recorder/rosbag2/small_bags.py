"""Profiles and the first instant of the bags that the tests write."""

from dp_recorder.rosbag2_metadata import OfferedQos

START_NS = 1_700_000_000_000_000_000
LATCHED = OfferedQos("keep_last", 1, "reliable", "transient_local")
SENSOR = OfferedQos("unknown", 0, "best_effort", "volatile")
TIMED = OfferedQos(
    "keep_last",
    5,
    deadline_ns=1_500_000_000,
    lifespan_ns=2_000_000_000,
    liveliness="manual_by_topic",
    liveliness_lease_ns=3_000_000_000,
)
