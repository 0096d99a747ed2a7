"""The device as diagnostics."""

from diagnostic_msgs.msg import DiagnosticStatus
from dp_core.teleop_spec import TeleopSpec
from dp_teleop.connection import Connection
from dp_teleop.gains import GainState
from dp_teleop.report import device_status


def test_what_the_driver_counts_is_shown_also_after_a_loss():
    connection = Connection(figures={"malformed_reports": "3", "battery_percent": "80"})
    connection.arrive("device", "SpaceMouse Compact (hid)", 0)
    connection.lose("unplugged")
    status = device_status(connection, None, GainState(), TeleopSpec(), 1_000_000_000)
    values = {pair.key: pair.value for pair in status.values}
    assert status.level == DiagnosticStatus.ERROR and status.message == "no device: unplugged"
    assert (values["malformed_reports"], values["battery_percent"], values["losses"]) == ("3", "80", "1")
